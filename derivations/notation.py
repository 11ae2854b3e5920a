r"""Every symbol of both papers, once, with its assumptions and its LaTeX name.

Paper A: signed mode values sigma_i, couplings j_i = prod_{k != i} sigma_k, time in units of 1/eta.
The order q of a fractional rule is a positive symbol here; q >= 1 is stated where it is needed.
Names follow SymPy's rules (sigmadot_i prints as a dotted sigma_i, jnorm as the norm of j), so a formula reads
like the papers, in notebooks too.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sympy import Basic, Symbol

from derivations.word_algebra import Letter

# Rates, orders, depth
ETA = Symbol("eta", positive=True)
ETA_I = Symbol("eta_i", positive=True)
ETA_TILDE = Symbol("etatilde", positive=True)
Q = Symbol("q", positive=True)
DEPTH = Symbol("d", integer=True, positive=True)
D_EFF = Symbol("d_eff", positive=True)
P = Symbol("p", real=True)
EPSILON = Symbol("epsilon", positive=True)
A_RATIO = Symbol("a", positive=True)
TIME = Symbol("t", nonnegative=True)

# Mode values and couplings (signed)
SIGMA = Symbol("sigma", real=True)
SIGMA_STAR = Symbol("sigma^*", real=True)
SIGMA_DELTA = Symbol("sigma_Delta", real=True)
SIGMA_0 = Symbol("sigma_0", real=True)
SIGMA_I = Symbol("sigma_i", real=True)
SIGMA_K = Symbol("sigma_k", real=True)
SIGMA_LAMBDA = Symbol("sigma_Lambda", real=True)
LAMBDA_X = Symbol("lambda_x", positive=True)
J_I = Symbol("j_i", real=True)
J_K = Symbol("j_k", real=True)
NORM_J = Symbol("jnorm", positive=True)
J_MIN = Symbol("j_min", positive=True)
J_MAX = Symbol("j_max", positive=True)

# The plane of a mode of two layers, start values, and two modes a and b side by side
SIGMA_1 = Symbol("sigma_1", real=True)
SIGMA_2 = Symbol("sigma_2", real=True)
SIGMA_I0 = Symbol("sigma_i0", real=True)
SIGMA_K0 = Symbol("sigma_k0", real=True)
J_A = Symbol("j_a", real=True)
J_B = Symbol("j_b", real=True)
NORM_J_A = Symbol("jnorm_a", positive=True)
NORM_J_B = Symbol("jnorm_b", positive=True)
SIGMA_DELTA_A = Symbol("sigma_Delta^a", real=True)
SIGMA_DELTA_B = Symbol("sigma_Delta^b", real=True)

# Left-hand sides
SIGMA_DOT = Symbol("sigmadot", real=True)
SIGMA_I_DOT = Symbol("sigmadot_i", real=True)
SIGMA_K_DOT = Symbol("sigmadot_k", real=True)
SIGMA_DELTA_DOT = Symbol("sigmadot_Delta", real=True)

# Sizes: input, output, and the hidden sizes of one representative layer
N_0, N_D, N, M, K_SIZE, L_SIZE = (
    Symbol(name, integer=True, positive=True) for name in ("n_0", "n_d", "n", "m", "k", "l")
)

# Matrices of one representative layer: W = A_i w_i B_i, or A_k w_k C w_i B_i for a pair of layers
W_I = Letter("w_i", N, M)
W_NEXT = Letter("w_next", K_SIZE, N, latex="w_{i+1}")
A_I = Letter("A_i", N_D, N)
B_I = Letter("B_i", M, N_0)
DELTA = Letter("Delta", N_D, N_0, latex=r"\Delta")
SIGMA_X = Letter("Sigma_x", N_0, N_0, symmetric=True, latex=r"\Sigma_x")

# Paper B: weight and bias variance, length, slope statistics of mean field theory
SIGMA_W = Symbol("sigma_w", positive=True)
SIGMA_B = Symbol("sigma_b", nonnegative=True)
CHI = Symbol("chi", positive=True)
LAYER = Symbol("ell", integer=True, nonnegative=True)
WIDTH = Symbol("N", integer=True, positive=True)
SAMPLES = Symbol("D", integer=True, positive=True)
QSTAR = Symbol("q^*", positive=True)
Q_LAYER = Symbol("q^{l}", positive=True)
Q_BELOW = Symbol("q^{l-1}", positive=True)
MU_1 = Symbol("mu_1", positive=True)
MU_2 = Symbol("mu_2", positive=True)
MU_3 = Symbol("mu_3", positive=True)
LAYERS = Symbol("L", integer=True, positive=True)

SYMBOLS: Mapping[str, Symbol] = MappingProxyType(
    {name: entry for name, entry in globals().items() if isinstance(entry, Symbol)}
)


def symbols_of(expr: Any) -> tuple[Symbol, ...]:
    """The notation symbols that occur in an expression, in the order of this table.

    >>> symbols_of(SIGMA * ETA + Symbol("x"))
    (eta, sigma)
    """
    free = expr.free_symbols if isinstance(expr, Basic) else set()
    return tuple(symbol for symbol in SYMBOLS.values() if symbol in free)


def symbol(name: str) -> Symbol:
    """The symbol of a table name such as "SIGMA_I"; ValueError for unknown names."""
    if name not in SYMBOLS:
        raise ValueError(f"name: {name!r} given, allowed: {', '.join(SYMBOLS)}")
    return SYMBOLS[name]

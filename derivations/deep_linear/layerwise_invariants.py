r"""What block-diagonal rules conserve, and the closed solution of the natural one on arbitrary invertible layers.

Two layers i, k of one aligned mode have couplings j_i = rho sigma_k and j_k = rho sigma_i, where rho is the product of
all other layers; the depth enters through rho alone. Source: A section 3.3 and beyond the paper.
"""

from __future__ import annotations

from sympy import Abs, Expr, Rational, Symbol, exp, limit, log

from derivations import words
from derivations.decide import Decision, all_of, equal, step, zero
from derivations.deep_linear.layerwise import fractional_velocity
from derivations.deep_linear.natural_gradient import DELTA
from derivations.notation import DEPTH, ETA, ETA_I, J_I, N_0, SIGMA_DELTA, SIGMA_I, SIGMA_K, TIME, N, Q
from derivations.words import Letter, Trace

ETA_K = Symbol("eta_k", positive=True)
REST = Symbol("rho", real=True)
VALUE = Symbol("s", positive=True)
KAPPA = Symbol("kappa", real=True)
E = Symbol("e", positive=True)


def pair_rate(quantity: Expr, velocity: Expr, other: Expr) -> Expr:
    """The time derivative of a function of two layers whose velocities, in their own couplings, are given."""
    here = velocity.subs(J_I, REST * SIGMA_K)
    there = other.subs(J_I, REST * SIGMA_I)
    return quantity.diff(SIGMA_I) * here + quantity.diff(SIGMA_K) * there


def natural_invariant() -> Expr:
    r"""ln|sigma_i| / eta_i - ln|sigma_k| / eta_k, for equal rates the log of the ratio (A section 3.3, generalised).

    >>> is_conserved_by_natural(natural_invariant()).outcome
    'proved'
    """
    return log(Abs(SIGMA_I)) / ETA_I - log(Abs(SIGMA_K)) / ETA_K


def is_conserved_by_natural(quantity: Expr) -> Decision:
    r"""Whether a function of two layers stands still under \dot\sigma_i = -eta_i sigma_Delta / j_i."""
    first, second = -ETA_I * SIGMA_DELTA / J_I, -ETA_K * SIGMA_DELTA / J_I
    found = pair_rate(quantity, first, second)
    return zero(found).explain(
        step("With all other layers as one factor, a layer moves by", first.subs(J_I, REST * SIGMA_K)),
        step("so the rate of the quantity, whatever the depth, is", found),
    )


def fractional_invariant(q: Expr = Q) -> Expr:
    r"""|sigma_i|^{2-2/q} - |sigma_k|^{2-2/q} (A section 3.3, with absolute values).

    >>> fractional_invariant(Rational(2))
    Abs(sigma_i) - Abs(sigma_k)
    """
    return Abs(SIGMA_I) ** (2 - 2 / q) - Abs(SIGMA_K) ** (2 - 2 / q)


def fractional_invariant_as_printed() -> Expr:
    """The same without absolute values (A section 3.3)."""
    return SIGMA_I ** (2 - 2 / Q) - SIGMA_K ** (2 - 2 / Q)


def is_conserved_by_fractional(quantity: Expr) -> Decision:
    """Whether a function of two layers stands still under the block rule of every order q (A eq. 25)."""
    velocity = fractional_velocity()
    found = pair_rate(quantity, velocity, velocity)
    return zero(found).explain(
        step("The lower layer moves by", velocity.subs(J_I, REST * SIGMA_K)),
        step("so the rate of the quantity, whatever the depth, is", found),
    )


def near_first_order() -> Expr:
    r"""(|sigma_i|^e - |sigma_k|^e) / e with e = 2 - 2/q: the invariant on a scale that survives q -> 1.

    >>> in_the_limit(near_first_order()) == log(Abs(SIGMA_I)) - log(Abs(SIGMA_K))
    True
    """
    return (Abs(SIGMA_I) ** E - Abs(SIGMA_K) ** E) / E


def in_the_limit(quantity: Expr) -> Expr:
    """The limit e -> 0, q -> 1, at positive values."""
    x, y = (Symbol(name, positive=True) for name in "xy")
    plain = quantity.subs({Abs(SIGMA_I): x, Abs(SIGMA_K): y})
    return limit(plain, E, 0).subs({x: Abs(SIGMA_I), y: Abs(SIGMA_K)})


def schatten_summand() -> Expr:
    r"""s^{2-2/q}: summed over the singular values of w_1 minus those of w_2, conserved at depth 2 without alignment.

    >>> is_schatten(schatten_summand()).outcome
    'proved'
    """
    return VALUE ** (2 - 2 / Q)


def is_schatten(summand: Expr) -> Decision:
    r"""Whether sum f(s(w_1)) - sum f(s(w_2)) stands still under the block rule of order q with two layers.

    The derivative of sum f(s) along \dot w is tr(V f'(S) U^T \dot w). The block update is made of the same frames with
    s^{1-2/q}, so both traces agree if f' is a multiple of that power.
    """
    ratio = summand.diff(VALUE) / VALUE ** (1 - 2 / Q)
    lower, upper = Letter("F_1", N_0, N), Letter("F_2", N, DELTA.rows)
    first, second = words.trace(lower * (upper * DELTA)), words.trace(upper * (DELTA * lower))
    return all_of(zero(ratio.diff(VALUE)), words.vanishes(first - second)).explain(
        step("The derivative of the summand over the power in the update must be one constant:", ratio),
        step("Then the rate of the first sum is a multiple of", words.trace(lower * upper * DELTA)),
        step("and the rate of the second the same multiple of its cyclic rotation, whatever the alignment:", second),
    )


def determinant_rate() -> Trace:
    r"""d/dt ln|det w_i| = -eta_i tr(W^{-1} Delta) under block-diagonal natural gradient, square invertible layers.

    >>> is_determinant_rate(determinant_rate()).outcome
    'proved'
    """
    return -ETA_I * words.trace(inverse("W^{-1}", "Winv") * SQUARE_DELTA)


SQUARE_DELTA = Letter("Delta", N_0, N_0, latex=r"\Delta")


def inverse(latex: str, name: str) -> Letter:
    """A square letter that stands for an inverse."""
    return Letter(name, N_0, N_0, latex=latex)


def is_determinant_rate(formula: Trace) -> Decision:
    r"""Whether a trace is tr(w_i^{-1} \dot w_i) for \dot w_i = -eta_i A_i^{-1} Delta B_i^{-1}, W = A_i w_i B_i."""
    above, here, below = inverse("A_i^{-1}", "Ainv"), inverse("w_i^{-1}", "winv"), inverse("B_i^{-1}", "Binv")
    moved = -ETA_I * (above * SQUARE_DELTA * below)
    found = words.trace(here * moved)
    whole = words.expression(below) * here * above
    stated = words.substitute(formula, {inverse("W^{-1}", "Winv"): whole})
    return words.vanishes(found - stated).explain(
        step("Jacobi's formula gives the rate of the log determinant as", found),
        step("Rotated, the three inverses make up that of the whole map,", whole),
        step("which is the same for every layer but for its learning rate:", formula),
    )


def common_factor() -> Expr:
    r"""rho(t) = (kappa + (1 - kappa) e^{-eta t})^{1/d} on an eigenvector of W_0^{-1} W^* with eigenvalue kappa.

    With P_k = w_k ... w_1 at t = 0 and F = W_0^{-1} W(t) the weights are w_k(t) = P_k F^{1/d} P_{k-1}^{-1}.

    >>> solves_block_flow(common_factor()).outcome
    'proved'
    """
    return (KAPPA + (1 - KAPPA) * exp(-ETA * TIME)) ** (1 / DEPTH)


def solves_block_flow(factor: Expr) -> Decision:
    r"""Whether w_k = P_k rho P_{k-1}^{-1} obeys \dot w_k = -(eta / d) A_k^{-1} Delta B_k^{-1} with rho(0) = 1.

    All functions of W_0^{-1} W^* commute; on one of its eigenvectors rho is a number and the equation reads
    \dot rho = -(eta / d) (rho^d - kappa) / rho^{d-1}, the same for every layer k.
    """
    root, rest = (Letter(name, N_0, N_0) for name in ("rho", "G"))
    up, down = (Letter(name, N_0, N_0, latex=tex) for name, tex in (("u", r"\rho^{-(d-k)}"), ("v", r"\rho^{-(k-1)}")))
    here, below = Letter("P", N_0, N_0, latex="P_k"), Letter("Pinv", N_0, N_0, latex="P_{k-1}^{-1}")
    moved = here * up * (root - rest) * down * below
    joined = here * (root - rest) * (up * down) * below
    commuting = (words.rule(up * root, root * up), words.rule(up * rest, rest * up))
    residual = factor.diff(TIME) + ETA / DEPTH * (factor**DEPTH - KAPPA) / factor ** (DEPTH - 1)
    return all_of(words.vanishes(moved - joined, commuting), zero(residual), equal(factor.subs(TIME, 0), 1)).explain(
        step("The factors above and below the layer are powers of one matrix and join in its update:", joined),
        step("On an eigenvector of that matrix each layer obeys one scalar equation, whose residual is", residual),
        step("and which starts at", factor.subs(TIME, 0)),
    )


def blow_up_time() -> Expr:
    r"""t_s = ln(1 - 1/kappa) / eta for a negative real eigenvalue kappa of W_0^{-1} W^*, where the factor vanishes.

    >>> blow_up_time().subs({KAPPA: -1, ETA: 1})
    log(2)
    """
    return log(1 - 1 / KAPPA) / ETA


def is_blow_up_time(time: Expr) -> Decision:
    """Whether the common factor to the power d vanishes at a time, for every negative eigenvalue."""
    size = Symbol("m", positive=True)
    base = (KAPPA + (1 - KAPPA) * exp(-ETA * TIME)).subs(TIME, time).subs(KAPPA, -size)
    return zero(base).explain(
        step("With a negative eigenvalue the factor to the power d falls from one and vanishes when", base),
        step("Its root of order d has an infinite slope there, and so has every layer, at", time),
    )


def escape_exponent() -> Expr:
    r"""1/d - 1: the speed of the weights grows like (t_s - t)^{1/d - 1} on the approach to the singular time."""
    return 1 / DEPTH - 1


def odds_of_two() -> Expr:
    r"""1/4 + pi/8: the probability that W_0^{-1} W^* of two Gaussian 2 x 2 matrices has a negative real eigenvalue.

    With probability 1/2 the determinant is negative, and then there is exactly one. Otherwise both eigenvalues are
    real with probability pi/4 - 1/2, and half of these pairs are negative.

    >>> odds_of_two() == Rational(1, 2) + (real_pair() - Rational(1, 2)) / 2
    True
    """
    return Rational(1, 4) + real_pair() / 2


def real_pair() -> Expr:
    r"""pi/4: the probability that the 2 x 2 pencil has real eigenvalues."""
    from sympy import pi

    return pi / 4

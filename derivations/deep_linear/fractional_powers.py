r"""Fractional powers of the curvature, and the speed of the weights under them, on arbitrary weights.

With M = (Sigma_x^{1/2} kron I) J the curvature is H_+ = M^T M and the gradient g = M^T vec(Delta Sigma_x^{1/2}).
kappa is a non-zero eigenvalue of the kernel M M^T, the square of a singular value s of M, and delta_k the component of
the weighted displacement on its eigenvector. Nothing here uses that M belongs to a linear network.
Source: A section 3.1.
"""

from __future__ import annotations

from collections.abc import Callable

from sympy import Expr, Integer, Rational, Symbol, log, sqrt, sympify

from derivations import words
from derivations.decide import Decision, all_of, equal, step
from derivations.notation import ETA, Q
from derivations.words import Letter

KAPPA, KAPPA_K, KAPPA_L = (Symbol(name, positive=True) for name in ("kappa", "kappa_k", "kappa_l"))
DELTA_K, DELTA_L = (Symbol(name, real=True) for name in ("delta_k", "delta_l"))
LOSS = Symbol("L", positive=True)


def fractional_filter(q: Expr | int = Q) -> Expr:
    r"""kappa^{-1/q}: \dot w = -eta M^T f(M M^T) vec(Delta Sigma_x^{1/2}) solves H_+^{1/q} \dot w = -eta g.

    >>> equal(KAPPA ** (1 / Q) * fractional_filter(), Integer(1)).outcome
    'proved'
    """
    return KAPPA ** (-1 / sympify(q))


def intertwining() -> Decision:
    r"""f(M^T M) M^T = M^T f(M M^T) for every spectral f with the Moore-Penrose convention, in all sizes."""
    size, rank, maps = (Symbol(name, integer=True, positive=True) for name in ("P", "r", "m"))
    u = Letter("U", maps, rank)
    v = Letter("V", size, rank)
    s, f = Letter("S", rank, rank, symmetric=True), Letter("f(S^2)", rank, rank, symmetric=True)
    one = words.identity(rank)
    rules = (words.rule(u.T * u, one), words.rule(v.T * v, one), words.rule(f * s, s * f))
    jacobian = u * s * v.T
    primal = v * f * v.T * jacobian.T
    dual = jacobian.T * (u * f * u.T)
    power = Letter("power", size, size, symmetric=True, latex=r"(M^{\mathsf{T}}M)^k")
    mirror = Letter("mirror", maps, maps, symmetric=True, latex=r"(MM^{\mathsf{T}})^k")
    m = Letter("M", maps, size)
    known = words.rule(m.T * mirror, power * m.T)
    induction = words.vanishes(m.T * m * power * m.T - m.T * m * m.T * mirror, (known,))
    return all_of(induction, words.vanishes(primal - dual, rules)).explain(
        step("If the power k passes through the Jacobian, so does the power k + 1:", m.T * m * m.T * mirror),
        step("By singular values every function of the curvature does, null space included:", dual),
    )


def solves_root_equation(spectral_filter: Expr, q: Expr | int = Q) -> Decision:
    r"""Whether H_+^{1/q} \dot w + eta g = 0 on each singular direction s of M, for \dot w = -eta s f(s^2) delta."""
    s, delta = Symbol("s", positive=True), DELTA_K
    velocity = -ETA * s * spectral_filter.subs(KAPPA, s**2) * delta
    residual = (s**2) ** (1 / sympify(q)) * velocity + ETA * s * delta
    return equal(residual, Integer(0)).explain(
        step("On the singular direction s the gradient is the displacement times s; the root equation reads", residual)
    )


def squared_speed(q: Expr | int = Q) -> Expr:
    r"""eta^2 kappa^{1-2/q} delta_k^2: the share of one eigenvector of the kernel in |\dot w|^2 (A eq. 15, any weights).

    >>> squared_speed(2) == ETA**2 * DELTA_K**2
    True
    """
    return ETA**2 * KAPPA ** (1 - 2 / sympify(q)) * DELTA_K**2


def squared_speed_of(spectral_filter: Expr) -> Expr:
    r"""|eta s f(s^2) delta|^2 at s = kappa^{1/2}: the share of one singular direction, from the update itself."""
    return (-ETA * sqrt(KAPPA) * spectral_filter * DELTA_K) ** 2


def root_speed() -> Expr:
    r"""|\dot w| = eta (2 L)^{1/2} for q = 2: the Jacobian has no say (A eq. 16, any weights).

    >>> root_speed().has(KAPPA)
    False
    """
    return ETA * sqrt(2 * LOSS)


def speed_surplus(q: Expr | int = Q) -> Expr:
    r"""One pair's share in |u_q|^2 |u_q'|^2 - |u_2|^4 for 1/q + 1/q' = 1, with the update eta u_q of the order q.

    >>> speed_surplus(2)
    0
    """
    power = Rational(1, 2) - 1 / sympify(q)
    ratio = (KAPPA_K / KAPPA_L) ** power
    return DELTA_K**2 * DELTA_L**2 * (ratio - 1 / ratio) ** 2


def order_ends() -> dict[str, Expr]:
    r"""The filter at q = 1, as q -> oo, and its first-order change in 1/q (A section 3.1).

    >>> order_ends()["coefficient of 1/q"]
    -log(kappa)
    """
    return {"filter at q = 1": 1 / KAPPA, "filter as q grows": Integer(1), "coefficient of 1/q": -log(KAPPA)}


def ends_of(spectral_filter: Callable[[Expr], Expr]) -> dict[str, Expr]:
    r"""Value at q = 1, limit and first-order change for q -> oo of a filter given as function of q, by u = 1/q -> 0.

    >>> ends_of(lambda q: 1 + KAPPA / q)["coefficient of 1/q"]
    kappa
    """
    u = Symbol("u", real=True)
    near = spectral_filter(1 / u)
    return {
        "filter at q = 1": spectral_filter(Integer(1)),
        "filter as q grows": near.subs(u, 0),
        "coefficient of 1/q": near.diff(u).subs(u, 0),
    }

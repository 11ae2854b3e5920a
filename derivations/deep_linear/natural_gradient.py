r"""Natural gradient descent on a deep linear network: constraint, Lagrangian, multiplier, fractional powers.

Every matrix identity is written for one representative layer w_i of W = A_i w_i B_i, any depth and any sizes; the
other layers enter through the change of the map alone. Lambda is the multiplier of the constraint read as a map, so
that the natural gradient is steepest descent with Lambda in place of Delta Sigma_x. Fractional powers act on the
singular directions of the weighted Jacobian M = (Sigma_x^{1/2} kron I) J: kappa is an eigenvalue of its kernel
M M^T. Source: A section 3.1, eqs. 9-11, and the supplement S.I.1.
"""

from __future__ import annotations

from collections.abc import Callable

from sympy import Expr, Integer, Rational, Symbol, log, sqrt, sympify

from derivations import words
from derivations.decide import Decision, all_of, equal, step
from derivations.notation import ETA, N_0, N_D, M, N, Q
from derivations.words import Expression, LayerSum, Letter, Trace

A = Letter("A", N_D, N, latex="A_i")
B = Letter("B", M, N_0, latex="B_i")
WEIGHT = Letter("w", N, M, latex="w_i")
UPDATE = Letter("dw", N, M, latex=r"\dot w_i")
NULL = Letter("null", N, M, latex="o_i")
DELTA = Letter("Delta", N_D, N_0, latex=r"\Delta")
DELTA_DOT = Letter("dDelta", N_D, N_0, latex=r"\dot\Delta")
LAMBDA = Letter("Lambda", N_D, N_0, latex=r"\Lambda")
SIGMA_X = Letter("Sigma_x", N_0, N_0, symmetric=True, latex=r"\Sigma_x")

KAPPA, KAPPA_K, KAPPA_L = (Symbol(name, positive=True) for name in ("kappa", "kappa_k", "kappa_l"))
DELTA_K, DELTA_L = (Symbol(name, real=True) for name in ("delta_k", "delta_l"))
LOSS = Symbol("L", positive=True)


def constraint() -> Expression:
    r"""H_+ \dot w + eta g on layer i: A_i^T (\dot\Delta + eta \Delta) Sigma_x B_i^T (A eq. 9).

    >>> words.vanishes(constraint() - pulled_back(DELTA_DOT) - ETA * pulled_back(DELTA)).outcome
    'proved'
    """
    return A.T * (DELTA_DOT + ETA * DELTA) * SIGMA_X * B.T


def pulled_back(change: Letter) -> Expression:
    r"""The gradient in layer i of tr(X Sigma_x X^T) / 2, where the layer moves X by A_i \dot w_i B_i.

    X = Delta is the loss, so this is g_i; X = \dot\Delta is half of \dot w^T H_+ \dot w, so this is (H_+ \dot w)_i.

    >>> str(pulled_back(DELTA))
    'A.T*Delta*Sigma_x*B.T'
    """
    energy = words.trace(change * SIGMA_X * change.T) / 2
    return words.gradient(words.differential(energy, {change: A * UPDATE * B}), UPDATE)


def stationarity() -> Expression:
    r"""Derivative in \dot w_i of |\dot w|^2 / 2 + tr(eta Lambda^T (\dot\Delta + eta \Delta)) (A S.I.2-3).

    >>> str(stationarity())
    'dw + (eta)*A.T*Lambda*B.T'
    """
    length = words.trace(UPDATE * UPDATE.T) / 2
    coupling = ETA * words.trace(LAMBDA.T * (DELTA_DOT + ETA * DELTA))
    moved = words.differential(coupling, {DELTA_DOT: A * UPDATE * B})
    return words.gradient(length + moved, UPDATE)


def multiplier_is_a_map() -> Decision:
    r"""One layer's multiplier mu_i acts through the map eta Lambda = sum_k A_k mu_k B_k Sigma_x only (A S.I.4-5)."""
    mu = Letter("mu", N, M, latex=r"\mu_i")
    tested = words.trace(mu.T * constraint())
    as_map = words.trace((A * mu * B * SIGMA_X).T * (DELTA_DOT + ETA * DELTA))
    return words.vanishes(tested - as_map).explain(
        step("The multiplier of one layer's constraint acts as a summand of a map:", as_map),
        step("All layers together need one map only, the multiplier", ETA * LAMBDA),
    )


def natural_update() -> Expression:
    r"""\dot w_i = -eta A_i^T Lambda B_i^T: steepest descent with Lambda for the displacement (A eq. 10).

    >>> words.vanishes(words.substitute(stationarity(), {UPDATE: natural_update()})).outcome
    'proved'
    """
    return -ETA * (A.T * LAMBDA * B.T)


def multiplier_image() -> LayerSum:
    r"""sum_i A_i A_i^T Lambda B_i^T B_i = -\dot\Delta / eta, the map's answer to the multiplier (A eq. 11).

    >>> moved = words.substitute(A * UPDATE * B, {UPDATE: natural_update()})
    >>> words.vanishes(moved + ETA * multiplier_image().summand).outcome
    'proved'
    """
    return words.layer_sum(A * A.T * LAMBDA * B.T * B)


def added_length() -> Trace:
    r"""tr(o_i o_i^T): what a null vector o of the Jacobian adds to |\dot w|^2, layer by layer (A footnote 4).

    >>> str(added_length())
    'tr(null*null.T)'
    """
    return words.trace(NULL * NULL.T)


def null_vector_is_orthogonal() -> Decision:
    r"""sum_i tr(\dot w_i o_i^T) = 0 for every update A_i^T Lambda B_i^T and every o with sum_i A_i o_i B_i = 0."""
    rest = -(A * NULL * B)
    here = words.trace(NULL.T * natural_update())
    elsewhere = -ETA * words.trace(LAMBDA.T * rest)
    return words.vanishes(here + elsewhere).explain(
        step("The inner product of one layer's update with its null part is a trace with the map that it moves:", here),
        step("A null vector leaves the map alone, so all other layers together move it by", rest),
        step("and contribute", elsewhere),
    )


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
    return {"at q = 1": 1 / KAPPA, "as q grows": Integer(1), "coefficient of 1/q": -log(KAPPA)}


def ends_of(spectral_filter: Callable[[Expr], Expr]) -> dict[str, Expr]:
    r"""Value at q = 1, limit and first-order change for q -> oo of a filter given as function of q, by u = 1/q -> 0.

    >>> ends_of(lambda q: 1 + KAPPA / q)["coefficient of 1/q"]
    kappa
    """
    u = Symbol("u", real=True)
    near = spectral_filter(1 / u)
    return {
        "at q = 1": spectral_filter(Integer(1)),
        "as q grows": near.subs(u, 0),
        "coefficient of 1/q": near.diff(u).subs(u, 0),
    }

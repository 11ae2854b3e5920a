r"""How updates scale with the weights: w_i -> alpha w_i at a given displacement Delta, for any depth and order.

kappa is an eigenvalue of the kernel K = J J^T of the unscaled network and delta_k the component of Delta on its
eigenvector; of the block rules, of one layer's kernel J_i J_i^T. Source: A S.I.3, figure S1.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from sympy import Abs, Expr, Integer, MatrixSymbol, S, Symbol, expand, expand_log, limit, log, sqrt, sympify

from derivations import words
from derivations.decide import Decision, all_of, equal, nonnegative, step, zero
from derivations.deep_linear.fractional_powers import DELTA_K, KAPPA, squared_speed
from derivations.deep_linear.modes import fractional_velocity, speed
from derivations.deep_linear.natural_gradient import DELTA, A, B
from derivations.notation import DEPTH, ETA, J_I, J_K, N_0, NORM_J, SIGMA_DELTA, M, N, Q

SCALE = Symbol("alpha", positive=True)
LAYER_INDEX = Symbol("i", integer=True, positive=True)
Pair = Mapping[str, Expr]


def mode_scaling() -> Pair:
    r"""|\dot\sigma| / |sigma_Delta| = eta ||j||^{1-2/q} and \dot\sigma / sigma_Delta = -eta ||j||^{2-2/q} (A S.I.15).

    >>> are_mode_scalings(mode_scaling()).outcome
    'proved'
    """
    return {"speed of the layers": ETA * NORM_J ** (1 - 2 / Q), "rate of the map": -ETA * NORM_J ** (2 - 2 / Q)}


def are_mode_scalings(formula: Pair) -> Decision:
    """Whether formulas are speed and map rate of one mode: the map moves by the sum of couplings times velocities."""
    velocity = fractional_velocity()
    moved = (velocity / J_I) * NORM_J**2
    return all_of(
        equal(formula["speed of the layers"], speed(velocity) / Abs(SIGMA_DELTA)),
        equal(formula["rate of the map"], moved / SIGMA_DELTA),
    ).explain(
        step("All layers move in proportion to their couplings:", velocity),
        step("The map moves by the sum of couplings times velocities, in which the squared couplings add up:", moved),
    )


def power_law(q: Expr | int = Q) -> Pair:
    r"""Shares of one eigenvector in |\dot w|^2 and -\dot L for weights alpha w: alpha to (d-1)(2-4/q) and (d-1)(2-2/q).

    >>> follows_from_homogeneity(power_law()).outcome
    'proved'
    """
    order = sympify(q)
    grown = SCALE ** (2 * (DEPTH - 1)) * KAPPA
    return {
        "squared speed": ETA**2 * grown ** (1 - 2 / order) * DELTA_K**2,
        "descent of the loss": ETA * grown ** (1 - 1 / order) * DELTA_K**2,
    }


def same_powers(left: Expr, right: Expr) -> Decision:
    r"""Whether two products of powers agree: their logarithms do, linear in those of the bases, which are positive."""
    first, second = (expand_log(log(one / DELTA_K**2 if one.has(DELTA_K) else one)) for one in (left, right))
    return zero(expand(first - second))


@lru_cache(maxsize=1)
def kernel_is_homogeneous() -> Decision:
    r"""A_i A_i^T Delta B_i^T B_i gains alpha^{2(d-1)} in every layer: A_i holds d - i layers, B_i the i - 1 others."""
    above, below = SCALE ** (DEPTH - LAYER_INDEX), SCALE ** (LAYER_INDEX - 1)
    scaled = (A * above) * (A * above).T * DELTA * (B * below).T * (B * below)
    plain = A * A.T * DELTA * B.T * B
    return all_of(
        words.vanishes(scaled - plain * (above * below) ** 2), equal(above * below, SCALE ** (DEPTH - 1))
    ).explain(
        step("The layers above grow with one power of the scale each, the layers below with the others:", scaled),
        step("so every layer's kernel, and their sum, grows by", SCALE ** (2 * (DEPTH - 1))),
    )


def follows_from_homogeneity(formula: Pair) -> Decision:
    r"""Whether shares follow from \dot w = -eta J^T K^{-1/q} delta with K grown by alpha^{2(d-1)}."""
    grown = SCALE ** (2 * (DEPTH - 1)) * KAPPA
    fast, falls = squared_speed().subs(KAPPA, grown), ETA * DELTA_K**2 * (grown * grown ** (-1 / Q))
    laws = zip(formula.values(), (fast, falls), strict=True)
    return all_of(kernel_is_homogeneous(), *(same_powers(part, law) for part, law in laws)).explain(
        step("The squared speed of one eigenvector's part is", fast),
        step("and the loss falls by displacement times velocity of the map:", falls),
    )


def equal_couplings(q: Expr | int = Q) -> Pair:
    r"""|\dot w| / L^{1/2} and -\dot L / L where K = d alpha^{2(d-1)}: both laws of A S.I.16-17 with their constants.

    >>> follow_from_equal_couplings(equal_couplings()).outcome
    'proved'
    """
    order, power = sympify(q), DEPTH - 1
    return {
        "speed": sqrt(2) * ETA * DEPTH ** (S.Half - 1 / order) * SCALE ** (power * (1 - 2 / order)),
        "descent of the loss": 2 * ETA * DEPTH ** (1 - 1 / order) * SCALE ** (power * (2 - 2 / order)),
    }


def follow_from_equal_couplings(formula: Pair) -> Decision:
    r"""Whether ratios to 2 L = sum delta_k^2 follow when all eigenvalues are that of d orthogonal layers."""
    shares = power_law()
    uniform = {name: share.subs(KAPPA, DEPTH) / DELTA_K**2 for name, share in shares.items()}
    return all_of(
        kernel_is_homogeneous(),
        same_powers(formula["speed"] ** 2, 2 * uniform["squared speed"]),
        nonnegative(formula["speed"]),
        same_powers(formula["descent of the loss"], 2 * uniform["descent of the loss"]),
    ).explain(
        step("With orthogonal layers every term of the kernel is the identity, so all eigenvalues are", DEPTH),
        step("All eigenvectors then carry the same factor, and their parts of the displacement add up to twice the "
             "loss:", tuple(uniform.values())),
    )  # fmt: skip


def exponents(q: Expr | int = Q) -> tuple[Expr, Expr]:
    """Powers of the scale in |dw/dt| / L^{1/2} and |dL/dt| / L at the order q.

    >>> exponents(2)
    (0, d - 1)
    """
    order = sympify(q)
    inverse = S.Zero if order == S.Infinity else 1 / order
    return (DEPTH - 1) * (1 - 2 * inverse), (DEPTH - 1) * (2 - 2 * inverse)


ORDERS: Mapping[str, Expr] = {"gradient descent": S.Infinity, "square root": Integer(2), "natural gradient": Integer(1)}


def listed_exponents() -> Mapping[str, Expr]:
    """The exponents listed after A S.I.17, weights and loss for each rule; the square root is q = 2.

    >>> are_listed(listed_exponents()).outcome
    'proved'
    """
    one = DEPTH - 1
    return {
        "gradient descent, weights": one,
        "gradient descent, loss": 2 * one,
        "square root, weights": S.Zero,
        "square root, loss": one,
        "natural gradient, weights": -one,
        "natural gradient, loss": S.Zero,
    }


def exponents_at_one_half() -> Mapping[str, Expr]:
    """What q = 1/2, printed for the square root, makes of the two laws: A S.I.16-17 at that order."""
    weights, loss = exponents(S.Half)
    return {**listed_exponents(), "square root, weights": weights, "square root, loss": loss}


@lru_cache(maxsize=1)
def _slopes() -> tuple[tuple[str, Expr], ...]:
    """Logarithmic slopes of the power laws in the scale, at the three orders."""
    found = []
    for rule, order in ORDERS.items():
        for name, share, half in zip(("weights", "loss"), power_law().values(), (2, 1), strict=True):
            exponent = (share.diff(SCALE) * SCALE / share).simplify() / half
            at_order = limit(exponent, Q, order) if order == S.Infinity else exponent.subs(Q, order)
            found.append((f"{rule}, {name}", at_order))
    return tuple(found)


def are_listed(formula: Mapping[str, Expr]) -> Decision:
    """Whether exponents are those of the laws at q = oo, 2, 1; the rule "square root" has H_+^{-1/2}, so q = 2."""
    found = dict(_slopes())
    return all_of(*(equal(formula[name], value) for name, value in found.items())).explain(
        step("The logarithmic slopes of the power laws in the scale, at the three orders:", tuple(found.values()))
    )


def mean_kernel_share() -> Expr:
    r"""n_{i-1} / n_0 alpha^{2(d-1)}: layer i's share in the mean of K, a multiple of 1; variance alpha^2 / n_{i-1}.

    >>> is_mean_kernel_share(mean_kernel_share()).outcome
    'proved'
    """
    return SCALE ** (2 * (DEPTH - 1)) * M / N_0


def expected_gram(rows: int, columns: int, variance: Expr) -> list[list[Expr]]:
    """E[w w^T] entry by entry for independent centred entries, from E[w_ab w_cd] = variance where (a, b) = (c, d).

    >>> expected_gram(2, 3, Symbol("v"))
    [[3*v, 0], [0, 3*v]]
    """
    w = MatrixSymbol("w", rows, columns).as_explicit()
    product = (w * w.T).expand()
    moments = {entry**2: variance for entry in w}
    return [
        [sum((term.subs(moments) if term in moments else S.Zero) for term in product[a, c].as_ordered_terms())
         for c in range(rows)]
        for a in range(rows)
    ]  # fmt: skip


def is_mean_kernel_share(formula: Expr) -> Decision:
    """Whether a formula is the mean of one layer's kernel: E[w X w^T] = variance tr(X) 1, one layer after the other."""
    variance, size, number = SCALE**2 / N, Symbol("c", positive=True), Symbol("k", integer=True, positive=True)
    # above: a layer from n to any width turns the multiple c of the identity into c times variance times n
    above = equal(size * variance * N, size * SCALE**2)
    below = size * N / N_0 * (SCALE**2 / N) * M
    grown = equal(below, size * SCALE**2 * M / N_0)
    grams = [
        equal(entry, 3 * number if a == c else S.Zero)
        for a, row in enumerate(expected_gram(2, 3, number))
        for c, entry in enumerate(row)
    ]
    powers = SCALE ** (2 * (DEPTH - LAYER_INDEX)) * SCALE ** (2 * (LAYER_INDEX - 1))
    return all_of(*grams, above, grown, equal(formula, powers * M / N_0)).explain(
        step("A layer above, of variance", variance),
        step("turns a multiple of the identity into that multiple times", SCALE**2),
        step("A layer below from width n to m also changes the trace; the widths telescope:", below),
        step("The layer's share in the mean kernel:", formula),
    )


def shift_signs() -> Pair:
    r"""r (1 - r) at r = 1 - 2/q and r = 1 - 1/q: the sign of 1 - E kappa^r, for random kappa > 0 of mean 1.

    >>> are_shift_signs(shift_signs()).outcome
    'proved'
    """
    return {"squared speed": (1 - 2 / Q) * 2 / Q, "descent of the loss": (1 - 1 / Q) / Q}


@lru_cache(maxsize=1)
def _tangent() -> tuple[Decision, tuple[Expr, ...]]:
    """1 + r (kappa - 1) - kappa^r touches 0 at 1 with curvature r (1 - r) kappa^{r-2}; r (1 - r) at both powers."""
    r = Symbol("r", real=True)
    gap = 1 + r * (KAPPA - 1) - KAPPA**r
    powers = [(share.diff(KAPPA) * KAPPA / share).simplify() for share in power_law().values()]
    touches = all_of(
        equal(gap.subs(KAPPA, 1), S.Zero),
        equal(gap.diff(KAPPA).subs(KAPPA, 1), S.Zero),
        equal(gap.diff(KAPPA, 2) * KAPPA ** (2 - r), r * (1 - r)),
    ).explain(
        step("The mean of the tangent at the mean is 1, so what counts is its distance from the power:", gap),
        step("It touches zero, and its second derivative has everywhere the sign of", r * (1 - r)),
    )
    return touches, tuple(power * (1 - power) for power in powers)


def are_shift_signs(formula: Pair) -> Decision:
    """Whether r (1 - r) is the formula, the curvature of the distance between a power and its tangent at the mean."""
    touches, found = _tangent()
    parts = [equal(part, one) for part, one in zip(formula.values(), found, strict=True)]
    return all_of(touches, *parts).explain(step("At the powers of the two laws:", tuple(formula.values())))


def block_power_law() -> Pair:
    """Shares of one eigenvector of one layer's kernel in squared speed and loss descent under a block-diagonal rule.

    >>> follows_from_blocks(block_power_law()).outcome
    'proved'
    """
    grown, rate = SCALE ** (2 * (DEPTH - 1)) * KAPPA, ETA * DEPTH ** (-1 / Q)
    return {
        "squared speed": rate**2 * grown ** (1 - 2 / Q) * DELTA_K**2,
        "descent of the loss": rate * grown ** (1 - 1 / Q) * DELTA_K**2,
    }


def follows_from_blocks(formula: Pair) -> Decision:
    """Whether shares follow from one layer's update with its own kernel, at the rate eta d^{-1/q}."""
    plain, rate = power_law(), DEPTH ** (-1 / Q)
    return all_of(
        kernel_is_homogeneous(),
        same_powers(formula["squared speed"], plain["squared speed"] * rate**2),
        same_powers(formula["descent of the loss"], plain["descent of the loss"] * rate),
    ).explain(step("One layer alone scales like the whole kernel; its rate is smaller by", rate))


def sqrt_descent_ratio() -> Expr:
    r"""(|j_i| + |j_k|) / (2 (j_i^2 + j_k^2))^{1/2}: loss descent of the block-diagonal root over that of the full one.

    One mode of two layers. It is 1 only where the couplings have equal sizes.
    """
    return (Abs(J_I) + Abs(J_K)) / sqrt(2 * (J_I**2 + J_K**2))


def is_sqrt_descent_ratio(formula: Expr) -> Decision:
    r"""Whether a formula is the ratio of descents: 2^{-1/2} sum |j_i| over (sum j_i^2)^{1/2}, from the velocities."""
    block = (J_I * J_I / Abs(J_I) + J_K * J_K / Abs(J_K)) / sqrt(2)
    full = (J_I**2 + J_K**2) / sqrt(J_I**2 + J_K**2)
    p, r = Symbol("p", positive=True), Symbol("r", positive=True)
    signs = [{J_I: a * p, J_K: b * r} for a in (1, -1) for b in (1, -1)]
    return all_of(*(equal(formula.subs(s), (block / full).subs(s)) for s in signs)).explain(
        step("With blocks each layer adds the size of its coupling:", block),
        step("with the whole curvature the layers add up to", full),
    )

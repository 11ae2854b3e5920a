r"""Paths of the weights: which curve a rule follows, and how fast, compared with gradient descent.

On one aligned mode every rule \dot w = -eta f(H_+) g multiplies the velocity of all layers by one number f(||j||^2), so
all rules follow one curve. Two modes get two different numbers, so the curve of the network depends on the rule.
Source: A abstract, section 3.1 and conclusion.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import cache
from typing import Any

from sympy import Expr, Integer, Rational, Symbol, log

from derivations import words
from derivations.decide import Decision, all_of, equal, positive, step, zero
from derivations.deep_linear import modes
from derivations.notation import (
    J_A,
    J_B,
    J_I,
    NORM_J,
    NORM_J_A,
    NORM_J_B,
    SIGMA,
    SIGMA_0,
    SIGMA_DELTA,
    SIGMA_DELTA_A,
    SIGMA_DELTA_B,
    SIGMA_I,
    SIGMA_I0,
    SIGMA_K,
    SIGMA_K0,
    SIGMA_STAR,
    N,
    Q,
)

FILTER = Symbol("f", positive=True)
REST = Symbol("r", real=True)

FIRST = words.Letter("w_1", "n_1", "n_0")
LAST = words.Letter("w_d", "n_d", "m", latex="w_d")
OTHER_FIRST = words.Letter("v_1", "n_1", "n_0", latex=r"\tilde{w}_1")
OTHER_LAST = words.Letter("v_d", "n_d", "m", latex=r"\tilde{w}_d")


def curve_of_one_mode() -> Expr:
    r"""\sigma_k^2 on the curve through (\sigma_{i0}, \sigma_{k0}), as a function of sigma_i (A eq. 7, integrated).

    >>> stays_on_curve(curve_of_one_mode()).outcome
    'proved'
    """
    return SIGMA_K0**2 + SIGMA_I**2 - SIGMA_I0**2


def stays_on_curve(formula: Expr) -> Decision:
    """Whether sigma_k^2 = formula holds at the start and is kept by every spectral filter f, at any depth.

    With r the product of all other layers, j_i = r sigma_k and j_k = r sigma_i.
    """
    lower = modes.filtered_velocity(lambda _: FILTER).subs(J_I, REST * SIGMA_K)
    upper = modes.filtered_velocity(lambda _: FILTER).subs(J_I, REST * SIGMA_I)
    change = 2 * SIGMA_K * upper - formula.diff(SIGMA_I) * lower
    return all_of(zero(change), equal(formula.subs(SIGMA_I, SIGMA_I0), SIGMA_K0**2)).explain(
        step("With the product of all other layers written r, the two layers move at the rates", (lower, upper)),
        step("The filter is a common factor: it changes the clock, not the curve. The asserted curve is", formula),
    )


def _slope(rate: Expr) -> Expr:
    symbols = ((J_A, NORM_J_A, SIGMA_DELTA_A), (J_B, NORM_J_B, SIGMA_DELTA_B))
    first, second = (rate.subs(dict(zip((J_I, NORM_J, SIGMA_DELTA), own, strict=True))) for own in symbols)
    return second / first


def slope_between_modes(q: Expr = Q) -> Expr:
    r"""d\sigma_i^b / d\sigma_i^a, the slope of the path of qNGD between two modes a, b of one layer.

    >>> slope_between_modes(Integer(1)) == gradient_slope()
    False
    """
    return _slope(modes.fractional_velocity(q))


def gradient_slope() -> Expr:
    """The slope along gradient descent: the one that every rule would have if all followed one path.

    >>> gradient_slope()
    j_b*sigma_Delta^b/(j_a*sigma_Delta^a)
    """
    return _slope(modes.filtered_velocity(lambda _: Integer(1)))


def has_slope(formula: Expr) -> Decision:
    """Whether the formula is the slope between two modes under qNGD, for every q; refuted with rational numbers."""
    derived = slope_between_modes()
    return all_of(equal(formula, derived), modes.kernel_acts_on_modes()).explain(
        step("Divide the rates of two modes by each other: along the path of order q the slope is", derived),
        step("The asserted slope is", formula),
    )


def acceleration(q: Expr = Q) -> Expr:
    """Speed of a mode under qNGD over its speed under gradient descent, at the same weights.

    >>> acceleration()
    jnorm**(-2/q)
    """
    return modes.fractional_velocity(q) / modes.filtered_velocity(lambda _: Integer(1))


def is_acceleration(formula: Expr) -> Decision:
    """Whether the formula is the ratio of the speeds of a mode, from the rates of both rules."""
    fast, slow = modes.fractional_velocity(), modes.filtered_velocity(lambda _: Integer(1))
    return all_of(equal(formula * slow, fast), modes.kernel_acts_on_modes()).explain(
        step("Every layer of the mode moves at the rates", (fast, slow)),
        step("of the two rules; the common ratio is", formula),
    )


def least_acceleration(formula: Expr) -> Decision:
    """Whether the formula is the minimum of the ratio of speeds over ||j|| <= 1, reached at ||j|| = 1."""
    x = Symbol("x", nonnegative=True)
    ratio = acceleration().subs(NORM_J, 1 / (1 + x))
    growing = (1 + x) ** (2 / Q)
    return all_of(equal(formula, ratio.subs(x, 0)), equal(ratio, growing), positive(growing.diff(x))).explain(
        step("The ratio of the speeds is", acceleration()),
        step("With the norm written $`1/(1 + x)`$ for $`x \\ge 0`$ it is", growing),
        step("which grows with x from", formula),
    )


def clocks() -> dict[str, tuple[Expr, Expr]]:
    r"""Rates of the map value and their clocks, d clock / d\sigma = 1 / rate: balanced mode of two layers, unit eta.

    There ||j||^2 = 2 \sigma, so gradient descent has the rate 2 \sigma (\sigma^* - \sigma).
    """
    return {
        "gradient descent": (2 * SIGMA * (SIGMA_STAR - SIGMA), log(SIGMA / (SIGMA_STAR - SIGMA)) / (2 * SIGMA_STAR)),
        "natural gradient descent": (SIGMA_STAR - SIGMA, -log(SIGMA_STAR - SIGMA)),
    }


def half_time_ratio() -> Expr:
    r"""Half-maximum time of gradient descent over that of NGD, balanced depth 2, \sigma_0 < \sigma^*/2.

    From dt = d\sigma / rate with the rates 2 eta \sigma (\sigma^* - \sigma) and eta (\sigma^* - \sigma).

    >>> half_time_ratio()
    log(sigma^*/sigma_0 - 1)/(2*sigma^**log(2 - 2*sigma_0/sigma^*))
    """
    return log(SIGMA_STAR / SIGMA_0 - 1) / (2 * SIGMA_STAR * log(2 - 2 * SIGMA_0 / SIGMA_STAR))


def is_half_time_ratio(formula: Expr) -> Decision:
    """Whether the formula is the ratio of the integrals of dt from sigma_0 to sigma^*/2 under both rules."""
    s, y = Symbol("s", positive=True), Symbol("y", positive=True)
    at = {SIGMA_0: s, SIGMA_STAR: s * (2 + y)}
    times = [(c.subs(SIGMA, SIGMA_STAR / 2) - c.subs(SIGMA, SIGMA_0)).subs(at) for _, c in clocks().values()]
    return all_of(
        *(equal(clock.diff(SIGMA) * rate, Integer(1)) for rate, clock in clocks().values()),
        zero(formula.subs(at) * times[1] - times[0]),
    ).explain(
        *(step(f"Under {name} the clock, an integral of 1/rate, is", c) for name, (_, c) in clocks().items()),
        step("The two half-maximum times have the ratio", formula),
    )


def equal_grams() -> dict[str, words.Expression]:
    """What two balanced networks with the same map share: w_1^T w_1 and w_d w_d^T; the rest may turn.

    >>> share_grams(equal_grams()).outcome
    'proved'
    """
    return {"first layer": FIRST.T * FIRST, "last layer": LAST * LAST.T}


def share_grams(formula: Mapping[str, words.Expression]) -> Decision:
    """Whether the Gram matrices of another balanced network with the same map equal the formula."""
    roots = {
        "first layer": words.Letter("G", "n_0", "n_0", symmetric=True, latex=r"(W^{\mathsf{T}} W)^{1/d}"),
        "last layer": words.Letter("G_d", "n_d", "n_d", symmetric=True, latex=r"(W W^{\mathsf{T}})^{1/d}"),
    }
    grams = {
        "first layer": (FIRST.T * FIRST, OTHER_FIRST.T * OTHER_FIRST),
        "last layer": (LAST * LAST.T, OTHER_LAST * OTHER_LAST.T),
    }
    parts = []
    for name, part in formula.items():
        rules = tuple(words.rule(gram, roots[name]) for gram in grams[name])
        parts.append(words.vanishes(part - grams[name][1], rules, _turned_model))
    return all_of(_gram_is_root_of_map(), *parts).explain(
        step("so the Gram matrix of the first layer is the positive root", roots["first layer"]),
        step("which the map alone determines; equally for the last layer", roots["last layer"]),
    )


def _turned_model(draw: random.Random) -> Mapping[Any, Any]:
    """Two diagonal layers and the same layers with the hidden axes exchanged."""
    a, b = draw.randint(1, 4), draw.randint(5, 8)
    roots = [words.Letter(name, size, size, symmetric=True) for name, size in (("G", "n_0"), ("G_d", "n_d"))]
    square = {root: [[a * a, 0], [0, b * b]] for root in roots}
    turned = {OTHER_FIRST: [[0, b], [a, 0]], OTHER_LAST: [[0, a], [b, 0]]}
    return {**square, **turned, FIRST: [[a, 0], [0, b]], LAST: [[a, 0], [0, b]]}


@cache
def _gram_is_root_of_map() -> Decision:
    """Induction over the layers: balance carries (w_i w_i^T) P = P (w_1^T w_1) and P^T P = (w_1^T w_1)^i upwards."""
    below = words.Letter("P", "m", "n_0")
    layer = words.Letter("w_i", "n", "m")
    above = words.Letter("w_next", "k", "n", latex="w_{i+1}")
    gram = words.Letter("G", "n_0", "n_0", symmetric=True, latex=r"w_1^{\mathsf{T}} w_1")
    hypothesis = words.rule(layer.T * layer * below, below * gram)
    balance = words.rule(above.T * above, layer * layer.T)
    product = layer * below
    # the other half of the hypothesis: P^T P is a power of G, so it commutes with G
    commutes = words.rule(below.T * below * gram, gram * below.T * below)
    carried = layer * layer.T * product - product * gram
    squared = (above * product).T * (above * product) - product.T * product * gram
    induction = words.vanishes(squared, (balance, hypothesis, commutes))
    return all_of(words.vanishes(carried, (hypothesis,)), induction).explain(
        step("Balance lets the Gram matrix of the first layer travel up: if", layer.T * layer * below - below * gram),
        step("vanishes, so does", layer * layer.T * product - product * gram),
        step("and each further layer multiplies the Gram matrix of the product to", product.T * product * gram),
    )


def free_directions() -> Expr:
    """Directions per hidden layer that keep the map and all balance matrices: n (n - 1)/2, those of rotations.

    >>> free_directions()
    n*(n - 1)/2
    """
    return N * (N - 1) / 2


def counts_free_directions(formula: Expr) -> Decision:
    """Whether n^2 directions of the symmetry less n (n + 1)/2 independent conditions leave the formula."""
    return all_of(equal(formula, N**2 - N * (N + 1) * Rational(1, 2)), _symmetric_directions_change_balance())


@cache
def _symmetric_directions_change_balance() -> Decision:
    """The square of a symmetry direction with symmetric m is half of sum tr(dC_i m_i), layer by layer.

    So dC = 0 forces the direction to vanish: the symmetric m are all excluded, the antisymmetric ones remain.
    """
    w = words.Letter("w_i", "n", "m")
    here = words.Letter("m_i", "n", "n", symmetric=True)
    below = words.Letter("m_below", "m", "m", symmetric=True, latex="m_{i-1}")
    move = here * w - w * below
    share = words.trace((move * w.T + w * move.T) * here) - words.trace((move.T * w + w.T * move) * below)
    return words.vanishes(words.trace(move * move.T) - share / 2).explain(
        step("A symmetry direction with symmetric m moves a layer by", move),
        step("its squared length is this layer's share of the change of all balance matrices", share / 2),
        step("so no such direction keeps the balance, and of the square many only the antisymmetric ones are left."),
    )

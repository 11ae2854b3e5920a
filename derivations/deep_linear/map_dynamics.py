r"""Dynamics of the map: how the value sigma of an aligned singular mode grows under fractional natural gradients.

The layers move by \dot\sigma_i = -eta sigma_Delta j_i ||j||^{-2/q}; the map collects them through its couplings j_i. On
balanced layers, |sigma_i| = |sigma|^{1/d}, one equation of one stiffness p is left. Source: A section 3.2.
"""

from __future__ import annotations

from collections.abc import Mapping

from sympy import (
    Abs,
    Expr,
    IndexedBase,
    Integer,
    Interval,
    Rational,
    Sum,
    Symbol,
    limit,
    oo,
    sympify,
)

from derivations.decide import Decision, all_of, equal, nonnegative, positive, step
from derivations.deep_linear import modes
from derivations.notation import (
    DEPTH,
    ETA,
    ETA_TILDE,
    J_I,
    NORM_J,
    SIGMA,
    SIGMA_DELTA,
    SIGMA_I,
    SIGMA_I_DOT,
    SIGMA_STAR,
    P,
    Q,
)
from derivations.powers import canonical_powers

MAGNITUDE = Symbol("m", positive=True)
INDEX = Symbol("i", integer=True)
COUPLINGS = IndexedBase("j", real=True)


def contribution() -> Expr:
    r"""j_i \dot\sigma_i, what one layer contributes to \dot\sigma (A eq. 19).

    >>> is_contribution(contribution()).outcome
    'proved'
    """
    return J_I * SIGMA_I_DOT


def is_contribution(formula: Expr) -> Decision:
    """Whether the contributions of all layers sum to the velocity of the product: induction over the depth.

    A further layer s multiplies the couplings of all layers below by s, and its own coupling is the product so far.
    """
    s, moves = Symbol("s", real=True), Symbol("sdot", real=True)
    deeper, own = formula.subs(J_I, s * J_I), formula.subs({J_I: SIGMA, SIGMA_I_DOT: moves}, simultaneous=True)
    return all_of(
        equal(formula.subs(J_I, 1), SIGMA_I_DOT), equal(deeper, s * formula), equal(own, SIGMA * moves)
    ).explain(
        step("A single layer is the map itself: its coupling is 1 and it contributes", formula.subs(J_I, 1)),
        step("A further layer s multiplies what all layers below contribute:", deeper),
        step("and contributes itself, with the product so far as its coupling:", own),
        step("Together this is the product rule for s times the map so far."),
    )


def over_layers(term: Expr) -> Expr:
    r"""The sum over the layers of a term in j_i, of any depth, with \sum_i j_i^2 = ||j||^2.

    >>> over_layers(ETA * J_I**2)
    eta*jnorm**2
    """
    square = Sum(COUPLINGS[INDEX] ** 2, (INDEX, 1, DEPTH))
    whole = Sum(term.subs(J_I, COUPLINGS[INDEX]), (INDEX, 1, DEPTH))
    return canonical_powers(whole).subs(square, NORM_J**2)


def rate() -> Expr:
    r"""\dot\sigma = -eta (sigma - sigma^*) ||j||^{2 (1 - 1/q)} (A eq. 20).

    >>> follows_from_layers(rate()).outcome
    'proved'
    """
    return -ETA * (SIGMA - SIGMA_STAR) * NORM_J ** (2 - 2 / Q)


def follows_from_layers(formula: Expr) -> Decision:
    """Whether a rate of the map is the sum of what the layers contribute under qNGD."""
    velocity = modes.fractional_velocity().subs(SIGMA_DELTA, SIGMA - SIGMA_STAR)
    term = contribution().subs(SIGMA_I_DOT, velocity)
    return equal(formula, over_layers(term)).explain(
        step("Each layer moves by", velocity),
        step("and contributes to the map", term),
        step("The squared couplings of all layers add up to the squared norm:", over_layers(term)),
    )


def stiffness(q: Expr = Q, depth: Expr = DEPTH) -> Expr:
    """p = 2 (1 - 1/d)(1 - 1/q), the exponent of sigma in the balanced rate (A eq. 21).

    >>> stiffness(Integer(2)), stiffness(depth=Integer(2)).limit(Q, oo)
    (1 - 1/d, 1)
    """
    return (1 - 1 / sympify(q)) * (2 - 2 / sympify(depth))


def clock() -> Expr:
    r"""\tilde\eta = eta d^{1 - 1/q}, the rate constant of the balanced map (A below eq. 21).

    >>> clock().subs(Q, 1)
    eta
    """
    return ETA * DEPTH ** (1 - 1 / Q)


def balanced_rate(value: Expr = SIGMA) -> Expr:
    r"""\dot\sigma = -\tilde\eta (sigma - sigma^*) value^p; value = sigma (A eq. 21) or |sigma|.

    >>> balanced_rate().subs(P, 0)
    -etatilde*(sigma - sigma^*)
    """
    return -ETA_TILDE * (SIGMA - SIGMA_STAR) * value**P


def balanced() -> dict[str, Expr]:
    """The balanced rate as printed, with stiffness and rate constant (A eq. 21).

    >>> sorted(balanced())
    ['rate', 'rate constant', 'stiffness']
    """
    return {"rate": balanced_rate(), "stiffness": stiffness(), "rate constant": clock()}


def balanced_signed() -> dict[str, Expr]:
    """The balanced rate for maps of either sign: |sigma| for sigma under the power.

    >>> follows_from_balance(balanced_signed()).outcome
    'proved'
    """
    return {**balanced(), "rate": balanced_rate(Abs(SIGMA))}


def joined(formula: Mapping[str, Expr]) -> Expr:
    """A balanced rate with its stiffness and its rate constant put in: a function of sigma, sigma^*, eta, d, q."""
    return formula["rate"].subs({P: formula["stiffness"], ETA_TILDE: formula["rate constant"]}, simultaneous=True)


def follows_from_balance(formula: Mapping[str, Expr], signs: tuple[int, ...] = (1, -1)) -> Decision:
    r"""Whether a balanced rate follows from the rate of the map for |sigma_i| = |sigma|^{1/d}, any d; by sign of sigma.

    |j_i| = |sigma| / |sigma_i| is the same for all layers, so that ||j||^2 = d |sigma|^{2 - 2/d}.
    """
    coupling = MAGNITUDE / MAGNITUDE ** (1 / DEPTH)
    square = Sum(coupling**2, (INDEX, 1, DEPTH)).doit()
    parts = []
    for sign in signs:
        at = {SIGMA: sign * MAGNITUDE}
        parts.append(equal(joined(formula).subs(at), rate().subs(at).subs(NORM_J, square ** Rational(1, 2))))
    return all_of(*parts).explain(
        step("Balanced layers have one size, the d-th root of the map value m, hence one coupling", coupling),
        step("whose squares add up to", canonical_powers(square)),
        step("Put into the rate of the map this leaves the power of the map value", MAGNITUDE ** stiffness()),
        step("and the rate constant", clock()),
    )


Range = tuple[Expr, Expr, Expr]


def stiffness_ranges() -> dict[str, Range]:
    """Stiffness at every depth, its value at depth 2 and its limit at infinite depth, of three rules (A figure 2).

    >>> stiffness_ranges()["square root"]
    (1 - 1/d, 1/2, 1)
    """
    return {
        "square root": (1 - 1 / DEPTH, Rational(1, 2), Integer(1)),
        "gradient": (2 - 2 / DEPTH, Integer(1), Integer(2)),
        "natural gradient": (Integer(0), Integer(0), Integer(0)),
    }


ORDERS: Mapping[str, Expr] = {"square root": Integer(2), "gradient": oo, "natural gradient": Integer(1)}


def are_stiffness_ranges(formula: Mapping[str, Range]) -> Decision:
    """Whether the table lists p, p at depth 2 and the limit of p, and p grows with depth from one to the other."""
    parts, more = [], Symbol("h", integer=True, nonnegative=True)
    for name, (value, least, last) in formula.items():
        p = limit(stiffness(), Q, ORDERS[name])
        parts += [equal(value, p), equal(least, p.subs(DEPTH, 2)), equal(last, limit(p, DEPTH, oo))]
        parts.append(nonnegative((p.subs(DEPTH, 3 + more) - p.subs(DEPTH, 2 + more)).factor()))
        if name != "natural gradient":
            parts.append(positive((last - p.subs(DEPTH, 2 + more)).factor()))
    return all_of(*parts).explain(
        step("The stiffness is that of gradient descent, 2 - 2/d, reduced by the order of the rule:", stiffness()),
        step("At the orders 2 and 1 it is", (stiffness(Integer(2)), stiffness(Integer(1)))),
        step(
            "It grows with every layer and stays below its limit: the square root lies in",
            Interval.Ropen(Rational(1, 2), 1),
        ),
        step("and gradient descent in", Interval.Ropen(1, 2)),
    )


def growth_of_square() -> Expr:
    r"""\dot u = -2 eta sigma_Delta sigma ||j||^{-2/q}, the common growth of all \sigma_i^2 = \sigma_i(0)^2 + u.

    >>> is_growth_of_square(growth_of_square()).outcome
    'proved'
    """
    return -2 * ETA * SIGMA_DELTA * SIGMA * NORM_J ** (-2 / Q)


def is_growth_of_square(formula: Expr) -> Decision:
    r"""Whether d(\sigma_i^2)/dt is the formula, the same for all layers: sigma_i j_i = sigma."""
    found = 2 * SIGMA_I * modes.fractional_velocity()
    return equal(formula, found.subs(J_I, SIGMA / SIGMA_I)).explain(
        step("The square of one layer grows by", found),
        step("A layer times its coupling is the map value, so the layer drops out:", formula),
        step("Time is one integral over u: every order and depth is solved by a quadrature."),
    )

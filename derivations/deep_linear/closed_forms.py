r"""Closed forms of the balanced map dynamics \dot\sigma = -\tilde\eta (sigma - sigma^*) sigma^p.

Each solution is stated, and proved by substitution into the equation and the initial condition. All are written with
decaying exponentials, so that they stay finite at all times. 0 < sigma_0 < sigma^* unless said otherwise.
Source: A section 3.2, after eq. 21, and figure 2.
"""

from __future__ import annotations

from collections.abc import Mapping

from sympy import Expr, Integer, LambertW, Rational, Symbol, atan, atanh, exp, log, sqrt, tanh

from derivations.decide import Decision, all_of, equal, step, zero
from derivations.deep_linear.map_dynamics import balanced_rate
from derivations.notation import ETA_TILDE, SIGMA, SIGMA_0, SIGMA_STAR, TIME, P
from derivations.witness import as_text, nonzero_at, points

ROOT = Symbol("u", positive=True)
LARGE, GAP = Symbol("a", positive=True), Symbol("y", positive=True)


def linear(start: Expr | int = 0) -> Expr:
    r"""sigma(t) = sigma^* + (sigma_0 - sigma^*) e^{-\tilde\eta t}, p = 0; as printed from sigma_0 = 0.

    >>> linear()
    sigma^* - sigma^**exp(-etatilde*t)
    """
    return SIGMA_STAR + (start - SIGMA_STAR) * exp(-ETA_TILDE * TIME)


def tanh_squared(start: Expr = SIGMA_0) -> Expr:
    r"""sigma(t) = sigma^* tanh^2(\tilde\eta \sqrt{sigma^*} t / 2 + artanh \sqrt{sigma_0 / sigma^*}), p = 1/2.

    >>> tanh_squared(Integer(0))
    sigma^**tanh(etatilde*sqrt(sigma^*)*t/2)**2
    """
    return SIGMA_STAR * tanh(ETA_TILDE * sqrt(SIGMA_STAR) * TIME / 2 + atanh(sqrt(start / SIGMA_STAR))) ** 2


def logistic() -> Expr:
    r"""sigma(t) = sigma^* / (1 + (sigma^* / sigma_0 - 1) e^{-\tilde\eta sigma^* t}), p = 1.

    >>> solves(logistic(), Integer(1)).outcome
    'proved'
    """
    return SIGMA_STAR / (1 + (SIGMA_STAR / SIGMA_0 - 1) * exp(-ETA_TILDE * SIGMA_STAR * TIME))


def lambert() -> Expr:
    r"""sigma(t) = sigma^* / (1 + W(u_0 e^{u_0 - \tilde\eta sigma^{*2} t})), u_0 = sigma^* / sigma_0 - 1, p = 2.

    W is the principal branch of the Lambert function, the inverse of u e^u for u >= 0.
    """
    gap = SIGMA_STAR / SIGMA_0 - 1
    return SIGMA_STAR / (1 + LambertW(gap * exp(gap - ETA_TILDE * SIGMA_STAR**2 * TIME)))


def solves(formula: Expr, stiffness: Expr) -> Decision:
    """Whether sigma(t) satisfies the balanced equation of integer stiffness and starts at sigma_0.

    With sigma_0 = a and sigma^* = a (1 + y); u_0 = y is the only u >= 0 with u e^u = y e^y.
    """
    at = {SIGMA_0: LARGE, SIGMA_STAR: LARGE * (1 + GAP)}
    value = formula.subs(at, simultaneous=True)
    rate = balanced_rate().subs(P, stiffness).subs(at)
    start = _lambert_inverted(value.subs(TIME, 0), GAP)
    return all_of(zero(value.diff(TIME) - rate.subs(SIGMA, value)), zero(start - LARGE)).explain(
        step("The equation is", balanced_rate().subs(P, stiffness)),
        step("The derivative of the asserted solution is", formula.diff(TIME)),
        step("and equals the rate at the solution; at time 0 it is", SIGMA_0),
    )


def _lambert_inverted(expr: Expr, solution: Expr) -> Expr:
    """W(u e^u) = u for u >= 0, where the argument is proved to have that form."""
    found = [w for w in expr.atoms(LambertW) if equal(w.args[0], solution * exp(solution)).proved]
    return expr.subs(dict.fromkeys(found, solution))


def solves_squared(value: Expr, square: Expr, start: Expr, slope: Expr) -> Decision:
    r"""Whether \dot\sigma^2 = square(sigma) along value(t), with the right value and slope at time 0.

    \dot\sigma does not vanish before sigma^*, so the slope at the start fixes the sign of the root in the rate.
    """
    change = value.diff(TIME)
    claims = (value.subs(TIME, 0) - start, change.subs(TIME, 0) - slope, change**2 - square.subs(SIGMA, value))
    return counterexample(*claims) or all_of(*map(zero, claims))


def counterexample(*residuals: Expr) -> Decision | None:
    """A refutation at one of a few rational points where a residual is certainly not zero, or None."""
    for residual in residuals:
        for point in points(residual.free_symbols, 4):
            found = nonzero_at(residual, point)
            if found is not None:
                return Decision("refuted", found[1], as_text(point, value=found[0]))
    return None


def solves_half(formula: Expr) -> Decision:
    """Whether sigma(t) satisfies the equation of stiffness 1/2 from (a / (1 + y))^2 below sigma^* = a^2."""
    at = {SIGMA_STAR: LARGE**2, SIGMA_0: (LARGE / (1 + GAP)) ** 2}
    rate = balanced_rate().subs(P, Rational(1, 2))
    start = at[SIGMA_0]
    slope = (balanced_rate().subs(P, 0) * sqrt(SIGMA)).subs(SIGMA, SIGMA_0).subs(at, simultaneous=True)
    square = (rate**2).expand(force=True).subs(at)
    return solves_squared(formula.subs(at, simultaneous=True), square, start, slope).explain(
        step("Squared, the equation has no root:", rate**2),
        step("The derivative of the asserted solution is", formula.diff(TIME)),
        step(
            "Its square is the square of the rate, and at time 0 value and slope are",
            (SIGMA_0, rate.subs(SIGMA, SIGMA_0)),
        ),
    )


def solves_from_zero(formula: Expr) -> Decision:
    """Whether sigma(t) satisfies the equation of stiffness 0 from a map value of zero."""
    rate = balanced_rate().subs(P, 0)
    return all_of(zero(formula.diff(TIME) - rate.subs(SIGMA, formula)), zero(formula.subs(TIME, 0))).explain(
        step("Natural gradient descent cancels the couplings, whatever the layers are:", rate),
        step("The derivative of the asserted solution is", formula.diff(TIME)),
    )


def delay() -> Expr:
    r"""A bound on the gap to the curve from zero: 4/(3 \sqrt 3) sigma^* artanh \sqrt{sigma_0 / sigma^*}, p = 1/2.

    >>> bounds_delay(delay()).outcome
    'proved'
    """
    return 4 * sqrt(3) / 9 * SIGMA_STAR * atanh(sqrt(SIGMA_0 / SIGMA_STAR))


def bounds_delay(formula: Expr) -> Decision:
    """Whether the formula is the steepest slope of sigma^* tanh^2 times the shift of its argument.

    With T = tanh, the slope 2 T (1 - T^2) has its only stationary point in 0 < T < 1 at T^2 = 1/3.
    """
    slope, steepest = 2 * ROOT * (1 - ROOT**2), 1 / sqrt(Integer(3))
    shift = atanh(sqrt(SIGMA_0 / SIGMA_STAR))
    stationary = zero(slope.diff(ROOT).subs(ROOT, steepest))
    at = {SIGMA_STAR: LARGE, SIGMA_0: LARGE / (1 + GAP) ** 2}
    return all_of(stationary, zero((formula - SIGMA_STAR * slope.subs(ROOT, steepest) * shift).subs(at))).explain(
        step("A start above zero shifts the argument of the hyperbolic tangent by", shift),
        step("With T for the hyperbolic tangent, the square has the slope", slope),
        step("which is largest at", ROOT**2 - Rational(1, 3)),
        step("so that the two curves are never further apart than", delay()),
    )


def root_clocks() -> dict[str, Expr]:
    r"""\tilde\eta sigma^{*p} t up to a constant, for the square root rule at depth 2, 3, 4; sigma = sigma^* u^d.

    >>> are_root_clocks(root_clocks()).outcome
    'proved'
    """
    third = atan((2 * ROOT + 1) / sqrt(3))
    return {
        "depth 2": 2 * atanh(ROOT),
        "depth 3": log(1 + ROOT + ROOT**2) / 2 - log(1 - ROOT) + sqrt(3) * third,
        "depth 4": 2 * atanh(ROOT) + 2 * atan(ROOT),
    }


def depth_of(name: str) -> int:
    """The depth in a name such as "depth 3"."""
    return int(name.rpartition(" ")[2])


def are_root_clocks(formula: Mapping[str, Expr]) -> Decision:
    """Whether every clock has the derivative d / (1 - u^d): p = 1 - 1/d and sigma = sigma^* u^d."""
    parts = []
    for name, value in formula.items():
        d = depth_of(name)
        power = ROOT ** (d - 1)
        # dt = d sigma / rate with sigma / sigma^* = u^d and sigma^{1 - 1/d} / sigma^{* 1 - 1/d} = u^{d-1}
        rate = (1 - ROOT**d) * power
        parts += [zero(value.diff(ROOT) - (ROOT**d).diff(ROOT) / rate)]
    d = Symbol("d", integer=True, positive=True)
    return all_of(*parts).explain(
        step("With the map value as a power of one layer, the power in front cancels:", d / (1 - ROOT**d)),
        step("This is a sum of simple fractions, one for each root of unity, so its integral is elementary."),
    )


def rests(formula: Expr) -> Decision:
    r"""Whether the formula is the motion of a balanced network of zero map: layers and couplings are zero.

    >>> rests(Integer(0)).outcome, rests(tanh_squared(Integer(0))).outcome
    ('proved', 'refuted')
    """
    return zero(formula).explain(
        step(
            "All layers have the size of the d-th root of the map value, which is zero; so have the couplings of "
            "d >= 2.",
        ),
        step("Every rule moves a layer in proportion to its coupling, so the map keeps the value", Integer(0)),
    )

r"""How a balanced map grows out of small values, escapes from them and separates its modes.

In the variable y with dy = d sigma / sigma^p the balanced equation \dot\sigma = \tilde\eta (sigma^* - sigma) sigma^p
reads \dot y = \tilde\eta (sigma^* - sigma): near zero every order and depth is a straight line. Source: A section 3.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from sympy import Expr, Integer, Rational, Symbol, exp, expand_log, hyper, log, sqrt

from derivations.decide import Decision, all_of, equal, positive, step, zero
from derivations.deep_linear import covariance, half_max, modes
from derivations.deep_linear.half_max import BELOW, X
from derivations.deep_linear.loss import GAP_0
from derivations.deep_linear.map_dynamics import balanced_rate, clock, stiffness
from derivations.notation import (
    DEPTH,
    ETA,
    ETA_TILDE,
    J_I,
    NORM_J,
    SIGMA,
    SIGMA_0,
    SIGMA_DELTA,
    SIGMA_I0,
    SIGMA_STAR,
    TIME,
    P,
    Q,
)

START, GOAL, VALUE = (Symbol(name, positive=True) for name in ("y_0", "s", "y"))
RATIO = Symbol("rho", positive=True)
SHARE = Symbol("c", positive=True)


def linear_gap() -> Expr:
    r"""Delta(t) = Delta(0) e^{-eta t} for every entry of the map, at every depth (A section 3.2, NGD).

    >>> linear_gap().subs(TIME, 0)
    Delta_0
    """
    return GAP_0 * exp(-ETA * TIME)


def is_linear_gap(formula: Expr) -> Decision:
    r"""Whether the formula solves \dot\Delta = -eta Delta, the velocity of the map under NGD with full row rank."""
    velocity = covariance.natural_velocity()
    return all_of(
        covariance.solves_any_covariance(velocity),
        zero(formula.diff(TIME) + ETA * formula),
        equal(formula.subs(TIME, 0), GAP_0),
    ).explain(
        step("The map follows one linear equation, whatever the layers are:", velocity[r"\dot W"]),
        step("Depth, teacher and covariance do not occur in it, and every entry decays as", linear_gap()),
    )


def power_law() -> Expr:
    r"""sigma(t) ~ (sigma_0^{1-p} + (1 - p) \tilde\eta sigma^* t)^{1/(1-p)} while sigma << sigma^*, p not 1.

    >>> power_law().subs(P, 0)
    etatilde*sigma^**t + sigma_0
    """
    return (SIGMA_0 ** (1 - P) + (1 - P) * ETA_TILDE * SIGMA_STAR * TIME) ** (1 / (1 - P))


def follows_power_law(formula: Expr) -> Decision:
    r"""Whether the formula solves \dot\sigma = \tilde\eta sigma^* sigma^p, the balanced equation with its full gap.

    With p = 1 -+ 1/a, sigma = y^{+-a} and y > 0 the time is linear in y. The gap shrinks, so that the mean gap until t,
    which is (y - y_0) / ((1 - p) \tilde\eta t), lies between sigma^* - sigma(t) and sigma^*.
    """
    found: list[Decision] = []
    for side in (1, -1):
        p, power = 1 - side / BELOW, side * BELOW
        at = {P: p, SIGMA_0: START**power, SIGMA_STAR: GOAL}
        elapsed = power * (VALUE - START) / (ETA_TILDE * GOAL)
        value = formula.subs(at, simultaneous=True)
        found.append(equal(value.subs(TIME, elapsed), VALUE**power))
        if found[-1].refuted:
            break
        slope = value.diff(TIME).subs(TIME, elapsed)
        found.append(equal(slope, ETA_TILDE * GOAL * VALUE ** (power * p)))
    straight = SIGMA ** (1 - P) / (1 - P)
    return all_of(*found).explain(
        step("In the variable y the power of the map value is absorbed:", straight),
        step("it grows at a rate that is the gap alone:", ETA_TILDE * (SIGMA_STAR - SIGMA)),
        step(
            "As long as the map is small the gap is the whole goal, and y is a straight line; solved for the map:",
            power_law(),
        ),
    )


def linear_layers() -> Expr:
    r"""sigma_i(t) ~ sigma_i(0) + eta sigma^* t / sqrt(d) under the square root, balanced: so sigma grows like t^d."""
    return SIGMA_I0 + ETA * SIGMA_STAR * TIME / sqrt(DEPTH)


def are_linear_layers(formula: Expr) -> Decision:
    r"""Whether start and slope are those of a layer with its whole gap, and the d-th power is the power law at q = 2.

    For q = 2 the stiffness is 1 - 1/d, so 1/(1 - p) = d; equal couplings have j_i / ||j|| = 1 / sqrt(d).
    """
    velocity = modes.fractional_velocity(2).subs({SIGMA_DELTA: -SIGMA_STAR})
    slope = velocity.subs(NORM_J, J_I * sqrt(DEPTH))
    root = {P: stiffness(Integer(2)), ETA_TILDE: clock().subs(Q, 2)}
    law = power_law().subs(root, simultaneous=True).subs({SIGMA_0: START**DEPTH, SIGMA_STAR: GOAL}, simultaneous=True)
    whole = formula.subs({SIGMA_I0: START, SIGMA_STAR: GOAL}, simultaneous=True) ** DEPTH
    return all_of(equal(formula.diff(TIME), slope), equal(formula.subs(TIME, 0), SIGMA_I0), equal(whole, law)).explain(
        step("With its whole gap a layer moves under the square root by", velocity),
        step("which for equal couplings is a constant:", slope),
        step("The product of all layers is the power law at", root),
    )


def exponents() -> dict[str, Expr]:
    """Exponents of the map value in the rate of a balanced map and in the speed of its weights, per gap.

    >>> exponents()["weights"].subs(Q, 2)
    0
    """
    return {"map": (1 - 1 / DEPTH) * (2 - 2 / Q), "weights": (1 - 1 / DEPTH) * (1 - 2 / Q)}


def are_exponents(formula: Mapping[str, Expr]) -> Decision:
    r"""Whether ||j||^{2 - 2/q} and ||j||^{1 - 2/q} are these powers of sigma; their difference does not depend on q.

    The exponent of a power sigma^e c is e = sigma (d/dsigma) ln; balanced couplings have ||j|| = c sigma^{1 - 1/d}.
    """
    norm = SHARE * VALUE ** (1 - 1 / DEPTH)
    speeds = {"map": NORM_J ** (2 - 2 / Q), "weights": NORM_J ** (1 - 2 / Q)}
    logarithms = {name: expand_log(log(speed.subs(NORM_J, norm))) for name, speed in speeds.items()}
    found = [equal(VALUE * value.diff(VALUE), formula[name]) for name, value in logarithms.items()]
    return all_of(*found, equal(formula["map"] - formula["weights"], 1 - 1 / DEPTH)).explain(
        step("Per gap, the map moves at the rate", speeds["map"]),
        step("and its weights at the speed", speeds["weights"]),
        step("Balanced couplings are a power of the map value:", NORM_J - SHARE * SIGMA ** (1 - 1 / DEPTH)),
        step("The two exponents differ by one power of the couplings, at every order:", 1 - 1 / DEPTH),
    )


def escape_logarithm() -> Expr:
    r"""t_{1/2} = ln(sigma^* / sigma_0 - 1) / (\tilde\eta sigma^*): p = 1, exact.

    >>> is_escape_logarithm(escape_logarithm()).outcome
    'proved'
    """
    return log(SIGMA_STAR / SIGMA_0 - 1) / (ETA_TILDE * SIGMA_STAR)


def is_escape_logarithm(formula: Expr) -> Decision:
    """Whether the formula vanishes for a start at half of the goal, and a later start saves the time d sigma / rate."""
    rate = balanced_rate().subs(P, 1)
    saved = formula.diff(SIGMA_0) + 1 / rate.subs(SIGMA, SIGMA_0)
    at = {SIGMA_0: START, SIGMA_STAR: START * (1 + VALUE)}
    return all_of(
        zero(saved.subs(at, simultaneous=True)), zero(formula.subs({SIGMA_0: START, SIGMA_STAR: 2 * START}))
    ).explain(
        step("A start at half of the goal needs no time; a later start saves the inverse of the rate:", 1 / rate),
        step("The integral grows like minus the logarithm of the start:", formula),
    )


def escape_time() -> Expr:
    r"""t_{1/2} ~ (F_p(1/2) - x_0^{1-p} / (1 - p)) / (\tilde\eta sigma^{*p}), x_0 = sigma_0 / sigma^*, p not 1, p < 2.

    F_p is the clock of stiffness p. For p < 1 the time stays finite as x_0 -> 0; for p > 1 it is x_0^{1-p} / (p - 1).
    """
    share = SIGMA_0 / SIGMA_STAR
    return (half_max.clock_of(Rational(1, 2)) - share ** (1 - P) / (1 - P)) / (ETA_TILDE * SIGMA_STAR**P)


@cache
def _exact_time() -> Decision:
    return half_max.is_half_time(half_max.half_time())


def is_escape_time(formula: Expr) -> Decision:
    r"""Whether the formula is the exact half-maximum time with the hypergeometric factor of the start replaced by 1.

    1 / ((1 - x) x^p) = x^{-p} + x^{1-p} / (1 - x): the first part is kept, and the second, integrated from 0 to x_0,
    is at most x_0^{2-p} / ((2 - p)(1 - x_0)).
    """
    exact = half_max.half_time()
    of_start = [node for node in exact.atoms(hyper) if node.has(SIGMA_0)]
    kept = exact.subs(dict.fromkeys(of_start, Integer(1)))
    at = {SIGMA_0: START, SIGMA_STAR: GOAL}
    split = X ** (-P) + X ** (1 - P) / (1 - X)
    return all_of(
        _exact_time(),
        equal(1 / ((1 - X) * X**P), split),
        equal(formula.subs(at, simultaneous=True), kept.subs(at, simultaneous=True)),
    ).explain(
        step("The inverse rate, in units of the goal, splits into two parts:", split),
        step(
            "The first integrates to a power of the start, which vanishes for p < 1 and diverges for p > 1:",
            X ** (1 - P) / (1 - P),
        ),
        step(
            "The second one is finite at the start. Together with the time above the start, in closed form,",
            escape_time(),
        ),
    )


def inflection() -> Expr:
    """The map value p sigma^* / (1 + p) at which a balanced map grows fastest.

    >>> inflection().subs(P, 1), inflection().subs(P, Rational(1, 2))
    (sigma^*/2, sigma^*/3)
    """
    return P * SIGMA_STAR / (1 + P)


def is_inflection(formula: Expr) -> Decision:
    r"""Whether d rate = \tilde\eta sigma^{p-1} (p sigma^* - (1 + p) sigma) d sigma has its one zero at the formula."""
    at = {SIGMA: VALUE, SIGMA_STAR: GOAL, P: BELOW}
    slope = balanced_rate().diff(SIGMA).subs(at, simultaneous=True)
    line = BELOW * GOAL - (1 + BELOW) * VALUE
    found = formula.subs(at, simultaneous=True)
    return all_of(
        equal(slope, ETA_TILDE * VALUE ** (BELOW - 1) * line),
        zero(line.subs(VALUE, found)),
        positive(-line.diff(VALUE)),
    ).explain(
        step("Along a learning curve the rate changes with the map value by", balanced_rate().diff(SIGMA)),
        step("whose sign is that of a falling line,", P * SIGMA_STAR - (1 + P) * SIGMA),
        step("so that growth first speeds up and then slows down, with the turn at", inflection()),
    )


def separation() -> Expr:
    r"""Time of a weak mode over that of a strong one, both to the same share from the same share: rho^p.

    rho = sigma^*_strong / sigma^*_weak and p = 2 (1 - 1/d)(1 - 1/q).

    >>> separation().subs(Q, 1)
    1
    """
    return RATIO ** stiffness()


@cache
def _faster_share() -> Decision:
    """The rate of the share x at the goal rho s is rho^p times that at the goal s, at every x."""
    share = balanced_rate().subs({SIGMA: X * SIGMA_STAR}) / SIGMA_STAR
    return equal(share.subs(SIGMA_STAR, RATIO * GOAL), RATIO**P * share.subs(SIGMA_STAR, GOAL))


def is_separation(formula: Expr) -> Decision:
    """Whether both modes obey one equation in their shares, with the formula as the unit of the weak one's time."""
    share = balanced_rate().subs({SIGMA: X * SIGMA_STAR}) / SIGMA_STAR
    return all_of(_faster_share(), equal(formula, RATIO ** stiffness())).explain(
        step("The learned share x of a mode grows by", share),
        step("so that of a goal larger by the factor rho grows faster, at every share, by", RATIO**P),
        step("With the stiffness written out this is", separation()),
    )

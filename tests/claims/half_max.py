"""How long a mode of the map takes: the clock of every stiffness, half-maximum times, and when their law is exact."""

from __future__ import annotations

from functools import lru_cache
from math import inf

import mpmath
import numpy as np
from sympy import Rational, hyper, log

from derivations.compiled import evaluate
from derivations.deep_linear import half_max
from derivations.deep_linear.half_max import X
from derivations.notation import ETA_TILDE, SIGMA_0, SIGMA_STAR, P
from numerics.flows import flow
from numerics.rules import Rule
from tests.checker.bounds import rounding
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import agree
from tests.checker.evidence import Bound, Evidence
from tests.checker.figure import Figure, Panel, Series
from tests.claims.assumptions import ACTIVE, ALIGNED, BALANCED, WHITENED
from tests.claims.closed_forms import returned_times
from tests.claims.maps import NONNEGATIVE, balanced_start, map_history, map_velocity, order_rule
from tests.claims.settings import Setting, array

GIVEN = (ALIGNED, ACTIVE, WHITENED, BALANCED, NONNEGATIVE)


def _shares(setting: Setting) -> np.ndarray:
    return setting.modes().prod(0) / array(setting.goals)


SAME_SHARE = Assumption(
    "starts in proportion to the goals",
    "every mode of the map starts at the same fraction of its goal",
    lambda s: bool(np.ptp(_shares(s)) < 1e-10),
)


def stiffness_of(depth: int, q: float) -> float:
    """The stiffness (2 - 2/d)(1 - 1/q); raises ``ValueError`` for p = 1, where the clock of these claims has a pole."""
    p = (2 - 2 / depth) * (1 - 1 / q)
    if abs(p - 1) < 1e-6:
        raise ValueError(f"q: {q} given at depth {depth}, allowed: orders with stiffness other than 1")
    return p


@lru_cache(maxsize=128)
def half_times(setting: Setting, rule: Rule, tolerance: float = 1e-12) -> tuple[np.ndarray, float]:
    """Times (r,) at which the modes of the map reach half of their goals, and their largest error."""
    goals, net, time, length, error, worst = array(setting.goals) / 2, setting.net, 0.0, 0.5, 0.0, 0.0
    found, first = np.full(len(goals), np.nan), np.abs(map_velocity(setting, rule))
    weight = setting.net.depth * max(setting.net.widths) * float(2 * goals.max() + 1)
    while np.isnan(found).any():
        marks = np.linspace(0.0, length, 6)
        ahead = flow(net, setting.problem, rule, marks, tolerance=tolerance)
        values = array(setting.frame.modes(ahead.nets())).prod(1)
        for k in np.flatnonzero(np.isnan(found) & (values[-1] >= goals)):
            before = int(np.flatnonzero(values[:, k] < goals[k])[-1])
            within, speed, own = _crossing(setting.moved(ahead.net(before)), rule, k, marks[1], tolerance)
            found[k] = time + marks[before] + within
            worst = max(worst, weight * ((error + ahead.error) * max(1.0, speed / first[k]) + own) / speed)
        net, time, error, length = ahead.net(5), time + length, error + ahead.error, length * 1.5
    return found, worst


def _crossing(setting: Setting, rule: Rule, mode: int, span: float, tolerance: float) -> tuple[float, float, float]:
    """Newton's method, kept between 0 and ``span``, on the flow of a network short of its half: time, speed, error."""
    half, low, high, error = float(setting.goals[mode]) / 2, 0.0, float(span), 0.0
    guess = high / 2
    for _ in range(40):
        ahead = flow(setting.net, setting.problem, rule, [0.0, guess], tolerance=tolerance)
        there = setting.moved(ahead.net(1))
        speed, error = map_velocity(there, rule)[mode], max(error, ahead.error)
        step = (there.modes().prod(0)[mode] - half) / speed
        if abs(step) < 1e-13:
            break
        low, high = (low, guess) if step > 0 else (guess, high)
        guess = guess - step if low < guess - step < high else (low + high) / 2
    return guess, float(abs(speed)), error


clock = Claim(
    "closed-form.hypergeometric",
    source="A eq. 21",
    says="At every stiffness the time that the map takes is a hypergeometric function of the share it has learned.",
    formula=half_max.clock_of,
    lhs=r"\tilde\eta \sigma^{*p} t + \mathrm{const}",
    given=GIVEN,
    uses=("map.balanced-rate",),
    near_misses={
        "lower parameter not raised": lambda: X ** (1 - P) / (1 - P) * hyper((1, 1 - P), (1 - P,), X),
        "no hypergeometric factor": lambda: X ** (1 - P) / (1 - P),
    },
    falsifiers={"logistic at every stiffness": lambda: log(X / (1 - X))},
    remark=(
        "One function of one variable, the share x of the goal, times a power of the goal. At $`p = 0`$ it is the "
        "logarithm, "
        "at $`p = 1`$ and $`p = 2`$ it has poles, where the logistic and the Lambert curve take over."
    ),
)


@clock.proof(generic_in="stiffness p, start, goal, rate")
def derivative_of_the_clock(formula):
    """The hypergeometric series has fractions as coefficients, so it solves an equation of first order."""
    return half_max.is_clock(formula)


@clock.check(
    grid(depth=[3], q=[1, 1.5, 3, inf], widths=["widening"], seed=[0])
    + grid(depth=[2], q=[2, 5], widths=["waist"], seed=[0])
)
def times_of_full_networks(formula, depth, q, widths, seed):
    """Times of the flow of a full balanced network, recovered from the share of the goal that is learned."""
    p, setting, times = stiffness_of(depth, q), balanced_start(depth, widths, seed), (0.0, 0.5, 1.5)
    found, bound = map_history(setting, order_rule(q, depth ** -(1 - 1 / q)), times)
    goals = array(setting.goals)
    values = evaluate(formula, {X: found / goals, P: p})
    speed = float((np.abs(found - goals) * found**p).min())
    return returned_times(found, values, goals**p, bound, times, speed).on(setting)


half_time = Claim(
    "map.half-max-time",
    source="A figure 2",
    says="The half-maximum time depends on goal and start through a power of the goal and the share at the start.",
    formula=half_max.half_time,
    lhs=r"t_{1/2}",
    given=GIVEN,
    uses=("map.balanced-rate",),
    near_misses={
        "start not measured by the goal": lambda: (
            (half_max.clock_of(Rational(1, 2)) - half_max.clock_of(SIGMA_0)) / (ETA_TILDE * SIGMA_STAR**P)
        ),
        "start at zero": lambda: half_max.clock_of(Rational(1, 2)) / (ETA_TILDE * SIGMA_STAR**P),
    },
    falsifiers={"goal without power": lambda: half_max.half_time() * SIGMA_STAR**P},
    remark=(
        "Rescaled times $`\\tilde\\eta \\sigma^{*p} t_{1/2}`$ of all modes, depths and rules of one stiffness "
        "fall on one curve over "
        "$`\\sigma_0/\\sigma^*`$. Only where that share is common is the half-maximum time a pure power of the goal."
    ),
)


@half_time.proof(generic_in="stiffness p, start, goal, rate")
def derivative_in_the_start(formula):
    """A later start saves what the rate gives, and a start at half of the goal needs no time."""
    return half_max.is_half_time(formula)


@half_time.check(
    grid(depth=[2], q=[1, 2, 5], widths=["widening"], starts=[(0.02, 0.3)], seed=[0])
    + grid(depth=[3], q=[2, inf], widths=["narrowing"], starts=[(0.02, 0.3)], seed=[0])
)
def half_times_of_networks(formula, depth, q, widths, starts, seed):
    """Half-maximum times of a full balanced network, by Newton's method on its flow."""
    setting = balanced_start(depth, widths, seed, starts=tuple(starts))
    times, error = half_times(setting, order_rule(q, depth ** -(1 - 1 / q)))
    at = {SIGMA_0: np.array(starts), SIGMA_STAR: array(setting.goals), ETA_TILDE: 1.0, P: stiffness_of(depth, q)}
    bound = Bound((("error of the map over its speed", error),)) + rounding(float(times.max()), 100)
    return agree(times, evaluate(formula, at), bound=bound).on(setting)


@lru_cache(maxsize=32)
def _integral(share: float, p: float) -> float:
    with mpmath.workdps(30):
        return float(mpmath.quad(lambda x: x ** (-mpmath.mpf(p)) / (1 - x), [mpmath.mpf(share), 0.1, 0.5]))


@half_time.check(grid(share=[0.01], p=[0.0, 0.25, 0.5, 0.75, 1.25, 1.5, 1.75]), network=False)
def integral_of_the_inverse_rate(formula, share, p):
    """The integral of dx / ((1 - x) x^p) from the start to one half, by adaptive quadrature at 30 digits."""
    at = {SIGMA_0: share * 1.7, SIGMA_STAR: 1.7, ETA_TILDE: 1.0, P: p}
    wanted = float(evaluate(formula, at)) * 1.7**p
    return agree(_integral(share, p), wanted, bound=rounding(max(1.0, share ** (1 - p)), 100))


law = Claim(
    "map.half-max-law",
    source="A figure 2",
    says="The half-maximum times of the modes of one network are in proportion to a power of their goals.",
    formula=half_max.half_time_law,
    lhs=r"t_{1/2}",
    relation=r"\propto",
    given=GIVEN,
    conditions=(SAME_SHARE,),
    uses=("map.balanced-rate",),
    near_misses={
        "exponent 5 percent off": lambda: SIGMA_STAR ** (-P * Rational(21, 20)),
        "inverse goal": lambda: 1 / SIGMA_STAR,
    },
    falsifiers={"growing with the goal": lambda: SIGMA_STAR**P},
    remark=(
        "Exact if and only if all modes start at one fraction of their goals; for $`p < 1`$ also from zero. "
        "Random small weights "
        "do not start like that: from a common small start the exponent is $`-p`$ only below $`p = 1`$, and "
        "$`-1`$ above."
    ),
)


@law.proof(generic_in="stiffness p, share at the start, rate")
def one_equation_for_all_modes(formula):
    """In units of time proportional to the formula the learned share obeys the same equation for all modes."""
    return half_max.scales(formula)


LAW_GOALS = (0.7, 1.0, 1.8)


def _law_agrees(formula, depth: int, q: float, starts: tuple[float, ...], seed: int) -> Evidence:
    setting = balanced_start(depth, (3,) * (depth + 1), seed, starts=starts, goals=LAW_GOALS)
    times, error = half_times(setting, order_rule(q, depth ** -(1 - 1 / q)))
    scale = evaluate(formula, {SIGMA_STAR: np.array(LAW_GOALS), P: (2 - 2 / depth) * (1 - 1 / q)})
    ratio = times / times[0]
    bound = Bound((("errors of two times", float(2 * error * ratio.max() / times.min())),)) + rounding(1.0, 100)
    return agree(ratio, np.broadcast_to(scale / scale[0], ratio.shape), bound=bound).on(setting)


@law.check(grid(depth=[2], q=[1, 2, inf], share=[0.05], seed=[0]) + grid(depth=[3], q=[inf], share=[0.05], seed=[0]))
def proportional_starts(formula, depth, q, share, seed):
    """Ratios of half-maximum times of three modes of a full network, started in proportion to their goals."""
    return _law_agrees(formula, depth, q, tuple(share * goal for goal in LAW_GOALS), seed)


@law.without(SAME_SHARE, grid(depth=[2], q=[2, inf], start=[0.05], seed=[0]))
def common_start(formula, depth, q, start, seed):
    """The same with one start for all modes."""
    return _law_agrees(formula, depth, q, (start,) * len(LAW_GOALS), seed)


@half_time.figure
def collapse(formula):
    """Rescaled half-maximum times of networks of several depths and rules over the share at the start."""
    shares, series = np.geomspace(2e-3, 0.4, 80), []
    cases = (("p = 0", 2, 1.0), ("p = 1/2", 2, 2.0), ("p = 3/4", 4, 2.0), ("p = 4/3", 3, inf), ("p = 3/2", 4, inf))
    for name, depth, q in cases:
        p = stiffness_of(depth, q)
        at = {SIGMA_0: shares, SIGMA_STAR: 1.0, ETA_TILDE: 1.0, P: p}
        series.append(Series(name, shares, evaluate(formula, at)))
    for _, depth, q in cases:
        p = stiffness_of(depth, q)
        x, y = [], []
        for starts in ((0.01, 0.06), (0.1, 0.4)):
            setting = balanced_start(depth, (2,) * (depth + 1), 0, starts=starts)
            times, _ = half_times(setting, order_rule(q, depth ** -(1 - 1 / q)), 1e-6)
            goals = array(setting.goals)
            x.extend(np.array(starts) / goals)
            y.extend(times * goals**p)
        series.append(Series("network" if depth == 2 and q == 1 else "", x, y, "simulation"))
    panel = Panel(
        "Half-maximum times collapse",
        r"share at the start $\sigma_0/\sigma^*$",
        r"$\tilde\eta \sigma^{*p} t_{1/2}$",
        tuple(series),
        log_x=True,
        log_y=True,
    )
    return Figure(
        "Rescaled half-maximum times of modes with two goals, at five stiffnesses, over the share of the goal at "
        "the start. "
        "Below stiffness 1 they stay finite for starts near zero, above they grow like a power of the start.",
        (panel,),
    )

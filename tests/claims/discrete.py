"""The balance in discrete time: what Runge-Kutta steps, the implicit midpoint and weight decay do to it."""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np

from derivations.code import value
from derivations.deep_linear import discrete
from derivations.deep_linear.conservation import STEP, balance
from derivations.deep_linear.discrete import A_LR, A_RL, B_L, B_R, V_1, V_2, V_NEXT_1, V_NEXT_2
from derivations.words import vanishes as words_vanish
from numerics import runge_kutta
from numerics.networks import DeepLinear, Direction
from numerics.rules import Fractional
from numerics.runge_kutta import METHODS
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, slope
from tests.checker.evidence import Bound
from tests.checker.figure import Figure, Panel, Series
from tests.claims.hidden_layers import ORTHOGONAL, SHAPES, Run, layer_pairs, stacked
from tests.claims.settings import near_solution

Widths = str | tuple[int, ...]


def balances(net: DeepLinear) -> np.ndarray:
    """All entries of all balances."""
    return stacked([value(balance(), letters) for letters in layer_pairs(net.weights)])


def size(net: DeepLinear) -> float:
    """The largest sum of squares that enters a balance."""
    return max(float(w.square().sum(-1).max() + w.square().sum(-2).max()) for w in net.weights)


def step_rounding(net: DeepLinear, ks: tuple[Direction, ...], step: float) -> Bound:
    """Rounding of a balance, and of velocities that must match in neighbouring layers to multiply the weights."""
    speed = max(float(v.square().sum(-1).max() + v.square().sum(-2).max()) for k in ks for v in k)
    return rounding(size(net) + step * (speed * size(net)) ** 0.5, 2 * sum(net.widths) * len(ks))


@lru_cache(maxsize=128)
def stepped(
    depth: int, q: float, widths: Widths, method: str, step: float, seed: int
) -> tuple[Run, np.ndarray, tuple[Direction, ...], Bound]:
    """One step of a method along a fractional rule on correlated inputs: drift of the balances, stage velocities."""
    setting, rule, tableau = near_solution(depth, widths, seed, correlated=True), Fractional(q), METHODS[method]
    ks = runge_kutta.stages(setting.net, setting.problem, rule, step, tableau)
    after = runge_kutta.advance(setting.net, ks, step, tableau)
    drift = balances(after) - balances(setting.net)
    return Run(setting, rule), drift, ks, step_rounding(setting.net, ks, step)


def _same_sum(formula, mutant) -> bool:
    """Whether two pair formulas have the same sum over both orders of two stages."""
    pairs = (one + discrete.exchanged(one) for one in (formula, mutant))
    first, second = pairs
    return words_vanish(first - second).proved


method_drift = Claim(
    "discrete.runge-kutta-drift",
    source="A eq. 4, in discrete time",
    says="A Runge-Kutta step moves the balance by products of velocities of pairs of stages, each with a number of "
    "the method alone.",
    formula=discrete.runge_kutta_drift,
    lhs=r"C_i(w') - C_i(w)",
    relation=r"= \sum_{r,\, l}",
    given=(ORTHOGONAL,),
    uses=("conservation.strong-form",),
    near_misses={
        "one of the two coefficients": lambda: discrete.pair_product() * ((B_R * B_L - B_R * A_RL) * STEP**2),
        "products of the weights alone": lambda: discrete.pair_product() * (B_R * B_L * STEP**2),
    },
    falsifiers={
        "opposite sign": lambda: discrete.runge_kutta_drift() * -1,
        "lower layer alone": lambda: discrete.V_R * discrete.V_L.T * ((B_R * B_L - B_R * A_RL - B_L * A_LR) * STEP**2),
    },
    equivalent=_same_sum,
    remark=(
        "The number is the one that symplectic methods set to zero: what keeps the energy of a pendulum in bounds "
        "keeps layers balanced. Euler's method has $`1`$, its backward form $`-1`$. Network, task and rule enter "
        "through the velocities alone."
    ),
)


@method_drift.proof(generic_in="method, number of stages, depth, widths, loss, rule, step")
def strong_form_at_every_stage(formula):
    """Expand the balance of the moved layers, and use the strong form at the weights of each stage."""
    return discrete.is_runge_kutta_drift(formula)


def _pair_sum(formula, ks: tuple[Direction, ...], method: str, step: float) -> np.ndarray:
    tableau, total = METHODS[method], 0.0
    for r, one in enumerate(ks):
        for el, other in enumerate(ks):
            numbers = {A_RL: tableau.a[r][el], A_LR: tableau.a[el][r], B_R: tableau.b[r], B_L: tableau.b[el]}
            letters = [
                {"v_r": a["w_i"], "v_next_r": a["w_next"], "v_l": b["w_i"], "v_next_l": b["w_next"]}
                for a, b in zip(layer_pairs(one), layer_pairs(other), strict=True)
            ]
            total = total + stacked([value(formula, {**v, **numbers, STEP: step}) for v in letters])
    return np.asarray(total)


@method_drift.check(
    grid(depth=[2], q=[1], widths=SHAPES, method=["heun"], step=[0.25], seed=[0])
    + grid(depth=[3], q=[inf], widths=["wide"], method=list(METHODS), step=[0.1], seed=[0])
)
def one_step(formula, depth, q, widths, method, step, seed):
    """Balances of a full network before and after one step, for explicit and implicit methods."""
    run, drift, ks, bound = stepped(depth, q, widths, method, step, seed)
    return agree(drift, _pair_sum(formula, ks, method, step), bound=bound, scale=step**2).on(run)


heun = Claim(
    "discrete.heun-drift",
    source="A eq. 4, in discrete time",
    says="A step of Heun's method moves the balance by a quarter of the squared step times the balance of the "
    "difference of its velocities.",
    formula=discrete.heun_drift,
    lhs=r"C_i(w') - C_i(w)",
    given=(ORTHOGONAL,),
    uses=("discrete.runge-kutta-drift",),
    near_misses={
        "half for a quarter": lambda: discrete.heun_drift() * 2,
        "sum for difference": lambda: (
            ((V_1 + V_2) * (V_1 + V_2).T - (V_NEXT_1 + V_NEXT_2).T * (V_NEXT_1 + V_NEXT_2)) * (STEP**2 / 4)
        ),
    },
    falsifiers={"as for Euler's method": lambda: (V_1 * V_1.T - V_NEXT_1.T * V_NEXT_1) * STEP**2},
    remark=(
        "The difference of the two velocities is of first order in the step, so the drift over a given time is of "
        "third order: the balance is kept one order better than the weights themselves."
    ),
)


@heun.proof(generic_in="depth, widths, loss, rule, step")
def two_stages(formula):
    """Sum the drift of pairs over the four pairs of the method."""
    return discrete.is_heun_drift(formula)


def _heun_letters(ks: tuple[Direction, ...]) -> list[dict[str, np.ndarray]]:
    return [
        {"v_1": a["w_i"], "v_next_1": a["w_next"], "v_2": b["w_i"], "v_next_2": b["w_next"]}
        for a, b in zip(*map(layer_pairs, ks), strict=True)
    ]


@heun.check(
    grid(depth=[2, 4], q=[1, 2], widths=["widening", "waist"], step=[0.25], seed=[0])
    + grid(depth=[3], q=[inf], widths=["square"], step=[0.25], seed=[0])
)
def heun_step(formula, depth, q, widths, step, seed):
    """Balances of a full network before and after one step of Heun's method."""
    run, drift, ks, bound = stepped(depth, q, widths, "heun", step, seed)
    predicted = stacked([value(formula, {**one, STEP: step}) for one in _heun_letters(ks)])
    return agree(drift, predicted, bound=bound, scale=step**2).on(run)


COUNTS = (16, 24, 32, 48, 64)


@lru_cache(maxsize=64)
def journey(depth: int, q: float, widths: Widths, method: str, time: float, seed: int) -> tuple[float, ...]:
    """The largest drift of a balance over a given time, for several numbers of equal steps."""
    setting, rule, tableau = near_solution(depth, widths, seed), Fractional(q), METHODS[method]
    found = []
    for count in COUNTS:
        net, h = setting.net, time / count
        for _ in range(count):
            net = runge_kutta.advance(net, runge_kutta.stages(net, setting.problem, rule, h, tableau), h, tableau)
        found.append(float(np.abs(balances(net) - balances(setting.net)).max()))
    return tuple(found)


@heun.check(
    grid(depth=[2], q=[1], widths=["narrowing"], time=[0.5], seed=[0])
    + grid(depth=[3], q=[inf], widths=["square"], time=[0.5], seed=[0])
)
def order_over_a_given_time(formula, depth, q, widths, time, seed):
    """The order in the step of the drift over a given time: one less than the order of one step in the formula."""
    setting, drifts = near_solution(depth, widths, seed), journey(depth, q, widths, "heun", time, seed)
    shares = []
    for h in (time / 128, time / 256):
        ks = runge_kutta.stages(setting.net, setting.problem, Fractional(q), h, METHODS["heun"])
        shares.append(float(np.abs(stacked([value(formula, {**one, STEP: h}) for one in _heun_letters(ks)])).max()))
    sizes = [time / count for count in COUNTS]
    predicted = round(float(np.log2(shares[0] / shares[1]))) - 1 if min(shares) > 0 else inf
    local = np.diff(np.log(drifts)) / np.diff(np.log(sizes))
    found = slope(sizes, drifts, predicted=predicted, systematic=float(np.ptp(local)))
    return found.on(Run(setting, Fractional(q)))


@method_drift.figure
def drift_of_methods(formula):
    """Drift of one step against the step for five methods, summed up from the formula and observed."""
    sizes = list(np.geomspace(0.01, 0.1, 5))
    series: list[Series] = []
    gaps, places, budget = [], [], 0.0
    for method in ("euler", "heun", "classical"):
        found = [stepped(3, inf, "square", method, h, 0) for h in sizes]
        shares = [_pair_sum(formula, one[2], method, h) for one, h in zip(found, sizes, strict=True)]
        predicted = [float(np.abs(share).max()) for share in shares]
        observed = [float(np.abs(one[1]).max()) for one in found]
        series += [Series(method, sizes, predicted), Series(f"{method}, network", sizes, observed, "simulation")]
        gaps += [abs(a - b) for a, b in zip(observed, predicted, strict=True)]
        places += sizes
        budget = max(budget, *(one[3].total for one in found))
    kept = [stepped(3, inf, "square", "midpoint", h, 0) for h in sizes]
    series.append(Series("implicit midpoint, network", sizes, [float(np.abs(one[1]).max()) for one in kept], "marker"))
    panel = Panel(
        "One step of four methods", "step $h$", "largest change of an entry of $C_i$", tuple(series),
        residual=Series("difference", places, gaps, "simulation"), residual_bound=budget, log_x=True, log_y=True,
    )  # fmt: skip
    caption = "Gradient descent in discrete steps: the implicit midpoint drifts by rounding alone."
    return Figure(caption, (panel,))

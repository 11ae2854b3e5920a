"""How the balance moves where it is not conserved: discrete steps, momentum, curvature cut into layers."""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np
import torch
from numpy.polynomial import chebyshev
from torch import Tensor

from derivations.code import value
from derivations.deep_linear import conservation
from derivations.deep_linear.conservation import STEP, V_HERE, V_NEXT
from derivations.notation import DEPTH, ETA
from numerics import curvature, flows, steps
from numerics.networks import DeepLinear, Direction, flatten, unflatten
from numerics.rules import BlockNatural, Fractional
from tests.checker.bounds import integration, rounding
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import agree, slope
from tests.checker.evidence import Bound
from tests.checker.figure import Figure, Panel, Series
from tests.claims.hidden_layers import SHAPES, balance_rates, layer_pairs, stacked
from tests.claims.settings import Setting, array, near_solution

euler = Claim(
    "conservation.euler-drift",
    source="A eq. 4, in discrete time",
    says="One discrete step of any update orthogonal to the null space moves the balance by the squared step times the "
    "balance of the velocities.",
    formula=conservation.euler_drift,
    lhs=r"C_i(w + h \dot{w}) - C_i(w)",
    uses=("conservation.weight-balance",),
    near_misses={
        "half of it": lambda: (V_HERE * V_HERE.T - V_NEXT.T * V_NEXT) * STEP**2 / 2,
        "first order in the step": lambda: (V_HERE * V_HERE.T - V_NEXT.T * V_NEXT) * STEP,
    },
    falsifiers={"velocities of one layer alone": lambda: V_HERE * V_HERE.T * STEP**2},
    remark=(
        "The law of the flow is lost by a term of second order in each step, hence by a term of first order over a "
        "given time: halving the step halves the drift. The drift is a sum that never averages out along a fixed "
        "direction of motion."
    ),
)


@euler.proof(generic_in="depth, widths, loss, rule, step")
def linear_term_vanishes(formula):
    """Expand the balance of the moved layers; the linear term is the conservation law."""
    return conservation.is_euler_drift(formula)


def _changes(before: DeepLinear, after: DeepLinear) -> np.ndarray:
    return stacked([array(after.balance(i) - before.balance(i)) for i in range(1, before.depth)])


@lru_cache(maxsize=64)
def stepped(
    depth: int, q: float, widths: str | tuple[int, ...], step: float, seed: int
) -> tuple[Setting, np.ndarray, list[dict[str, np.ndarray]], Bound]:
    """One step of a fractional rule with correlated inputs: changes of the balances, layers with velocities."""
    setting, rule = near_solution(depth, widths, seed, correlated=True), Fractional(q)
    velocity = rule.velocity(setting.net, setting.problem)
    observed = _changes(setting.net, steps.euler(setting.net, setting.problem, rule, step))
    largest, speed = (
        max(float(x.square().sum(-1).max() + x.square().sum(-2).max()) for x in parts)
        for parts in (setting.net.weights, velocity)
    )
    # the velocity itself rounds too, and its rounding multiplies the weights
    bound = rounding(largest + step * (speed * largest) ** 0.5, 2 * sum(setting.net.widths))
    return setting, observed, layer_pairs(setting.net.weights, velocity), bound


@euler.check(grid(depth=[2, 5], q=[1, inf], widths=SHAPES, step=[0.25], seed=[0]))
def one_step(formula, depth, q, widths, step, seed):
    """The balances before and after one step of a fractional rule with correlated inputs."""
    setting, observed, letters, bound = stepped(depth, q, widths, step, seed)
    predicted = stacked([value(formula, {**one, STEP: step}) for one in letters])
    return agree(observed, predicted, bound=bound).on(setting)


COUNTS = (48, 64, 96, 128, 192, 256)


@lru_cache(maxsize=16)
def descent(
    depth: int, widths: str | tuple[int, ...], q: float, count: int, time: float, seed: int
) -> tuple[DeepLinear, ...]:
    """The networks after 0, 1, ..., count equal steps of a fractional rule over a given time."""
    setting = near_solution(depth, widths, seed)
    nets = [setting.net]
    for _ in range(count):
        nets.append(steps.euler(nets[-1], setting.problem, Fractional(q), time / count))
    return tuple(nets)


@lru_cache(maxsize=16)
def descent_pairs(
    depth: int, widths: str | tuple[int, ...], q: float, count: int, time: float, seed: int
) -> list[dict[str, np.ndarray]]:
    """Weights and velocities of all steps at once, shape (count, ...), at every hidden layer."""
    nets = descent(depth, widths, q, count, time, seed)
    weights = [torch.stack(layers) for layers in zip(*(net.weights for net in nets), strict=True)]
    velocity = tuple((w[1:] - w[:-1]) * (count / time) for w in weights)
    return layer_pairs(tuple(w[:-1] for w in weights), velocity)


def _total(formula, case: tuple, count: int, time: float) -> float:
    """The largest entry of the drift that a formula gives to a whole descent."""
    letters = [{**one, STEP: time / count} for one in descent_pairs(*case[:3], count, time, case[3])]
    return float(np.abs(stacked([value(formula, one).sum(0) for one in letters])).max())


@euler.check(
    grid(depth=[2], q=[1], widths=["narrowing"], time=[1.0], seed=[0])
    + grid(depth=[3], q=[inf], widths=["square", "narrowing"], time=[1.0], seed=[0])
)
def order_over_a_given_time(formula, depth, q, widths, time, seed):
    """The order in the step of the drift over a given time: one less than the order of a single step in the formula."""
    case = (depth, widths, q, seed)
    drifts = []
    for count in COUNTS:
        nets = descent(depth, widths, q, count, time, seed)
        drifts.append(float(np.abs(_changes(nets[0], nets[-1])).max()))
    sizes = [time / count for count in COUNTS]
    letters = descent_pairs(depth, widths, q, COUNTS[-1], time, seed)[0]
    small, large = (float(np.abs(value(formula, {**letters, STEP: h})).max()) for h in (0.01, 0.02))
    predicted = float(np.log2(large / small)) - 1 if small and large else inf
    local = np.diff(np.log(drifts)) / np.diff(np.log(sizes))
    found = slope(sizes, drifts, predicted=predicted, systematic=float(np.ptp(local)))
    return found.on(near_solution(*case[:2], seed))


@euler.figure
def drift_against_step(formula):
    """The drift over a given time against the step, summed up from the formula and observed."""
    case, time = (3, "square", inf, 0), 1.0
    sizes = [time / count for count in COUNTS]
    observed = []
    for count in COUNTS:
        nets = descent(3, "square", inf, count, time, 0)
        observed.append(float(np.abs(_changes(nets[0], nets[-1])).max()))
    predicted = [_total(formula, case, count, time) for count in COUNTS]
    residual = Series("difference", sizes, [abs(a - b) for a, b in zip(observed, predicted, strict=True)], "simulation")
    panel = Panel(
        "Drift of the balance under discrete steps",
        "step $h$",
        "largest change of an entry of $C_i$ at $t = 1$",
        (Series("sum of the formula", sizes, predicted), Series("network", sizes, observed, "simulation")),
        residual=residual,
        residual_bound=rounding(float(near_solution(3, "square", 0).net.norm()) ** 2, 2 * max(COUNTS)).total,
        log_x=True,
        log_y=True,
    )
    return Figure("Halving the step halves the drift: the flow alone conserves the balance.", (panel,))


momentum = Claim(
    "conservation.momentum-drift",
    source="A theorem 1, for updates with memory",
    says="With momentum the balance is not conserved: the balance of the velocities drives it.",
    formula=conservation.momentum_drift,
    lhs=r"\ddot{C}_i + \gamma\, \dot{C}_i",
    uses=("conservation.strong-form",),
    near_misses={"factor one": lambda: V_HERE * V_HERE.T - V_NEXT.T * V_NEXT},
    falsifiers={
        "conserved": lambda: (V_HERE * V_HERE.T - V_NEXT.T * V_NEXT) * 0,
        "the lower layer alone": lambda: V_HERE * V_HERE.T * 2,
    },
    remark=(
        "The velocity of the heavy ball remembers gradients of earlier weights, so it is not of the form $`A_i^T "
        "\\Lambda B_i^T`$ with the present ones. Strong friction $`\\gamma`$ brings the law back: over a given "
        "descent the drift falls as $`\\gamma^{-2}`$."
    ),
)


@momentum.proof(generic_in="depth, widths, loss, friction")
def gradients_cancel_in_the_acceleration(formula):
    """Differentiate the balance twice along layers that accelerate by friction and a gradient."""
    return conservation.is_momentum_drift(formula)


NODES = 33


@lru_cache(maxsize=32)
def ride(
    depth: int, widths: str | tuple[int, ...], friction: float, time: float, seed: int
) -> tuple[Setting, np.ndarray, tuple[Tensor, ...], tuple[Tensor, ...], float]:
    """Weights and velocities of a heavy ball from rest, at Chebyshev points of [0, time], with their error."""
    setting = near_solution(depth, widths, seed, correlated=True)
    widths_ = setting.net.widths

    def rhs(_: Tensor, y: Tensor) -> Tensor:
        w, v = y.chunk(2)
        g = flatten(curvature.gradient(DeepLinear(unflatten(w, widths_)), setting.problem))
        return torch.cat([v, -friction * v - g])

    places = time * (1 - np.cos(np.pi * np.arange(NODES) / (NODES - 1))) / 2
    start = flatten(setting.net.weights)
    values, error = flows.integrate(rhs, torch.cat([start, torch.zeros_like(start)]), places.tolist(), 1e-12)
    w, v = values.chunk(2, dim=-1)
    return setting, places, unflatten(w, widths_), unflatten(v, widths_), error


def _integral(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The integral over [0, T] of the polynomial through values at the Chebyshev points of it."""
    time = places[-1]
    weights = chebyshev.chebfit(2 * places / time - 1, values, len(places) - 1)
    return chebyshev.chebval(1.0, chebyshev.chebint(weights, lbnd=-1)) * time / 2


@momentum.check(grid(depth=[2, 3], friction=[0.5, 2.0], widths=["square", "narrowing"], time=[1.0], seed=[0]))
def heavy_ball_from_rest(formula, depth, friction, widths, time, seed):
    """The rate of the balance at the end of a ride against the integral of the formula, friction included."""
    setting, places, weights, velocity, error = ride(depth, widths, friction, time, seed)
    last: Direction = tuple(v[-1] for v in velocity)
    observed = stacked(balance_rates(DeepLinear(tuple(w[-1] for w in weights)), last)) * np.exp(friction * time)
    letters = layer_pairs(weights, velocity)
    growth = np.exp(friction * places)
    driven = np.stack([stacked([value(formula, one)[k] for one in letters]) for k in range(NODES)]) * growth[:, None]
    fine, coarse = _integral(driven, places), _integral(driven[::2], places[::2])
    size = max(float(x.abs().sum(-1).max() + x.abs().sum(-2).max()) for x in (*weights, *velocity))
    scale = float(growth[-1]) * size
    bound = integration(4 * scale * max(1.0, time) * error) + rounding(scale * size, NODES)
    bound += Bound((("quadrature", float(np.abs(fine - coarse).max())),))
    return agree(observed, fine, bound=bound).on(setting)


def _square_invertible(setting: Setting) -> bool:
    return len(set(setting.net.widths)) == 1 and all(
        float(torch.linalg.svdvals(w)[-1]) > 1e-6 for w in setting.net.weights
    )


SQUARE = Assumption("square invertible layers", "all layers are square and invertible", _square_invertible)

block = Claim(
    "conservation.block-natural-drift",
    source="A theorem 1, for block-diagonal curvature",
    says="Natural gradient within each layer does not conserve the balance: two terms of its rate do not cancel.",
    formula=conservation.block_natural_rate,
    lhs=r"\dot{C}_i",
    given=(SQUARE,),
    near_misses={"the upper layer's part alone": lambda: _upper_part()},
    falsifiers={
        "conserved": lambda: conservation.block_natural_rate() * 0,
        "every layer at the full rate": lambda: conservation.block_natural_rate() * DEPTH,
    },
    remark=(
        "Each layer inverts the others by itself, which gives it a $`\\Lambda`$ of its own. For layers of width "
        "one the rate is $`- \\eta (2 / d)\\, C\\, Y / (w_i w_{i+1})`$: signs decide whether the imbalance shrinks "
        "or grows."
    ),
)


def _upper_part():
    second = conservation.W_NEXT.T * conservation.PULLED * conservation.INVERSE_HERE
    return (second + second.T) * (ETA / DEPTH)


@block.proof(generic_in="depth, width")
def each_layer_alone(formula):
    """Solve each layer for the whole error and differentiate the balance."""
    return conservation.is_block_natural_rate(formula)


@block.check(
    grid(depth=[2, 3, 5], widths=["square"], eta=[1.0, 0.3], seed=range(2))
    + grid(depth=[2], widths=[(1, 1, 1), (2, 2, 2)], eta=[1.0], seed=[0])
)
def rate_on_networks(formula, depth, widths, eta, seed):
    """The rate of the balances along the velocity of the block-diagonal rule."""
    setting = near_solution(depth, widths, seed)
    net = setting.net
    if len(set(net.widths)) > 1:
        raise ValueError(f"widths: {net.widths} given, allowed: equal sizes")
    velocity = BlockNatural(eta).velocity(net, setting.problem)
    observed = stacked(balance_rates(net, velocity))
    error = array(setting.problem.error(net))
    letters = []
    for i, one in enumerate(layer_pairs(net.weights), start=1):
        above, below = np.linalg.inv(array(net.left(i + 1))), np.linalg.inv(array(net.right(i)))
        inverses = {"w_i_inverse": np.linalg.inv(one["w_i"]), "w_next_inverse": np.linalg.inv(one["w_next"])}
        letters.append({**one, **inverses, "Y": above @ error @ below, "d": depth, "eta": eta})
    condition = float(np.prod([np.linalg.cond(array(w)) for w in net.weights]))
    size = max(float((v.abs() @ w.abs().mT).max()) for v, w in zip(velocity, net.weights, strict=True))
    # four products a hidden layer, each with two inverses
    bound = rounding(4 * size, 4 * sum(net.widths), condition)
    return agree(observed, stacked([value(formula, one) for one in letters]), bound=bound, scale=size).on(setting)

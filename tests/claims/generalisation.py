"""How fast modes of signal and of noise are learned, and what clipping does to it."""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np
import torch
from numpy.polynomial import chebyshev
from scipy.optimize import brentq

from derivations.compiled import evaluate
from derivations.deep_linear import generalisation
from derivations.deep_linear.generalisation import GOAL_A, GOAL_B, LIMIT, SPEED, VALUE
from derivations.notation import DEPTH, ETA, Q
from numerics import autograd, curvature
from numerics.flows import Trajectory, flow
from numerics.networks import DeepLinear, inner, norm, scaled
from numerics.rules import Fractional, NaturalGradient
from tests.checker.bounds import integration, rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree
from tests.checker.evidence import Bound
from tests.checker.figure import Figure, Panel, Series
from tests.checker.seeds import seed_of
from tests.claims.assumptions import ALIGNED, BALANCED, FULL_ROW_RANK
from tests.claims.modes import velocity_rounding
from tests.claims.settings import Setting, aligned, array, near_solution, sizes

speed = Claim(
    "generalisation.learning-speed",
    source="A section 4, eq. 21",
    says="The map of a balanced mode moves, for each unit of its gap, the faster the larger the mode is.",
    formula=generalisation.learning_speed,
    lhs=r"-\dot{\sigma} / \sigma_\Delta",
    given=(ALIGNED, BALANCED),
    uses=("modes.fractional-rate",),
    near_misses={
        "power 1/d for each layer": lambda: ETA * DEPTH ** (1 - 1 / Q) * VALUE ** ((1 - 1 / DEPTH) * (1 - 1 / Q))
    },
    falsifiers={
        "as fast for every mode": lambda: ETA * DEPTH ** (1 - 1 / Q) * VALUE ** (0 * Q),
        "without the number of layers": lambda: ETA * VALUE ** generalisation.exponent(),
    },
    remark=(
        "Large modes of the data, the signal, come first because of this power. Natural gradient descent, $`p "
        "= 0`$, has no preference; for the square root $`p = 1 - 1/d`$ stays below one, the value of gradient "
        "descent with two layers."
    ),
)

printed = Claim(
    "generalisation.learning-speed-as-printed",
    source="A section 4",
    says="The learning speed of the map scales as the mode value to the power minus p.",
    formula=generalisation.learning_speed_as_printed,
    control=generalisation.learning_speed,
    corrected_by=("generalisation.learning-speed",),
    lhs=r"-\dot{\sigma} / \sigma_\Delta",
    given=(ALIGNED, BALANCED),
    near_misses={"power 1/d for each layer": speed.near_misses["power 1/d for each layer"]},
    falsifiers={"as fast for every mode": speed.falsifiers["as fast for every mode"]},
    remark="It is the learning time that has the power $`-p`$. Taken at its word the sentence would let noise "
    "come first.",
)


@speed.proof(generic_in="depth, order q")
@printed.proof(generic_in="depth, order q")
def layers_of_equal_size(formula):
    """Add up what equal layers do to the map of one mode."""
    return generalisation.is_learning_speed(formula)


@lru_cache(maxsize=128)
def balanced(depth: int, widths: str | tuple[int, ...], fraction: float, seed: int) -> Setting:
    """A balanced aligned network, every mode of the map at the same fraction of its goal; goals from 0.5 to 2."""
    goals = np.geomspace(2.0, 0.5, min(sizes(depth, widths)))
    rows = (tuple((fraction * goals) ** (1 / depth)),) * depth
    return aligned(depth, widths, seed, modes=rows, goals=tuple(goals))


def map_modes(setting: Setting, matrix: torch.Tensor) -> np.ndarray:
    """The mode values (..., r) of maps or their velocities."""
    first, last = setting.frame.bases[0], setting.frame.bases[-1]
    return array((last.mT @ matrix @ first).diagonal(dim1=-2, dim2=-1)[..., : setting.frame.rank])


@lru_cache(maxsize=128)
def measured_speed(
    depth: int, q: float, widths: str | tuple[int, ...], seed: int
) -> tuple[Setting, np.ndarray, dict, Bound]:
    """The velocity of the map of a full network over the gap, in the modes."""
    setting = balanced(depth, widths, 0.3, seed)
    net = setting.net
    moved = map_modes(setting, curvature.forward(net, Fractional(q).velocity(net, setting.problem)))
    value, gap = map_modes(setting, net.product()), -map_modes(setting, setting.problem.error(net))
    # the map adds the layers, each with its rounding, times couplings below one, and the gap is divided away
    bound = Bound(tuple((name, depth * part / gap.min()) for name, part in velocity_rounding(setting, -1 / q).parts))
    return setting, moved / gap, {VALUE: value, DEPTH: depth, Q: q, ETA: 1.0}, bound


@speed.check(grid(depth=[1, 2, 5], q=[1, 1.5, inf], widths=["wide"], seed=[0]))
@printed.check(grid(depth=[2, 3], q=[1.5, inf], widths=["wide"], seed=[0]))
def velocity_of_the_map(formula, depth, q, widths, seed):
    """The velocity of the end-to-end map of full networks, projected on its modes."""
    setting, observed, values, bound = measured_speed(depth, q, widths, seed)
    return agree(observed, evaluate(formula, values), bound=bound).on(setting)


times = Claim(
    "generalisation.time-scale-separation",
    source="A section 4",
    says="A mode with half the strength takes two to the power p times as long: signal and noise are apart in "
    "time under gradient descent, less so under the square root, and not at all under natural gradient "
    "descent.",
    formula=generalisation.time_ratio,
    lhs="t_b / t_a",
    given=(ALIGNED, BALANCED),
    uses=("generalisation.learning-speed",),
    near_misses={"half the power": lambda: (GOAL_A / GOAL_B) ** (generalisation.exponent() / 2)},
    falsifiers={
        "at the same time": lambda: (GOAL_A / GOAL_B) ** (0 * Q),
        "as under gradient descent with two layers": lambda: GOAL_A / GOAL_B,
    },
    remark=(
        "The law is exact for modes that start at the same fraction of their goals: their courses are one "
        "curve in stretched time. From a common small size it holds up to a logarithm for $`p = 1`$, and in "
        "the limit of small weights for $`p < 1`$."
    ),
)


@times.proof(generic_in="depth, order q, fraction")
def one_course_in_stretched_time(formula):
    """The equation of the fraction learned contains the goal as a rate."""
    return generalisation.is_time_ratio(formula)


@lru_cache(maxsize=64)
def course(depth: int, q: float, widths: str | tuple[int, ...], seed: int) -> tuple[Setting, Trajectory]:
    """The flow of a balanced aligned network that starts at a twentieth of every goal."""
    setting = balanced(depth, widths, 0.05, seed)
    return setting, flow(setting.net, setting.problem, Fractional(q), np.linspace(0, 12, 25).tolist(), tolerance=1e-8)


NODES = 12


@lru_cache(maxsize=64)
def arrival(
    depth: int, q: float, widths: str | tuple[int, ...], seed: int, fraction: float
) -> tuple[Setting, np.ndarray, float]:
    """The times at which every mode of the map reaches a fraction of its goal, and their error.

    Between the two reported times that enclose the moment the flow is known at Chebyshev points, exactly enough for
    a polynomial.
    """
    setting, trajectory = course(depth, q, widths, seed)
    goals, apart = array(setting.goals), float(trajectory.times[1])
    shares = map_modes(setting, trajectory.products()) / goals
    if not (shares[0].max() < fraction < shares[-1].min()):
        raise ValueError(f"fraction: {fraction} given, allowed: above 0.05, and reached by every mode within t = 12")
    places = apart * (1 - np.cos(np.pi * np.arange(NODES) / (NODES - 1))) / 2
    before = np.argmax(shares >= fraction, axis=0) - 1
    pieces = {
        k: flow(trajectory.net(k), setting.problem, Fractional(q), places.tolist(), tolerance=1e-9)
        for k in set(before.tolist())
    }
    found, error = [], 0.0
    for mode, k in enumerate(before.tolist()):
        short = pieces[k]
        values = map_modes(setting, short.products())[:, mode] / goals[mode]
        share = chebyshev.Chebyshev.fit(places, values, NODES - 1, domain=(0, apart))
        moment = float(brentq(lambda t, share=share: share(t) - fraction, 0, apart, xtol=1e-14))
        wiggle = float(np.abs(share.coef[-3:]).max())
        error = max(
            error, (depth * (trajectory.error + short.error) / goals.min() + wiggle) / float(share.deriv()(moment))
        )
        found.append(float(trajectory.times[k]) + moment)
    return setting, np.array(found), error


@times.check(
    grid(depth=[2], q=[inf, 2, 1], widths=[(2, 3, 2)], fraction=[0.5], seed=[0])
    + grid(depth=[3], q=[inf], widths=[(3, 2, 2, 3)], fraction=[0.8], seed=[0])
)
def arrival_of_modes(formula, depth, q, widths, fraction, seed):
    """When the modes of the map of a full network reach one fraction of their goals, relative to the strongest mode."""
    setting, found, error = arrival(depth, q, widths, seed, fraction)
    goals = array(setting.goals)
    predicted = evaluate(formula, {GOAL_A: goals[0], GOAL_B: goals[1:], DEPTH: depth, Q: q})
    bound = integration(error * (1 + found.max() / found[0]) / found[0]) + rounding(float(found.max() / found[0]), 200)
    return agree(found[1:] / found[0], np.broadcast_to(predicted, found[1:].shape), bound=bound).on(setting)


@times.figure
def arrivals_by_strength(formula):
    """Time of half learning against the strength of the mode, for three rules."""
    series, residual = [], []
    labels = ("gradient descent", "square root of natural gradient", "natural gradient")
    for case, label in zip(times.checks[0].cases, labels, strict=False):
        q = case["q"]
        setting, found, _ = arrival(**{**case, "seed": seed_of(times.id, case)})
        goals = array(setting.goals)
        theory = found[0] * evaluate(formula, {GOAL_A: goals[0], GOAL_B: goals, DEPTH: 2, Q: q})
        series += [Series(f"{label}: theory", goals, theory), Series(label, goals, found, "simulation")]
        residual.append(np.abs(found / theory - 1))
    panel = Panel(
        "two layers, modes from a twentieth of their goals",
        r"strength $\sigma^*$",
        r"time of half learning, $1/\eta$",
        tuple(series),
        residual=Series("relative difference", goals, np.max(residual, axis=0), "simulation"),
        log_x=True,
        log_y=True,
    )
    return Figure(
        "Weak modes, where the noise is, wait under gradient descent and do not under natural gradient descent.",
        (panel,),
    )


clipped = Claim(
    "generalisation.clipped-natural-gradient",
    source="A section 4, figure 3",
    says="Clipping is why the training loss of natural gradient descent is no pure exponential: while the "
    "speed is at its limit the loss decays more slowly by that factor.",
    formula=generalisation.clipped_decay,
    lhs=r"\dot{L} / L",
    given=(FULL_ROW_RANK,),
    uses=("natural-gradient.dual-form",),
    near_misses={"decay of the gap instead of the loss": lambda: generalisation.clipped_decay() / 2},
    falsifiers={
        "not slowed by clipping": lambda: -2 * ETA * LIMIT / LIMIT + 0 * SPEED,
        "slowed by the square": lambda: -2 * ETA * (generalisation.clipped_decay() / (2 * ETA)) ** 2,
    },
    remark=(
        "Without clipping the loss is $`e^{-2 \\eta t}`$ to rounding. Clipping changes the time along the path "
        "alone, so the path and all conserved quantities stay."
    ),
)


@clipped.proof(generic_in="depth, widths, input covariance, limit")
def loss_of_a_slowed_straight_line(formula):
    """Differentiate the loss along a gap that shrinks towards zero at a given rate."""
    return generalisation.is_clipped_decay(formula)


@lru_cache(maxsize=64)
def clipped_step(
    depth: int, widths: str | tuple[int, ...], limit: float, seed: int
) -> tuple[Setting, float, float, float]:
    """The rate of the log loss under the clipped natural gradient, by automatic differentiation; speed; condition."""
    setting = near_solution(depth, widths, seed, correlated=True)
    net, problem = setting.net, setting.problem
    full = NaturalGradient().velocity(net, problem)
    pace = float(norm(full))
    taken = scaled(full, min(1.0, limit / pace))
    rate = float(inner(autograd.gradient(net, problem), taken) / problem.loss(DeepLinear(net.weights)))
    values = torch.linalg.eigvalsh(curvature.kernel(net, problem.root))
    return setting, rate, pace, float(values[-1] / values[0])


@clipped.check(grid(depth=[1, 2, 3], widths=["square", "wide", "widening"], limit=[0.05, 100.0], seed=[0]))
def loss_under_clipping(formula, depth, widths, limit, seed):
    """The loss of full networks on correlated inputs along the clipped natural gradient."""
    if not limit > 0:
        raise ValueError(f"limit: {limit} given, allowed: limit > 0")
    setting, rate, pace, condition = clipped_step(depth, widths, limit, seed)
    predicted = evaluate(formula, {LIMIT: limit, SPEED: pace, ETA: 1.0})
    bound = rounding(abs(rate), setting.net.parameters, condition)
    return agree(rate, predicted, bound=bound).on(setting)

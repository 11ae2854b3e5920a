"""How alignment comes about: not by small weights themselves, but by training that conserves their small imbalance."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from sympy import Integer, Rational, S
from torch import Tensor

from derivations.compiled import evaluate
from derivations.deep_linear import emergence
from derivations.deep_linear.emergence import SCALE
from numerics import initialisations as init
from numerics.device import generator
from numerics.flows import Trajectory, flow
from numerics.networks import DeepLinear
from numerics.problems import Problem
from tests.checker.bounds import integration, rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, slope
from tests.checker.evidence import Evidence, Outcome
from tests.checker.figure import Figure, Panel, Series
from tests.claims.alignment import RULES
from tests.claims.settings import SHAPES, array, generic, sizes

SCALES = (0.001, 0.003, 0.03, 0.3, 10.0)
CONVERGED = 1e-18


def misalignment(first: Tensor, second: Tensor) -> Tensor:
    """|[F, S]| / (|F| |S|) for symmetric matrices (*S, n, n): zero exactly when they share their eigenvectors."""
    size = torch.linalg.matrix_norm
    return size(first @ second - second @ first) / (size(first) * size(second))


def neighbours(net: DeepLinear, problem: Problem) -> Tensor:
    """Misalignment of the first layer and the teacher, of neighbouring layers, of the last layer and the teacher."""
    w, teacher = net.weights, problem.teacher
    pairs = [(w[0].mT @ w[0], teacher.mT @ teacher), (w[-1] @ w[-1].mT, teacher @ teacher.mT)]
    pairs += [(below @ below.mT, above.mT @ above) for below, above in zip(w, w[1:], strict=False)]
    return torch.stack([misalignment(a, b) for a, b in pairs])


invariant = Claim(
    "alignment.scale-invariant",
    source="A section 3.1",
    says="The angles between the singular vectors of random weights do not depend on the scale of the weights.",
    formula=lambda: S.One,
    lhs=r"\mu(\alpha w) / \mu(w)",
    near_misses={
        "proportional to the scale": lambda: SCALE,
        "proportional to its square": lambda: SCALE**2,
    },
    falsifiers={"slightly smaller for small weights": lambda: 1 - SCALE / 1000},
    remark=(
        r"$`\mu`$ is the commutator of the Gram matrices of two neighbours over the product of their norms; it "
        "vanishes exactly when they share singular vectors. A small scale by itself aligns nothing: at the start it "
        "is a matter of chance."
    ),
)

printed = Claim(
    "alignment.automatic-as-printed",
    source="A section 3.1",
    says="Random weights have the singular vectors of the teacher map as soon as they are small.",
    formula=lambda: S.Zero,
    control=lambda: S.One,
    corrected_by=("alignment.scale-invariant", "alignment.emerges-in-training"),
    lhs=r"\mu(\alpha w) / \mu(w)",
    near_misses={
        "proportional to the scale": lambda: SCALE,
        "proportional to its square": lambda: SCALE**2,
    },
    remark=(
        "Read as a property of the initial weights the sentence is wrong at every scale. It becomes true during "
        "training: see the claim that corrects it."
    ),
)


@printed.proof(generic_in="widths, scale, weights")
def commutator_as_printed(formula):
    """Compares the commutators of the Gram matrices of scaled and unscaled weights."""
    return emergence.scaled_commutator(formula)


@invariant.proof(generic_in="widths, scale, weights")
def commutator_of_scaled_weights(formula):
    """Scaling multiplies commutator and Gram matrix alike."""
    return emergence.scaled_commutator(formula)


def _relative(formula, depth, widths, scale, seed) -> Evidence:
    unit, small = generic(depth, widths, seed), generic(depth, widths, seed, scale=scale)
    before, after = (array(neighbours(one.net, one.problem)) for one in (unit, small))
    predicted = evaluate(formula, {SCALE: scale}) * np.ones_like(before)
    operations = 8 * sum(unit.net.widths)
    return agree(after / before, predicted, bound=rounding(1.0, operations, 1 / before.min())).on(small)


@printed.check(grid(depth=[2, 3], widths=["square", "waist"], scale=[0.001, 0.1], seed=[0]))
def small_random_networks(formula, depth, widths, scale, seed):
    """Misalignment of small random networks relative to that of the same networks at scale one."""
    return _relative(formula, depth, widths, scale, seed)


@invariant.check(grid(depth=[2, 3, 5], widths=SHAPES, scale=SCALES, seed=[0]))
def random_networks(formula, depth, widths, scale, seed):
    """Misalignment of all neighbours in random networks of many scales."""
    return _relative(formula, depth, widths, scale, seed)


emerges = Claim(
    "alignment.emerges-in-training",
    source="A section 3.1",
    says="Training that conserves the balance and reaches the teacher map aligns small random weights with it, up to "
    "an angle of the order of their squared scale.",
    formula=lambda: Integer(2),
    lhs=r"\text{exponent of } \alpha \text{ in the final misalignment}",
    uses=("alignment.defect-recursion", "alignment.balanced-root", "conservation.weight-balance"),
    near_misses={"of the order of the scale": lambda: Integer(1), "of its third power": lambda: Integer(3)},
    falsifiers={"of its 3/2 power": lambda: Rational(3, 2), "scale does not matter": lambda: Integer(0)},
    remark=(
        "Final misalignment is linear in the balance matrices; those are quadratic in the weights and keep their "
        "initial values. So what the paper calls automatic is the work of the conservation law, and the initial "
        "scale is its price: small weights align well and learn late."
    ),
)


@emerges.proof(generic_in="depth, widths, conserving rule")
def linear_in_a_quadratic_invariant(formula):
    """Final misalignment is linear in the balance matrices, which are quadratic in the weights."""
    return emergence.residual_order(formula)


@lru_cache(maxsize=64)
def trained(
    depth: int, widths: str | tuple[int, ...], rule: str, seed: int, scales: tuple[float, ...], points: int = 2
) -> tuple[Trajectory, Problem]:
    """One random network at several scales, trained together; returns the flow and the task."""
    if depth < 2:
        raise ValueError(f"depth: {depth} given, allowed: an integer >= 2")
    if not min(scales) > 0:
        raise ValueError(f"smallest: {scales[0]:g} given, allowed: a number > 0")
    n, draw = sizes(depth, widths), generator(seed)
    unit, rank = init.gaussian(n, draw), min(n[0], n[-1])
    left, right = init.haar(n[-1], draw)[:, :rank], init.haar(n[0], draw)[:, :rank]
    teacher = left * torch.arange(rank, 0, -1, dtype=torch.float64) @ right.mT
    size = torch.tensor(scales, dtype=torch.float64)[:, None, None]
    net = DeepLinear(tuple(size * w for w in unit.weights))
    # the square root leaves the origin at once, gradient descent waits there for a time of alpha^{2-d}
    end = 20.0 if rule == "square-root" else 40.0 * max(1.0, 0.1 * min(scales) ** (2 - depth))
    problem = Problem(teacher.expand(len(scales), *teacher.shape))
    return flow(net, problem, RULES[rule], np.linspace(0, end, points).tolist(), tolerance=1e-9), problem


def _left_over(run: Trajectory, problem: Problem) -> tuple[np.ndarray, float]:
    """Misalignment of the first layer and the teacher at the end, and the largest loss there."""
    net, gram = run.net(-1), problem.teacher.mT @ problem.teacher
    return array(misalignment(net.weights[0].mT @ net.weights[0], gram)), float(problem.loss(net).max())


def _fitted(formula, depth, widths, rule, seed, smallest) -> Evidence:
    scales = tuple(smallest * 2.0**k for k in range(4))
    run, problem = trained(depth, widths, rule, seed, scales)
    left, loss = _left_over(run, problem)
    if loss > CONVERGED:
        return Evidence(Outcome.UNDECIDED, 0.0, 0.0, (), f"loss {loss:.1e}: the solution is not reached")
    local = np.diff(np.log(left)) / np.diff(np.log(scales))
    drift = 2 * abs(local[-1] - local[0]) + (run.error + loss**0.5) / left.min()
    return slope(scales, left, predicted=float(formula), systematic=drift)


@emerges.check(
    grid(depth=[2], widths=["wide", "widening"], rule=["gradient"], seed=[0], smallest=[0.001])
    + grid(depth=[2, 3], widths=["wide"], rule=["square-root"], seed=[0], smallest=[0.01])
)
def slope_in_the_scale(formula, depth, widths, rule, seed, smallest):
    """Final misalignment of one random network trained from four scales, fitted on logarithmic axes."""
    return _fitted(formula, depth, widths, rule, seed, smallest)


@emerges.check(grid(depth=[3], widths=["wide"], rule=["gradient"], seed=[0], smallest=[0.002]), slow=True)
def slope_with_three_layers(formula, depth, widths, rule, seed, smallest):
    """The same for gradient descent with three layers, which lingers near zero for a time of 1 / scale."""
    return _fitted(formula, depth, widths, rule, seed, smallest)


@emerges.check(grid(depth=[2], widths=["narrowing", "wide"], rule=["gradient"], seed=[0], smallest=[0.01]))
def imbalance_at_the_end(formula, depth, widths, rule, seed, smallest):
    """Balance matrices of the trained networks against those of the weights of scale one before training."""
    scales = tuple(smallest * 2.0**k for k in range(4))
    run, _ = trained(depth, widths, rule, seed, scales)
    unit = run.net(0).at(0)
    start = unit.replace([w / scales[0] for w in unit.weights])
    kept = [array(run.net(-1).balance(i)) for i in range(1, depth)]
    factor = np.asarray(scales)[:, None, None] ** float(formula)
    predicted = [factor * array(start.balance(i)) for i in range(1, depth)]
    size = max(float(w.abs().max()) for w in run.weights)
    bound = integration(4 * max(unit.widths) * size * run.error)
    flat = [np.concatenate([one.ravel() for one in many]) for many in (kept, predicted)]
    return agree(*flat, bound=bound)


def _from_imbalance(run: Trajectory, problem: Problem) -> np.ndarray:
    """What two layers leave, |[G, w_1^T C w_1]| / (|G| |G*|): the balance before, the first layer after training."""
    first, gram = run.net(-1).weights[0], problem.teacher.mT @ problem.teacher
    own, fed = first.mT @ first, first.mT @ run.net(0).balance(1) @ first
    size = torch.linalg.matrix_norm
    return array(size(own @ fed - fed @ own) / (size(own) * size(gram)))


@emerges.figure
def misalignment_in_training(formula):
    """Misalignment over time at several scales, and what is left of it at the end."""
    shown, scales = (0.3, 0.03, 0.003), tuple(0.001 * 2.0**k for k in range(5))
    run, problem = trained(2, "wide", "gradient", 0, shown, 81)
    gram = problem.teacher.mT @ problem.teacher
    course = array(misalignment(run.weights[0].mT @ run.weights[0], gram))
    times = array(run.times)
    keep = times <= 16
    curves = [Series(f"scale {a:g}", times[keep], course[keep, k], "simulation") for k, a in enumerate(shown)]
    due = _from_imbalance(run, problem)
    labels = ("due to the initial imbalance", "", "")
    ends = [Series(name, [0, 16], [level] * 2, "reference") for name, level in zip(labels, due, strict=True)]
    left, _ = _left_over(*trained(2, "wide", "gradient", 0, scales))
    line = left[0] * (np.array(scales) / scales[0]) ** float(formula)
    panels = (
        Panel("During training", "time in units of 1/eta", "misalignment", (*curves, *ends), log_y=True),
        Panel(
            "After training", "initial scale", "misalignment",
            (Series(f"slope {formula}", scales, line), Series("trained networks", scales, left, "simulation")),
            residual=Series("relative difference", scales, left / line - 1, "simulation"), log_x=True, log_y=True,
        ),
    )  # fmt: skip
    return Figure("Alignment of the first layer with the teacher, gradient descent on a network 4 - 5 - 3.", panels)

"""The map at which training rests: the same for every rule, not because of a shared path, and not off the data."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from derivations import words
from derivations.deep_linear import generalisation
from derivations.deep_linear.generalisation import SPAN, TEACHER
from derivations.notation import DELTA, N_0, N_D, SIGMA_X
from numerics import curvature
from numerics.device import generator
from numerics.flows import Trajectory, flow
from numerics.frames import normal
from numerics.problems import Problem, from_data
from numerics.rules import BlockFractional, BlockNatural, Fractional, GradientDescent, NaturalGradient, Rule
from tests.checker.bounds import integration, remainder
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import agree, equal, vanishes
from tests.claims.assumptions import DEFINITE, WIDE_AS_MAX
from tests.claims.settings import Setting, array, near_solution, sizes

RULES: dict[str, Rule] = {
    "gradient": GradientDescent(),
    "natural": NaturalGradient(),
    "square-root": Fractional(2),
    "block-natural": BlockNatural(),
    "block-square-root": BlockFractional(2),
}
LATE = 45.0


def slowest(setting: Setting, rule: Rule, seen: torch.Tensor) -> float:
    """The smallest rate at which gaps within the seen input directions decay, from the velocities of all of them."""
    net, columns = setting.net, []
    n_d, rank = net.widths[-1], seen.shape[1]
    for k in range(n_d * rank):
        gap = torch.zeros((n_d, rank), dtype=torch.float64)
        gap[k % n_d, k // n_d] = 1.0
        problem = Problem(net.product() - gap @ seen.mT, setting.problem.covariance)
        moved = curvature.forward(net, rule.velocity(net, problem)) @ seen
        columns.append(-moved.mT.flatten())
    return float(torch.linalg.eigvals(torch.stack(columns, dim=1)).real.min())


@lru_cache(maxsize=64)
def rest(
    depth: int, widths: str | tuple[int, ...], samples: int, rule: str, seed: int
) -> tuple[Setting, Trajectory, float, np.ndarray]:
    """A flow to a late time, what is left of the gap then, and the projection on the span of the inputs.

    samples = 0 stands for a definite covariance, else that many random inputs with noisy labels pose the problem.
    """
    setting = near_solution(depth, widths, seed, correlated=True)
    n_0, n_d = setting.net.widths[0], setting.net.widths[-1]
    seen = torch.eye(n_0, dtype=torch.float64)
    if samples:
        draw = generator(seed + 5)
        x = normal((n_0, samples), draw)
        y = setting.problem.teacher @ x + 0.1 * normal((n_d, samples), draw)
        problem = from_data(x, y)
        # the labels decide the map on the span of the inputs alone: the rest of the least-norm map is arbitrary
        setting = Setting(setting.net, problem)
        seen = torch.linalg.svd(x, full_matrices=False).U[:, : min(samples, n_0)]
    end = flow(setting.net, setting.problem, RULES[rule], (0.0, LATE), tolerance=1e-9)
    pace = min(slowest(one, RULES[rule], seen) for one in (setting, setting.moved(end.net(1))))
    left = 10 * float(setting.problem.error(setting.net).norm()) * float(np.exp(-max(pace, 0.0) * LATE))
    return setting, end, left, array(seen @ seen.mT)


same = Claim(
    "generalisation.same-solution",
    source="A section 4, figure 3",
    says="Every rule that comes to rest away from rank-deficient weights rests at the same map, the one that "
    "explains the data best.",
    formula=generalisation.solution,
    lhs="W",
    given=(WIDE_AS_MAX,),
    conditions=(DEFINITE,),
    near_misses={"weighted by the inputs": lambda: TEACHER * SIGMA_X},
    falsifiers={
        "nothing learned": lambda: words.zeros(N_D, N_0),
        "half way": lambda: words.expression(TEACHER) / 2,
    },
    remark=(
        "The loss is convex in the map, and with definite inputs it has one minimum. Hidden layers as wide as "
        "both ends let any map be reached; where training ends at rank-deficient weights, at a saddle, the "
        "statement does not apply."
    ),
)


@same.proof(generic_in="depth, layer, widths, rule, input covariance")
def gradient_vanishes_only_there(formula):
    """Invert what surrounds the gap in the gradient of one layer."""
    return generalisation.is_solution(formula)


def _map_error(end: Trajectory) -> float:
    """The error of the weights at the end, carried to the map by what surrounds every layer."""
    net = end.net(1)
    pairs = zip(net.lefts(), net.rights(), strict=True)
    size = max(float(torch.linalg.matrix_norm(a, 2) * torch.linalg.matrix_norm(b, 2)) for a, b in pairs)
    return net.depth * size * end.error


def _against(formula, case: tuple):
    setting, end, left, _ = rest(*case)
    values = {TEACHER: array(setting.problem.teacher), SIGMA_X: array(setting.problem.covariance)}
    bound = integration(_map_error(end)) + remainder(left)
    return agree(array(end.net(1).product()), words.evaluate(formula, values), bound=bound).on(setting)


@same.check(
    grid(depth=[2], widths=["square"], rule=list(RULES), seed=[0])
    + grid(depth=[3], widths=["wide"], rule=["gradient", "block-natural"], seed=[1])
)
def five_rules_at_rest(formula, depth, widths, rule, seed):
    """The maps of full networks on correlated inputs after a long time, under five rules."""
    return _against(formula, (depth, widths, 0, rule, seed))


@same.without(DEFINITE, grid(depth=[2], widths=["square"], samples=[2], rule=["gradient", "natural"], seed=[0]))
def fewer_samples_than_inputs(formula, depth, widths, samples, rule, seed):
    """Fewer samples than inputs: the covariance is singular, and the map keeps what the data do not see."""
    return _against(formula, (depth, widths, samples, rule, seed))


SINGULAR = Assumption(
    "singular covariance",
    "there are fewer samples than inputs, so that some directions are never seen",
    lambda setting: not DEFINITE.holds(setting),
)

seen_part = Claim(
    "generalisation.singular-inputs",
    source="A section 4, for fewer samples than inputs",
    says="With fewer samples than inputs every rule learns the same map on the span of the inputs, and only there.",
    formula=generalisation.seen_gap,
    relation="= 0 =",
    given=(SINGULAR, WIDE_AS_MAX),
    near_misses={"the part off the span": lambda: DELTA - DELTA * SPAN},
    falsifiers={"the whole gap": lambda: words.expression(DELTA)},
    equivalent=lambda formula, mutant: not mutant.terms or mutant.terms[0][1] == formula.terms[0][1],
    remark=(
        "Off the span the map is what the initial weights and the rule make of it: all rules explain the data, "
        "and each answers new inputs in its own way."
    ),
)


@seen_part.proof(generic_in="depth, widths, rank of the inputs")
def gap_meets_the_covariance(formula):
    """The gradient contains the gap times the covariance."""
    return generalisation.is_seen_gap(formula)


@seen_part.check(grid(depth=[2], widths=["square"], samples=[2], rule=["gradient", "natural", "square-root"], seed=[0]))
def gap_on_the_span(formula, depth, widths, samples, rule, seed):
    """The gap of full networks after a long time, from fewer noisy samples than inputs."""
    inputs = sizes(depth, widths)[0]
    if not 1 <= samples < inputs:
        raise ValueError(f"samples: {samples} given, allowed: from 1 to {inputs - 1}, fewer than the inputs")
    setting, end, left, span = rest(depth, widths, samples, rule, seed)
    gap = array(setting.problem.error(end.net(1)))
    found = words.evaluate(formula, {DELTA: gap, SPAN: span})
    bound = integration(_map_error(end)) + remainder(left)
    return vanishes(found, bound=bound, scale=float(np.linalg.norm(array(setting.problem.error(setting.net))))).on(
        setting
    )


def _facts(definite: str, singular: str) -> dict[str, str]:
    return {"other path, definite inputs": definite, "same balance of the layers, singular inputs": singular}


cause = Claim(
    "generalisation.same-solution-by-path-as-printed",
    source="A section 4",
    says="That all rules end at the same loss on new data is due to a learning path that they share.",
    formula=lambda: _facts("another map", "the same map"),
    control=lambda: _facts("the same map", "another map"),
    corrected_by=("generalisation.same-solution",),
    near_misses={"the path decides for singular inputs alone": lambda: _facts("the same map", "the same map")},
    falsifiers={"maps always differ": lambda: _facts("another map", "another map")},
    mutate=False,
    remark=(
        "If the path were the cause, rules on another path would end elsewhere, and rules on the same path "
        "together. Both are wrong: a curvature for each layer takes other weights to the same map, and with "
        "fewer samples than inputs gradient and natural gradient end at different maps. The cause is that a "
        "definite covariance leaves one map only."
    ),
)


@cause.check(grid(depth=[2], widths=["square"], seed=[0]))
def maps_and_weights_at_rest(formula, depth, widths, seed):
    """Natural against plain gradient: by layers with definite inputs, and as a whole with two samples."""
    found, told = [], []
    for samples, other in ((0, "block-natural"), (2, "natural")):
        setting, one, left, _ = rest(depth, widths, samples, "gradient", seed)
        _, two, right, _ = rest(depth, widths, samples, other, seed)
        maps = float((one.net(1).product() - two.net(1).product()).abs().max())
        weights = max(float((a - b).abs().max()) for a, b in zip(one.net(1).weights, two.net(1).weights, strict=True))
        if weights <= one.error + two.error:
            found.append("the same weights")
        else:
            near = maps <= left + right + _map_error(one) + _map_error(two)
            found.append("the same map" if near else "another map")
        told.append(f"{other}: weights differ by {weights:.2g}, maps by {maps:.1e}")
    return equal(found, list(formula.values())).noting("; ".join(told)).on(setting)

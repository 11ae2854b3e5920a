"""Half as many layers as neurons, as in the paper: what is left of the free theory for nearly linear networks."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from derivations.compiled import evaluate
from derivations.information import directions, free_products
from derivations.information.directions import GAIN, TOTAL
from derivations.information.edge_values import slopes
from derivations.information.free_products import G
from derivations.notation import LAYERS, WIDTH
from numerics.jacobians import largest_singular_value
from numerics.perceptrons import input_jacobian
from tests.checker.bounds import remainder, sampling
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import agree
from tests.claims.critical import Sample, critical_sample
from tests.claims.critical_assumptions import CRITICAL, ORTHOGONAL
from tests.claims.jacobian_spectrum import FALSE_ALARM, TRACY_WIDOM, critical, edge_at, predicted_edge, sampled

TRACY_WIDOM_DEVIATION = 1.607781034581**0.5  # of the same tabulated law


def _nearly_linear(sample: Sample) -> bool:
    return bool(sample.net.depth * slopes(sample.net.activation, sample.qstar).relative_variance < 0.5)


NEARLY_LINEAR = Assumption(
    "nearly linear",
    "all layers together give squared singular values a relative variance below 1/2",
    _nearly_linear,
)

edge = Claim(
    "jacobian.edge-many-layers",
    source="B fig. 2, beyond B",
    says="Nearly linear orthogonal networks reach the edge of the free product with half as many layers as neurons.",
    formula=free_products.edge_curve,
    lhs=r"s_{\max}^2 = \min_{u > 1}",
    relation="",
    given=(CRITICAL, ORTHOGONAL, NEARLY_LINEAR),
    uses=("jacobian.edge",),
    near_misses={
        "power L instead of L - 1": lambda: free_products.edge_curve() * free_products.M / (1 + free_products.M)
    },
    falsifiers={
        "half the depth": lambda: free_products.edge_curve().subs(LAYERS, LAYERS / 2),
        "Gaussian weights": lambda: free_products.edge_curve().subs(G, 1),
    },
    mutate=False,
    remark=(
        "The paper's networks have 200 layers of 400 neurons. At its two smaller lengths the edge is right for "
        "single networks, down to the Tracy-Widom law; at the two larger ones they are far from linear."
    ),
)


@edge.proof(generic_in="depth, sigma_w, activation")
def product_of_transforms(formula):
    """The curve of the free product."""
    return free_products.is_edge_curve(formula)


@lru_cache(maxsize=16)
def tops(qstar: float, depth: int, width: int, networks: int, seed: int) -> tuple[Sample, np.ndarray]:
    """Largest squared singular values of networks drawn one after the other, without forming Jacobians."""
    samples = [critical_sample(qstar, width, depth, outputs=1, samples=1, seed=seed + k) for k in range(networks)]
    return samples[0], np.array([float(largest_singular_value(one.found)[0]) ** 2 for one in samples])


def _single_networks(formula, qstar, depth, width, networks, seed):
    sample, found = tops(qstar, depth, width, networks, seed)
    asserted = predicted_edge(formula, "tanh", qstar, "orthogonal", depth).value
    at = edge_at("tanh", qstar, "orthogonal", depth)
    shift = at.scale * width ** (-2 / 3)
    noise = sampling(TRACY_WIDOM_DEVIATION * shift, networks, FALSE_ALARM)
    bound = noise + remainder(shift * width ** (-1 / 3) + (at.value - 1) / width**0.5)
    return agree(found.mean(), asserted + TRACY_WIDOM * shift, bound=bound).on(sample)


@edge.check(grid(qstar=[9e-4, 1 / 64], depth=[40], width=[80], networks=[4]))
def as_many_layers_for_their_width(formula, qstar, depth, width, networks, seed):
    """The same ratio of depth and width at a fifth of the size."""
    return _single_networks(formula, qstar, depth, width, networks, seed)


@edge.check(grid(qstar=[9e-4, 1 / 64], depth=[200], width=[400], networks=[1]), slow=True)
def size_of_the_paper(formula, qstar, depth, width, networks, seed):
    """200 layers of 400 neurons."""
    return _single_networks(formula, qstar, depth, width, networks, seed)


excess = Claim(
    "jacobian.variance-excess",
    source="beyond B",
    says="With as many layers as neurons nearly linear networks are not free: the direction of the input adds its own "
    "variance.",
    formula=directions.variance_excess,
    lhs=r"\mathrm{Var}(s^2) / \mathrm{Var}_{\text{free}}(s^2)",
    given=(CRITICAL, ORTHOGONAL, NEARLY_LINEAR),
    uses=("jacobian.input-direction", "jacobian.square-variance"),
    near_misses={"not squared": lambda: 1 + (1 - GAIN) / (WIDTH * TOTAL)},
    falsifiers={"free": lambda: 1 + 0 * GAIN / (WIDTH * TOTAL)},
    mutate=False,
    remark=(
        "$`\\gamma`$ is the gain along the input, $`v`$ the free variance. At small lengths the excess tends to "
        "$`1 + 2 L / N`$ for $`q^* L \\ll 1`$. Slopes of different layers are not independent there."
    ),
)


@excess.proof(generic_in="width, gain, variance of the others")
def one_value_outside(formula):
    """The variance of a set with one value outside; the mean's own share of order 1/N is left out."""
    return directions.is_variance_excess(formula)


@excess.check(grid(qstar=[9e-4, 4e-3], depth=[40], width=[64], seeds=[16]))
def nearly_linear_networks(formula, qstar, depth, width, seeds, seed):
    """Relative variances of networks, over the free prediction with the slopes that they have."""
    found = critical("tanh", qstar, "orthogonal", depth, width, seeds, seed)
    first, second = found.slope_moments(1), found.slope_moments(2)
    free = (second / first**2 - 1).sum(-1)
    x = found.sample.x / found.sample.x.norm(dim=-2, keepdim=True)
    gains = (input_jacobian(found.sample.found)[:, 0] @ x).square().sum((-2, -1)).numpy()
    ratio = found.variances / free
    predicted = evaluate(formula, {GAIN: gains.mean(), WIDTH: width, TOTAL: free.mean()})
    # three moments of a layer's slopes and the mean are known to 1/N each
    return agree(ratio.mean(), predicted, bound=sampled(ratio) + remainder(4 / width)).on(found.sample)

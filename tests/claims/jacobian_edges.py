"""Closed edges of deep Jacobians: Gaussian linear layers, and orthogonal layers with units that pass or block."""

from __future__ import annotations

import numpy as np
import torch
from sympy import Expr, Integer

from derivations.compiled import evaluate
from derivations.information import blocked_units, spectral_edges
from derivations.information.blocked_units import SHARE
from derivations.notation import LAYERS
from numerics.perceptrons import input_jacobian
from tests.checker.bounds import rounding
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import agree
from tests.checker.evidence import Evidence
from tests.claims.critical import Sample, critical_sample, point
from tests.claims.critical_assumptions import CRITICAL, ORTHOGONAL
from tests.claims.jacobian_spectrum import FREE, critical, edge_at, near_edge


def closed(formula: Expr, values: dict, activation: str, qstar: float, ensemble: str, depth: int) -> Evidence:
    """A closed edge against the least value of the curve, whose logarithm has about 3 L terms."""
    found = edge_at(activation, qstar, ensemble, depth).value
    return agree(found, evaluate(formula, values), bound=rounding(found, 40 + 6 * depth, 1 + np.log(depth + 1)))


def in_networks(formula: Expr, values: dict, activation, qstar, ensemble, depth, width, seeds, seed) -> Evidence:
    """A closed edge against random critical networks; the curve supplies the width of the Tracy-Widom law."""
    found = critical(activation, qstar, ensemble, depth, width, seeds, seed)
    return near_edge(found, float(evaluate(formula, values)), edge_at(activation, qstar, ensemble, depth)).on(
        found.sample
    )


gaussian = Claim(
    "jacobian.edge-gaussian-linear",
    source="beyond B",
    says="A linear network of Gaussian weights has squared singular values up to a Fuss-Catalan number.",
    formula=spectral_edges.gaussian_edge,
    lhs=r"s_{\max}^2",
    given=(FREE, CRITICAL),
    uses=("jacobian.edge",),
    near_misses={"one layer fewer": lambda: LAYERS**LAYERS / (LAYERS - 1) ** (LAYERS - 1)},
    falsifiers={"four for every depth": lambda: Integer(4) + 0 * LAYERS},
    remark="One layer has the familiar 4; many layers approach $`e (L + 1/2)`$, linear in the depth.",
)


@gaussian.proof(generic_in="depth")
def least_value_without_slopes(formula):
    """The curve of constant slopes and its stationary point."""
    return spectral_edges.is_gaussian_edge(formula)


@gaussian.check(grid(depth=[1, 2, 4, 16, 64]), network=False)
def curve_of_gaussian_weights(formula, depth):
    """The numerical search on the curve."""
    return closed(formula, {LAYERS: depth}, "linear", 1.0, "gaussian", depth)


@gaussian.check(grid(depth=[2, 4], width=[96], seeds=[96]))
def gaussian_networks(formula, depth, width, seeds, seed):
    """Largest squared singular values of random linear networks."""
    return in_networks(formula, {LAYERS: depth}, "linear", 1.0, "gaussian", depth, width, seeds, seed)


def _blocked(sample: Sample) -> torch.Tensor:
    """Units of slope 0 in all layers together, over the neurons of a layer, for every network and input."""
    return torch.stack([(slope == 0).double().mean(-2) for slope in sample.found.slopes]).sum(0)


BLOCKING = Assumption(
    "at least one layer's worth of blocked units",
    "the units that block, of all layers together, are at least as many as the neurons of a layer",
    lambda sample: _blocked(sample).mean() >= 1,
)
PASSING = Assumption(
    "directions that pass",
    "the units that block, of all layers together, are fewer than the neurons of a layer",
    lambda sample: _blocked(sample).max() < 1,
)

bernoulli = Claim(
    "jacobian.edge-rectified",
    source="beyond B",
    says="With orthogonal weights and units that pass or block, at least as many blocked ones in all layers as neurons "
    "in one, squared singular values reach a closed bound that grows with depth.",
    formula=blocked_units.bernoulli_edge,
    lhs=r"s_{\max}^2",
    given=(FREE, CRITICAL, ORTHOGONAL, BLOCKING),
    uses=("jacobian.edge",),
    near_misses={"odds the other way round": lambda: blocked_units.bernoulli_edge() * (SHARE / (1 - SHARE)) ** 2},
    falsifiers={"as Gaussian linear layers": lambda: (1 - SHARE) / SHARE * spectral_edges.gaussian_edge()},
    remark=(
        "Here $`p`$ is the share of passing units, one half for rectified units, and $`(1 - p) L \\geq 1`$; with "
        "fewer layers the edge is $`p^{-L}`$. For large depth it is $`e L (1 - p)/p`$: orthogonal weights do not make "
        "deep rectified networks isometric."
    ),
)


@bernoulli.proof(generic_in="depth, share of passing units")
def least_value_with_two_slopes(formula):
    """The curve of slopes 0 and 1 and its stationary point."""
    return blocked_units.is_bernoulli_edge(formula)


def passing(activation: str, qstar: float) -> float:
    """The share of units with slope 1."""
    return point(activation, qstar).mu[0]


@bernoulli.check(
    grid(activation=["relu"], qstar=[1.0], depth=[2, 3, 16])
    + grid(activation=["hard-tanh"], qstar=[0.5, 2.0], depth=[8, 64]),
    network=False,
)
def curve_of_two_slopes(formula, activation, qstar, depth):
    """The numerical search on the curve."""
    share = passing(activation, qstar)
    if (1 - share) * depth < 1:
        raise ValueError(f"depth: {depth} given, allowed: at least {1 / (1 - share):.3g}, one over the blocked share")
    values = {SHARE: share, LAYERS: depth}
    return closed(formula, values, activation, qstar, "orthogonal", depth)


@bernoulli.check(
    grid(activation=["relu"], qstar=[1.0], depth=[4], width=[64], seeds=[128])
    + grid(activation=["hard-tanh"], qstar=[0.5], depth=[8], width=[64], seeds=[96])
)
def networks_of_two_slopes(formula, activation, qstar, depth, width, seeds, seed):
    """Largest squared singular values of random orthogonal networks."""
    values = {SHARE: passing(activation, qstar), LAYERS: depth}
    return in_networks(formula, values, activation, qstar, "orthogonal", depth, width, seeds, seed)


few = Claim(
    "jacobian.edge-few-blocked",
    source="beyond B",
    says="With orthogonal weights, units that pass or block, and fewer blocked ones in all layers than neurons in one, "
    "some directions pass every layer, and their gain is the largest.",
    formula=blocked_units.few_blocked_edge,
    lhs=r"s_{\max}^2",
    given=(CRITICAL, ORTHOGONAL, PASSING),
    near_misses={"one layer fewer": lambda: SHARE ** (1 - LAYERS)},
    falsifiers={"the edge of many blocked units": blocked_units.bernoulli_edge},
    remark=(
        "Exact at every width. The share of such directions is at least $`1 - (1 - p) L`$: a part of the spectrum sits "
        "in one point, its very end, until the depth passes $`1/(1 - p)`$."
    ),
)


@few.proof(generic_in="depth, share of passing units")
def curve_that_falls(formula):
    """Below the depth of a stationary point the curve of slopes 0 and 1 falls to its limit."""
    return blocked_units.is_few_blocked_edge(formula)


@few.check(grid(activation=["hard-tanh"], qstar=[0.2, 0.3], depth=[1, 3, 6], width=[48], seeds=[6]))
def networks_that_let_pass(formula, activation, qstar, depth, width, seeds, seed):
    """Largest squared singular values of single networks, all the same."""
    sample = critical_sample(qstar, width, depth, outputs=1, samples=1, seed=seed, seeds=seeds, activation=activation)
    observed = torch.linalg.svdvals(input_jacobian(sample.found)[:, 0])[:, 0].square()
    predicted = float(evaluate(formula, {SHARE: passing(activation, qstar), LAYERS: depth}))
    scale = float(observed.max())
    return agree(observed, np.full(seeds, predicted), bound=rounding(scale, 4 * width * depth + 40)).on(sample)

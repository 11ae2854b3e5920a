"""How the end of the Jacobian's spectrum moves: up with every layer, and up with the length q* of the activations."""

from __future__ import annotations

import numpy as np
import torch
from sympy import Integer

from derivations.decide import Decision, all_of, equal
from derivations.information import spectral_edges
from derivations.information.edge_values import slopes
from numerics.perceptrons import Pass
from tests.checker.bounds import student
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import equal as same
from tests.checker.figure import Figure, Panel, Series
from tests.claims.critical import Sample
from tests.claims.critical_assumptions import CRITICAL
from tests.claims.jacobian_spectrum import FALSE_ALARM, FREE, critical, edge_at

LENGTHS = (1e-4, 9e-4, 1 / 64, 0.1, 0.5, 2.0, 8.0, 20.0)


def _stretches(sample: Sample) -> bool:
    """Whether some hidden layer has singular values of D W that differ."""
    slope = sample.found.slopes[0]
    weights = torch.linalg.svdvals(sample.net.weights[0])
    return bool(slope.max() - slope.min() > 1e-9) or bool((weights[..., 0] - weights[..., -1]).max() > 1e-9)


UNEVEN = Assumption(
    "not linear and orthogonal", "the singular values of a layer's Jacobian are not all equal", _stretches
)


def signs(differences: np.ndarray, false_alarm: float = FALSE_ALARM) -> list[int]:
    """The signs of mean differences (..., S) along the last axis: 0 unless sampling error is excluded."""
    rows = np.atleast_2d(differences)
    found = []
    for row in rows:
        noise = student(float(row.std()), row.size, false_alarm, len(rows)).total
        rounding = 1e-12 * float(np.abs(row).max() + 1)
        found.append(int(np.sign(row.mean())) if abs(row.mean()) > noise + rounding else 0)
    return found


def prefixes(found: Pass, depths: tuple[int, ...]) -> np.ndarray:
    """Largest squared singular values of d x^l / d x^0 for some l, in units of the mean square; (len(depths), S)."""
    so_far, tops = None, []
    for layer, (w, slope) in enumerate(zip(found.net.weights, found.slopes, strict=True), start=1):
        step = slope[..., :1] * w
        so_far = step if so_far is None else step @ so_far
        if layer in depths:
            squares = torch.linalg.svdvals(so_far).square()
            tops.append((squares[..., 0] / squares.mean(-1)).numpy())
    return np.array(tops)


deeper = Claim(
    "jacobian.edge-rises-with-depth",
    source="B sec. 3",
    says="The spectral edge of the Jacobian rises with every layer.",
    formula=lambda: Integer(1),
    lhs=r"\mathrm{sign}\left( s_{\max}^2(L + 1) - s_{\max}^2(L) \right)",
    given=(CRITICAL, FREE),
    conditions=(UNEVEN,),
    uses=("jacobian.edge",),
    near_misses={"does not move": lambda: Integer(0)},
    falsifiers={"falls": lambda: Integer(-1)},
    mutate=False,
    remark=(
        "At $`\\chi = 1`$. A layer of mean 1 multiplies the curve by a factor of at least 1 at every point, equal to 1 "
        "only if it does not stretch at all. Where $`\\chi < 1`$ the edge falls in the end, like $`L \\chi^L`$."
    ),
)


@deeper.proof(generic_in="depth, activation, both ensembles")
def a_layer_lifts_the_curve(formula: Integer) -> Decision:
    """Jensen's inequality for the moment function, with its exact gap."""
    return all_of(equal(formula, Integer(1)), spectral_edges.rises_with_depth())


@deeper.check(
    grid(activation=["tanh"], qstar=[1 / 64, 0.5], ensemble=["orthogonal"])
    + grid(activation=["tanh", "relu"], qstar=[0.5], ensemble=["gaussian"]),
    network=False,
)
def edges_by_depth(formula, activation, qstar, ensemble):
    """Edges at infinite width over depths from 2 to 200."""
    edges = [edge_at(activation, qstar, ensemble, depth).value for depth in (2, 3, 5, 12, 40, 100, 200)]
    return same([int(one) for one in np.sign(np.diff(edges))], [int(formula)] * 6)


def _lifted(formula, activation, qstar, ensemble, width, seeds, seed):
    found = critical(activation, qstar, ensemble, 8, width, seeds, seed)
    steps = np.diff(prefixes(found.sample.found, (2, 4, 8)), axis=0)
    return same(signs(steps), [int(formula)] * 2).on(found.sample)


@deeper.check(
    grid(activation=["tanh"], qstar=[1 / 64, 0.5], ensemble=["orthogonal"], width=[64], seeds=[24])
    + grid(activation=["linear"], qstar=[1.0], ensemble=["gaussian"], width=[64], seeds=[24])
)
def networks_by_depth(formula, activation, qstar, ensemble, width, seeds, seed):
    """The largest squared singular value after 2, 4 and 8 layers of the same networks, on average."""
    return _lifted(formula, activation, qstar, ensemble, width, seeds, seed)


@deeper.without(UNEVEN, grid(activation=["linear"], qstar=[1.0], ensemble=["orthogonal"], width=[64], seeds=[8]))
def isometries_by_depth(formula, activation, qstar, ensemble, width, seeds, seed):
    """Linear orthogonal networks."""
    return _lifted(formula, activation, qstar, ensemble, width, seeds, seed)


longer = Claim(
    "jacobian.edge-rises-with-length",
    source="B sec. 3",
    says="On the critical line the largest singular value rises strictly with the length of the activations, at every "
    "depth, although the mean square stays 1.",
    formula=lambda: Integer(1),
    lhs=r"\mathrm{sign}\left( \mathrm{d} s_{\max}^2 / \mathrm{d} q^* \right)",
    given=(CRITICAL, FREE),
    uses=("jacobian.edge",),
    near_misses={"does not move": lambda: Integer(0)},
    falsifiers={"falls": lambda: Integer(-1)},
    mutate=False,
    remark=(
        "For tanh and erf, and for every activation whose slope falls the faster, per relative change, the larger the "
        "pre-activation is. Rectified units are outside: their slopes do not depend on the length."
    ),
)


@longer.proof(instances="tanh and erf, every depth, both ensembles")
def spread_of_the_slopes(formula: Integer) -> Decision:
    """Slopes at a larger length are larger in convex order, and the curve is a mean of convex functions."""
    found = [spectral_edges.rises_with_length(activation) for activation in ("tanh", "erf")]
    return all_of(equal(formula, Integer(1)), *found)


@longer.check(
    grid(activation=["tanh", "erf"], ensemble=["orthogonal"], depth=[1, 2, 10, 200])
    + grid(activation=["tanh"], ensemble=["gaussian"], depth=[1, 10]),
    network=False,
)
def edges_by_length(formula, activation, ensemble, depth):
    """Edges at infinite width over five decades of lengths."""
    edges = [edge_at(activation, q, ensemble, depth).value for q in LENGTHS]
    return same([int(one) for one in np.sign(np.diff(edges))], [int(formula)] * (len(LENGTHS) - 1))


@longer.check(
    grid(activation=["tanh", "erf"], ensemble=["orthogonal"], depth=[6], width=[64], seeds=[48])
    + grid(activation=["tanh"], ensemble=["gaussian"], depth=[3], width=[64], seeds=[128])
)
def networks_by_length(formula, activation, ensemble, depth, width, seeds, seed):
    """Means over networks at three lengths that are far apart."""
    found = [critical(activation, q, ensemble, depth, width, seeds, seed + k) for k, q in enumerate((1 / 64, 0.5, 8.0))]
    gaps = np.array([after.tops - before.tops for before, after in zip(found, found[1:], strict=False)])
    return same(signs(gaps), [int(formula)] * 2).on(found[-1].sample)


@longer.figure
def edge_against_length(formula):
    """The edge, and the relative variance of one layer, against the length."""
    lengths = np.geomspace(1e-4, 20, 40)
    edges = tuple(
        Series(f"{depth} layers", lengths, [edge_at("tanh", float(q), "orthogonal", depth).value for q in lengths])
        for depth in (10, 50, 200)
    )
    dots = [critical("tanh", q, "orthogonal", 8, 64, 24, 5).tops.mean() for q in (1 / 64, 0.1, 0.5, 2.0, 8.0)]
    eight = Series("8 layers", lengths, [edge_at("tanh", float(q), "orthogonal", 8).value for q in lengths])
    networks = Series("networks of 64 neurons, 8 layers", (1 / 64, 0.1, 0.5, 2.0, 8.0), dots, "simulation")
    spread = Series("", lengths, [slopes("tanh", float(q)).relative_variance for q in lengths])
    quadratic = Series("$8 q^{*2}$", lengths[:22], 8 * lengths[:22] ** 2, "reference")
    panels = (
        Panel("edge", "$q^*$", r"$s_{\max}^2$", (*edges, eight, networks), log_x=True, log_y=True),
        Panel("one layer", "$q^*$", r"$\mu_2/\mu_1^2 - 1$", (spread, quadratic), log_x=True, log_y=True),
    )
    return Figure(
        "Orthogonal tanh networks on the critical line: the mean square stays 1 at every length, the largest does not.",
        panels,
    )

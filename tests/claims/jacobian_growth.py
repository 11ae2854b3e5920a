"""How the largest singular value grows with depth: its square linearly, for every ensemble but linear orthogonal."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from sympy import Integer, Rational, sqrt

from derivations.compiled import evaluate
from derivations.decide import all_of, equal, step
from derivations.information import free_products, spectral_edges
from derivations.information.edge_values import slopes
from derivations.information.free_products import ENSEMBLES, G
from derivations.notation import LAYERS, MU_1, MU_2
from tests.checker.bounds import remainder, rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree
from tests.checker.evidence import Bound
from tests.checker.figure import Figure, Panel, Series
from tests.claims.critical import point
from tests.claims.critical_assumptions import CRITICAL
from tests.claims.jacobian_order import prefixes
from tests.claims.jacobian_spectrum import TRACY_WIDOM, Spectra, critical, edge_at, sampled

growth = Claim(
    "jacobian.edge-growth",
    source="B sec. 2.2",
    says="At a fixed length the largest squared singular value grows in proportion to the depth: for Gaussian and for "
    "orthogonal weights alike, unless the network is linear and orthogonal.",
    formula=spectral_edges.growth,
    lhs=r"s_{\max}^2",
    relation=r"\simeq",
    given=(CRITICAL,),
    uses=("jacobian.edge",),
    near_misses={"without the factor e": lambda: free_products.relative_variance()},
    falsifiers={
        "orthogonal weights bounded": lambda: spectral_edges.growth() * G,
        "with the square of the depth": lambda: spectral_edges.growth() * LAYERS,
    },
    remark=(
        "The paper gives the linear law for Gaussian weights and calls orthogonal weights bounded. The slopes alone "
        "suffice for the same law: orthogonal weights only remove the 1 that each Gaussian layer adds."
    ),
)


@growth.proof(generic_in="activation, both ensembles")
def limit_of_the_curve(formula):
    """At m = x/L the curve over L has a limit, with its least value at x = 1/v."""
    return spectral_edges.is_growth(formula)


GROWTH = (
    grid(activation=["tanh"], qstar=[1 / 64, 0.5, 8.0], ensemble=["orthogonal", "gaussian"])
    + grid(activation=["erf"], qstar=[0.5], ensemble=["orthogonal"])
    + grid(activation=["linear"], qstar=[1.0], ensemble=["gaussian"])
    + grid(activation=["relu"], qstar=[1.0], ensemble=["orthogonal"])
)


@lru_cache(maxsize=32)
def slope_of_the_edge(activation: str, qstar: float, ensemble: str) -> tuple[int, float, Bound]:
    """What the edge gains per layer, extrapolated to infinite depth, and the largest depth that was used.

    The expansion runs in 1/L: two levels of extrapolation, and the last correction as the remainder.
    """
    start = 1 / max(slopes(activation, qstar).relative_variance, 1e-3)
    depths = [int(2.0**k * start) for k in range(6, 11)]
    values = [[edge_at(activation, qstar, ensemble, k * n).value for k in (1, 2)] for n in depths]
    gains = [(after - before) / n for (before, after), n in zip(values, depths, strict=True)]
    once = [2 * b - a for a, b in zip(gains, gains[1:], strict=False)]
    twice = [(4 * b - a) / 3 for a, b in zip(once, once[1:], strict=False)]
    rounds = rounding(twice[-1], 40, 6.0 * depths[-1])
    return depths[-1], twice[-1], remainder(abs(once[-1] - once[-2])) + rounds


@growth.check(GROWTH, network=False)
def slopes_of_the_edge(formula, activation, qstar, ensemble):
    """What the edge gains per layer at infinite depth."""
    at = point(activation, qstar)
    depth, gain, bound = slope_of_the_edge(activation, qstar, ensemble)
    deep = np.array([depth, 2.0 * depth])
    law = np.broadcast_to(evaluate(formula, {MU_1: at.mu[0], MU_2: at.mu[1], G: ENSEMBLES[ensemble], LAYERS: deep}), 2)
    return agree(gain, (law[1] - law[0]) / depth, bound=bound)


@growth.check(
    grid(activation=["tanh"], qstar=[0.5], ensemble=["orthogonal"], depth=[8], width=[64], seeds=[96])
    + grid(activation=["linear"], qstar=[1.0], ensemble=["gaussian"], depth=[6], width=[96], seeds=[128])
)
def gains_of_networks(formula, activation, qstar, ensemble, depth, width, seeds, seed):
    """What networks gain from half the depth to the depth, with their Tracy-Widom shifts."""
    at = point(activation, qstar)
    values = {MU_1: at.mu[0], MU_2: at.mu[1], G: ENSEMBLES[ensemble]}
    half = depth // 2
    found = [critical(activation, qstar, ensemble, n, width, seeds, seed + n) for n in (half, depth)]
    tops = [one.tops.mean() for one in found]
    edges = [edge_at(activation, qstar, ensemble, n) for n in (half, depth)]
    shift = [TRACY_WIDOM * one.scale * width ** (-2 / 3) for one in edges]
    predicted = float(evaluate(formula, {**values, LAYERS: depth}) - evaluate(formula, {**values, LAYERS: half}))
    early = abs(edges[1].value - edges[0].value - predicted_growth(values, depth) + predicted_growth(values, half))
    rest = max(abs(s) for s in shift) * width ** (-1 / 3) + edges[1].value / width + early
    bound = sampled(found[0].tops) + sampled(found[1].tops) + remainder(rest)
    observed = tops[1] - tops[0] - (shift[1] - shift[0])
    return agree(observed, predicted, bound=bound, scale=edges[1].value).on(found[1].sample)


def predicted_growth(values: dict, depth: int) -> float:
    """The leading law at a depth: its distance from the edge is the known remainder of a finite depth."""
    return float(evaluate(spectral_edges.growth(), {**values, LAYERS: depth}))


def measured_power(
    activation: str,
    lengths: list[float],
    ensemble: str,
    depth: int,
    width: int,
    seeds: int,
    seed: int,
    edges,
    limit: float,
) -> tuple[float, Bound, Spectra]:
    """The power of L between a sixth of the depth and the depth, its budget, and the deeper networks.

    Tracy-Widom shifts are taken out; how far the edges themselves are from their limit at this depth is a remainder.
    """
    depths = (depth // 6, depth)
    found = [critical(activation, q, ensemble, n, width, seeds, seed + n) for q, n in zip(lengths, depths, strict=True)]
    steps = np.log(depths[1] / depths[0])
    tops, errors = [], []
    for one, at in zip(found, edges, strict=True):
        shift = at.scale * width ** (-2 / 3)
        tops.append(one.tops.mean() - TRACY_WIDOM * shift)
        errors.append((sampled(one.tops).total + shift * width ** (-1 / 3) + at.value / width) / tops[-1])
    finite = abs(np.log(edges[1].value / edges[0].value) / steps - limit)
    return float(np.log(tops[1] / tops[0]) / steps), remainder(sum(errors) / steps + finite), found[1]


root = Claim(
    "jacobian.gaussian-linear-growth-as-printed",
    source="B sec. 2.2",
    says="With Gaussian weights the maximal singular value increases linearly in depth.",
    formula=lambda: Integer(1),
    control=lambda: Rational(1, 2),
    corrected_by=("jacobian.edge-growth",),
    lhs=r"\mathrm{d} \log s_{\max} / \mathrm{d} \log L",
    relation=r"\to",
    given=(CRITICAL,),
    near_misses={"like the cube root": lambda: Rational(1, 3)},
    falsifiers={"bounded": lambda: Integer(0)},
    mutate=False,
    remark=(
        "It is the squared singular value that grows linearly, as in the sentence before it in the paper; the singular "
        "value itself grows like the square root of the depth."
    ),
)


@root.proof(generic_in="activation")
def power_of_the_edge(formula):
    """The power of L in the root of the asymptotic edge."""
    square = spectral_edges.growth()
    power = LAYERS * sqrt(square).diff(LAYERS) / sqrt(square)
    return all_of(spectral_edges.is_growth(square), equal(power, formula)).explain(
        step("The squared singular values end at", square), step("so the singular value has the power", power)
    )


@root.check(grid(activation=["linear"], qstar=[1.0], depth=[12], width=[96], seeds=[64]))
def powers_in_networks(formula, activation, qstar, depth, width, seeds, seed):
    """The power of the largest singular value between a sixth of the depth and the depth, in random networks."""
    return _power(formula, activation, qstar, depth, width, seeds, seed)


@root.check(grid(activation=["linear", "tanh"], qstar=[0.5], depth=[12], width=[128], seeds=[128]), slow=True)
def powers_in_wider_networks(formula, activation, qstar, depth, width, seeds, seed):
    """The same in wider networks, and with slopes."""
    return _power(formula, activation, qstar, depth, width, seeds, seed)


def _power(formula, activation, qstar, depth, width, seeds, seed):
    edges = [edge_at(activation, qstar, "gaussian", n) for n in (depth // 6, depth)]
    observed, bound, found = measured_power(
        activation, [qstar, qstar], "gaussian", depth, width, seeds, seed, edges, 1.0
    )
    return agree(observed / 2, evaluate(formula, {}), bound=remainder(bound.total / 2), scale=1.0).on(found.sample)


LINES = (
    ("tanh", 8.0, "orthogonal", r"tanh, orthogonal, $q^* = 8$"),
    ("linear", 1.0, "gaussian", "linear, Gaussian"),
    ("relu", 1.0, "orthogonal", "rectified, orthogonal"),
    ("tanh", 0.5, "orthogonal", r"tanh, orthogonal, $q^* = 1/2$"),
    ("tanh", 1 / 64, "orthogonal", r"tanh, orthogonal, $q^* = 1/64$"),
    ("linear", 1.0, "orthogonal", "linear, orthogonal"),
)
DRAWN = (1, 2, 4, 7, 12)


def panel_against_depth(*references: Series, width: int = 80, seeds: int = 6) -> Panel:
    """Edges at infinite width as lines; means over networks after some of their layers, shifts taken out, as dots."""
    depths = np.unique(np.geomspace(1, 1000, 40).round().astype(int))
    theory, dots = [], []
    for activation, qstar, ensemble, label in LINES:
        edges = [edge_at(activation, qstar, ensemble, int(depth)).value for depth in depths]
        theory.append(Series(label, depths, edges))
        found = critical(activation, qstar, ensemble, DRAWN[-1], width, seeds, 1)
        shifts = [edge_at(activation, qstar, ensemble, n).scale * width ** (-2 / 3) for n in DRAWN]
        tops = prefixes(found.sample.found, DRAWN).mean(-1) - TRACY_WIDOM * np.array(shifts)
        dots.append(Series("", DRAWN, tops, "simulation"))
    lines = (*theory, *dots, *references)
    return Panel("critical networks", "depth", r"$s_{\max}^2$", lines, log_x=True, log_y=True)


@growth.figure
def against_depth(formula):
    """Largest squared singular values against depth, with the linear law."""
    at, depths = point("tanh", 0.5), np.geomspace(6, 1000, 20)
    law = evaluate(formula, {MU_1: at.mu[0], MU_2: at.mu[1], G: 0, LAYERS: depths})
    return Figure(
        "Lines are edges at infinite width; dots are networks of 80 neurons, the Tracy-Widom shift taken out. Only "
        "linear orthogonal networks stay at 1: at a fixed length orthogonal tanh networks grow like all others.",
        (panel_against_depth(Series(r"linear law for $q^* = 1/2$", depths, law, "reference")),),
    )

"""How far apart two inputs stay in a wide critical network: in which sense it is an isometry, and in which not."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from sympy import Expr, Integer, Rational, pi, sqrt

from derivations.compiled import evaluate
from derivations.information import distances
from derivations.information.distances import DELTA, SPREAD
from derivations.notation import QSTAR
from tests.checker.bounds import remainder, rounding, sampling, student
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import agree, at_most
from tests.checker.evidence import Bound
from tests.checker.figure import Figure, Panel, Series
from tests.claims.critical import Sample, critical_sample, point
from tests.claims.critical_assumptions import CRITICAL, ODD, ORTHOGONAL
from tests.claims.objectives import whole
from tests.claims.quadrature import NODES, SLOPES, WEIGHTS, mean_of
from tests.claims.settings import array

FALSE_ALARM = 1e-6
CUBIC = {"tanh": 1 / 3, "erf": np.pi / 12}
STEEP = pi * QSTAR / 2


def _length(qstar: float) -> float:
    if not 0 < qstar <= 50:
        raise ValueError(f"qstar: {qstar} given, allowed: numbers with 0 < qstar <= 50")
    return qstar


@lru_cache(maxsize=128)
def one_layer(activation: str, qstar: float, delta: float) -> float:
    """delta after one layer at infinite width: mean squared difference of two activations by a two-dimensional sum."""
    if not 0 < delta <= 2:
        raise ValueError(f"delta: {delta} given, allowed: numbers with 0 < delta <= 2")
    phi, slope = SLOPES[activation]
    c, root = 1 - delta, np.sqrt(_length(qstar))
    other = c * NODES[:, None] + np.sqrt(1 - c**2) * NODES[None, :]
    apart = (phi(root * NODES)[:, None] - phi(root * other)) ** 2
    return float(WEIGHTS @ apart @ WEIGHTS / (2 * qstar * mean_of(lambda h: slope(h) ** 2, qstar)))


def course(formula: Expr, steps: int, start: float, values: dict) -> np.ndarray:
    """delta in ``steps`` further layers, from the map of one layer."""
    found = [start]
    for _ in range(steps):
        found.append(float(evaluate(formula, {**values, DELTA: found[-1]})))
    return np.array(found[1:])


@lru_cache(maxsize=32)
def measured(activation: str, qstar: float, width: int, depth: int, seeds: int, seed: int) -> tuple:
    """A small sample for the assumptions, delta in the first layer, and delta of every network in the others."""
    width, seeds = whole("width", width, 2), whole("seeds", seeds, 2)
    how = {"activation": activation, "samples": 2, "outputs": 1}
    sample = critical_sample(_length(qstar), width, depth, seed=seed % 2**31, seeds=seeds, **how)
    apart = [(h[..., 0] - h[..., 1]).square().mean(-1) / (2 * qstar) for h in sample.found.h]
    kept = Sample(sample.net.at(0), sample.x, qstar, "orthogonal")
    return kept, float(apart[0].mean()), np.stack([array(one) for one in apart[1:]], -1)


def _widths(formula, activation: str, qstar: float, depth: int, width: int, seeds: int, seed: int, values: dict):
    """Means of delta over networks, extrapolated from two widths to the first order in 1 / width, and predictions."""
    observed, predicted, deviation = 0.0, 0.0, 0.0
    for factor, n, count in ((-1, width, 2 * seeds), (2, 2 * width, seeds)):
        subject, start, found = measured(activation, qstar, n, depth, count, seed)
        observed = observed + factor * found.mean(0)
        predicted = predicted + factor * course(formula, depth - 1, start, values)
        deviation = deviation + factor**2 * found.var(0).max() * seeds / count
    bound = sampling(deviation**0.5, seeds, FALSE_ALARM, depth - 1)
    return subject, observed, predicted, bound


exact = Claim(
    "isometry.distances-erf",
    source="B eqs. 3-5",
    says="A wide critical network with error functions for activations takes the squared distance of two inputs "
    "through a fixed map, layer after layer: they approach each other at every length.",
    formula=distances.erf_map,
    lhs=r"\delta'",
    given=(ORTHOGONAL, CRITICAL, ODD),
    near_misses={
        "without the weight variance": lambda: distances.erf_map() / sqrt(1 + 2 * STEEP),
        "leading order for weak nonlinearity": lambda: (
            DELTA + distances.weak_change().subs(SPREAD, (2 * STEEP) ** 2 / 2)
        ),
    },
    falsifiers={"isometry": lambda: DELTA},
    remark=(
        "$`\\delta`$ is the squared distance over $`2 q^*`$, so 1 for independent inputs. For close inputs the map has "
        "slope one, which is what critical means: gradients neither vanish nor explode. Inputs at any distance "
        "approach each other nevertheless, in the end like $`1/\\ell`$ over the layers."
    ),
)


@exact.proof(generic_in="length q*, distance")
def price_theorem(formula):
    """The rate of the mean product of activations with their correlation is the mean product of slopes."""
    return distances.is_erf_map(formula)


POINTS = grid(qstar=[9e-4, 1 / 64, 1 / 2, 8.0], delta=[0.05, 0.5, 1.0, 1.6])
NETS = grid(qstar=[0.1, 0.5], depth=[6], width=[24], seeds=[400])


def _one_layer(formula, qstar: float, delta: float):
    observed = one_layer("erf", qstar, delta)
    predicted = evaluate(formula, {QSTAR: qstar, DELTA: delta})
    # differences of arcsines near zero lose the digits that delta is small by
    return agree(observed, predicted, bound=rounding(delta, 4 * len(NODES), 1 + 1 / delta))


def _networks(formula, qstar: float, depth: int, width: int, seeds: int, seed: int):
    subject, observed, predicted, bound = _widths(formula, "erf", qstar, depth, width, seeds, seed, {QSTAR: qstar})
    return agree(observed, predicted, bound=bound).on(subject)


@exact.check(POINTS, network=False)
def sums_over_two_normal_numbers(formula, qstar, delta):
    """One layer at infinite width, from its definition."""
    return _one_layer(formula, qstar, delta)


@exact.check(NETS)
def distances_in_networks(formula, qstar, depth, width, seeds, seed):
    """Many orthogonal networks of two widths, extrapolated to infinite width, over all layers."""
    return _networks(formula, qstar, depth, width, seeds, seed)


WEAK = Assumption(
    "weak nonlinearity",
    "the relative variance of squared slopes times the number of layers is at most a tenth",
    lambda sample: _spread(sample) * sample.net.depth <= 0.1,
)

near = Claim(
    "isometry.critical-networks",
    source="B abstract",
    says="Critical orthogonal networks are near isometries: through all layers together, the squared distance of two "
    "inputs changes by less than a tenth.",
    formula=lambda: Rational(1, 10),
    lhs=r"\lvert \delta^L / \delta^1 - 1 \rvert",
    relation=r"\le",
    given=(ORTHOGONAL, CRITICAL, ODD),
    conditions=(WEAK,),
    uses=("isometry.weak-nonlinearity",),
    near_misses={"less than a thousandth": lambda: Rational(1, 1000)},
    falsifiers={"no change at all": lambda: Integer(0)},
    mutate=False,
    remark=(
        "Lengths and typical gradients keep their norm, distances do not: inputs approach each other by a share that "
        "grows with $`L q^{*2}`$, so that critical networks are near isometries only where $`q^* \\sqrt{L}`$ is small."
    ),
)


def _spread(sample: Sample) -> float:
    mu = point(sample.net.activation, sample.qstar).mu
    return mu[1] / mu[0] ** 2 - 1


def _kept(formula, activation: str, qstar: float, depth: int, width: int, seeds: int, seed: int):
    subject, start, found = measured(activation, qstar, width, depth, seeds, seed)
    ratios = found[:, -1] / start
    bound = student(float(ratios.std()), seeds, FALSE_ALARM)
    change = float(np.abs(ratios.mean() - 1))
    return at_most(change, float(formula), bound=bound).on(subject)


@near.check(
    grid(activation=["tanh"], qstar=[1 / 64], depth=[24, 48], width=[48], seeds=[40])
    + grid(activation=["erf"], qstar=[9e-4, 0.01], depth=[24], width=[32], seeds=[40])
)
def first_and_last_layer(formula, activation, qstar, depth, width, seeds, seed):
    """The mean over orthogonal networks of the distance in the last layer over that in the first."""
    return _kept(formula, activation, qstar, depth, width, seeds, seed)


@near.without(WEAK, grid(activation=["tanh", "erf"], qstar=[1 / 2, 8.0], depth=[24], width=[48], seeds=[40]))
def large_lengths(formula, activation, qstar, depth, width, seeds, seed, accuracy=1.0):
    """The same at the larger lengths of the paper; a contradiction has to last in as many networks again."""
    seeds = seeds if accuracy == 1 else 2 * seeds
    return _kept(formula, activation, qstar, depth, width, seeds, seed)


weak = Claim(
    "isometry.weak-nonlinearity",
    source="B abstract, section 2",
    says="In a wide critical network of small length the distance of two inputs shrinks by a quarter of the relative "
    "variance of squared slopes in every layer, whatever the odd activation.",
    formula=distances.weak_change,
    lhs=r"\delta' - \delta",
    given=(ORTHOGONAL, CRITICAL, ODD),
    near_misses={
        "half of the variance": lambda: 2 * distances.weak_change(),
        "without the cubic term": lambda: -SPREAD * DELTA**2 / 4,
    },
    falsifiers={"isometry": lambda: 0 * DELTA, "linear in the distance": lambda: -SPREAD * DELTA / 4},
    remark=(
        "$`v = \\mu_2 / \\mu_1^2 - 1`$ is $`8 q^{*2}`$ for tanh. Distances survive $`L`$ layers if $`v L \\ll 1`$, or "
        "$`q^* \\sqrt{L} \\ll 1`$: the same combination of length and depth that decides whether the largest "
        "singular value of the Jacobian stays bounded."
    ),
)


@weak.proof(generic_in="odd activation, distance; leading order in q*")
def gaussian_moments(formula):
    """Expand both the change and the variance of squared slopes in the length."""
    return distances.is_weak_change(formula)


def _weak_remainder(activation: str, qstar: float, leading: float) -> Bound:
    """The next order is 12 a q^* of the leading one for phi = x - a x^3 + ..., of alternating series its bound."""
    return remainder(12 * CUBIC[activation] * qstar * abs(leading))


@weak.check(grid(activation=["tanh", "erf"], qstar=[1e-3, 2e-4], delta=[0.3, 1.0, 1.7]), network=False)
def change_in_one_layer(formula, activation, qstar, delta):
    """One layer at infinite width, from its definition, extrapolated from two lengths to small ones."""
    observed, predicted, bound = 0.0, 0.0, Bound(())
    for factor, length in ((-1, qstar), (2, qstar / 2)):
        mu = point(activation, length).mu
        spread = mu[1] / mu[0] ** 2 - 1
        change = one_layer(activation, length, delta) - delta
        observed += factor * change / spread
        predicted += factor * float(evaluate(formula, {SPREAD: spread, DELTA: delta})) / spread
        bound = bound + rounding(delta / spread, 4 * len(NODES))
    share = 12 * CUBIC[activation] * qstar
    return agree(observed, predicted, bound=bound + remainder(share**2 * delta**2))


@weak.check(grid(activation=["tanh"], qstar=[0.05], depth=[40], width=[32], seeds=[800]), slow=True)
def distances_in_weak_networks(formula, activation, qstar, depth, width, seeds, seed):
    """Many orthogonal networks of two widths, extrapolated to infinite width, over all layers."""
    mu = point(activation, qstar).mu
    values = {SPREAD: mu[1] / mu[0] ** 2 - 1}
    found = _widths(DELTA + formula, activation, qstar, depth, width, seeds, seed, values)
    subject, observed, predicted, bound = found
    lost = float(np.ptp(np.append(predicted, 1.0)))
    return agree(observed, predicted, bound=bound + _weak_remainder(activation, qstar, lost)).on(subject)


@weak.figure(slow=True)
def distances_over_depth(formula):
    """Distances of two inputs over the layers of orthogonal tanh networks of four lengths."""
    depth, series = 60, []
    for qstar in (1 / 64, 0.05, 0.1, 0.5):
        subject, start, found = measured("tanh", qstar, 64, depth, 24, 3)
        mu = point("tanh", qstar).mu
        theory = course(DELTA + formula, depth - 1, start, {SPREAD: mu[1] / mu[0] ** 2 - 1})
        layers = np.arange(2, depth + 1)
        label = f"q* = {qstar:.3g}"
        series += [Series(label, layers, theory), Series("", layers[::4], found.mean(0)[::4], "simulation")]
    panel = Panel("orthogonal tanh networks of width 64", "layer", r"$\delta$", tuple(series))
    return Figure(
        "Squared distance of two inputs over 2 q*: lines to the leading order in the length, dots from networks. The "
        "largest length is outside the range of the formula.",
        (panel,),
    )

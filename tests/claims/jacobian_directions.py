"""Single directions of the Jacobian: typical gains, the direction of the input, and two wrong words for the norm."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from scipy.special import polygamma
from sympy import Integer, Rational, log

from derivations.compiled import evaluate
from derivations.information import directions
from derivations.information.directions import MAP_SLOPE, NORM, RADIUS, TAU
from derivations.notation import LAYERS, WIDTH
from numerics.device import generator
from numerics.ensembles import gaussian_inputs, perceptron
from numerics.frames import normal
from numerics.jacobians import largest_singular_value
from numerics.perceptrons import ACTIVATIONS, input_jacobian
from tests.checker.bounds import remainder, rounding, sampling
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree
from tests.checker.figure import Figure, Panel, Series
from tests.claims.critical import Sample, critical_sample, point
from tests.claims.critical_assumptions import CRITICAL
from tests.claims.jacobian_spectrum import FALSE_ALARM, FREE, Spectra, critical, sampled


@lru_cache(maxsize=64)
def linear_sample(depth: int, width: int, seeds: int, seed: int) -> Sample:
    """Linear Gaussian networks at chi = 1, and one input."""
    draw = generator(seed)
    net = perceptron((width,) * (depth + 1), 1, draw, ensemble="gaussian", activation="linear", seeds=seeds)
    return Sample(net, gaussian_inputs(width, 1, 1.0, draw, exact=True), 1.0, "gaussian")


@lru_cache(maxsize=64)
def log_gains(depth: int, width: int, seeds: int, seed: int) -> tuple[Sample, np.ndarray]:
    """log |J^T v|^2 of back-propagated random unit vectors, over the number of layers (S,)."""
    sample = linear_sample(depth, width, seeds, seed)
    v = normal((width, 1), generator(seed + 1), seeds)
    v, total = v / v.norm(dim=-2, keepdim=True), 0.0
    for w, slope in zip(reversed(sample.net.weights), reversed(sample.found.slopes), strict=True):
        v = w.mT @ (slope * v)
        total = total + 2 * v.norm(dim=-2).log()
        v = v / v.norm(dim=-2, keepdim=True)
    return sample, total[:, 0].numpy() / depth


RATE = r"\tfrac{1}{L} \mathbb{E} \log \lVert J^\mathsf{T} v \rVert^2"

rate = Claim(
    "jacobian.typical-rate",
    source="beyond B",
    says="At chi = 1 and a finite width typical gradients of linear Gaussian networks decay exponentially in depth.",
    formula=directions.typical_rate,
    lhs=RATE,
    near_misses={"minus one over the width": lambda: -1 / WIDTH + 0 * log(WIDTH)},
    falsifiers={"no decay": lambda: 0 * WIDTH, "growth": lambda: -directions.typical_rate()},
    remark=(
        "The rate is about $`-1/N`$: the mean of the squared gain is 1 at every depth, and carried by rarer and rarer "
        "networks once the depth passes the width."
    ),
)

stable = Claim(
    "jacobian.stable-gradients",
    source="B sec. 2.2",
    says="At chi = 1 typical gradients keep their length, also in the limit of many layers.",
    formula=lambda: Integer(0),
    lhs=RATE,
    relation=r"\to",
    conditions=(FREE,),
    near_misses={"decay by a tenth in a layer": lambda: -Rational(1, 10)},
    falsifiers={"growth": lambda: Rational(1, 2)},
    mutate=False,
    remark=(
        "True when the width goes to infinity before the depth, and for orthogonal linear networks. Gaussian networks "
        "of any given width lose their gradients in the end, at a rate of about $`-1/N`$ a layer."
    ),
)


@rate.proof(generic_in="width, depth")
def mean_logarithm(formula):
    """One layer multiplies the squared length by a chi-squared number over N, whatever the direction."""
    return directions.is_typical_rate(formula)


@stable.proof(generic_in="depth of wide linear Gaussian networks")
def squeezed_logarithm(formula):
    """The mean logarithm of the factor of a layer lies between 1 less its mean inverse and 0."""
    return directions.is_wide_rate(formula)


@rate.check(grid(depth=[40], width=[1, 2, 5], seeds=[1000]) + grid(depth=[60], width=[20], seeds=[400]))
def random_gradients(formula, depth, width, seeds, seed):
    """Back-propagated random vectors; the deviation of one logarithm is known."""
    return _gradients(evaluate(formula, {WIDTH: width}), depth, width, seeds, seed)


@stable.check(grid(depth=[3], width=[64], seeds=[400]) + grid(depth=[14], width=[96], seeds=[100]))
def gradients_of_wide_networks(formula, depth, width, seeds, seed):
    """The same with far fewer layers than neurons; a finite width lowers the rate by at most its proved bound."""
    rest = abs(float(evaluate(directions.slowest_rate(), {WIDTH: width})))
    return _gradients(evaluate(formula, {}), depth, width, seeds, seed, rest)


@stable.without(FREE, grid(depth=[200], width=[1, 2], seeds=[6000]))
def gradients_of_narrow_networks(formula, depth, width, seeds, seed):
    """Many more layers than neurons."""
    return _gradients(evaluate(formula, {}), depth, width, seeds, seed)


def _gradients(predicted, depth, width, seeds, seed, finite_width=0.0):
    sample, gains = log_gains(depth, width, seeds, seed)
    deviation = float(polygamma(1, width / 2) / depth) ** 0.5
    bound = sampling(deviation, seeds, FALSE_ALARM) + remainder(finite_width)
    # a rate of 1 would be a factor e in every layer
    return agree(gains.mean(), predicted, bound=bound, scale=1.0).on(sample)


singular = Claim(
    "jacobian.mean-singular-value-as-printed",
    source="B sec. 1",
    says="A layer that is critically initialised with Gaussian weights has singular values of mean 1.",
    formula=lambda: Integer(1),
    control=directions.mean_singular_value,
    corrected_by=("jacobian.mean-square",),
    lhs=r"\tfrac{1}{N} \sum_i s_i",
    given=(CRITICAL,),
    near_misses={"six sevenths": lambda: Rational(6, 7)},
    falsifiers={"two thirds": lambda: Rational(2, 3)},
    mutate=False,
    remark="It is the mean squared singular value that is 1; by Jensen's inequality the mean is smaller.",
)


@singular.proof(generic_in="wide square Gaussian layers")
def quarter_circle(formula):
    """The first moment of the law whose even moments are the Catalan numbers."""
    return directions.is_mean_singular_value(formula)


@singular.check(grid(width=[128], seeds=[24]))
def gaussian_layers(formula, width, seeds, seed):
    """Mean singular values of wide Gaussian layers."""
    found = Spectra(linear_sample(1, width, seeds, seed))
    means = np.sqrt(found.squares).mean(-1)
    # real matrices: the first correction in 1/N is -1/(2 pi N)
    bound = sampled(means) + remainder(1 / (4 * width))
    return agree(means.mean(), evaluate(formula, {}), bound=bound).on(found.sample)


radius = Claim(
    "jacobian.spectral-radius-as-printed",
    source="B abstract, sec. 3",
    says="The spectral radius of the input-output Jacobian is what bounds its gain.",
    formula=lambda: RADIUS + 0 * NORM,
    control=lambda: NORM,
    corrected_by=("jacobian.edge",),
    lhs=r"\max_v \lVert J v \rVert / \lVert v \rVert",
    given=(CRITICAL,),
    near_misses={"the mean of both": lambda: (RADIUS + NORM) / 2},
    falsifiers={"the squared norm": lambda: NORM**2},
    mutate=False,
    remark=(
        "The formulas of the paper use the spectral norm $`s_{\\max}`$. Moduli of eigenvalues stay near 1 in wide "
        "critical networks while the norm grows with depth, and a Jacobian with unequal ends has no eigenvalues."
    ),
)


@radius.proof(instances="a linear network of two layers with a shear as Jacobian")
def shear(formula):
    """A matrix with both eigenvalues 1 that stretches."""
    return directions.is_largest_gain(formula)


@radius.check(
    grid(activation=["linear"], qstar=[1.0], ensemble=["gaussian"], depth=[8], width=[48])
    + grid(activation=["tanh"], qstar=[0.5], ensemble=["orthogonal"], depth=[20], width=[48])
)
def gains_of_jacobians(formula, activation, qstar, ensemble, depth, width, seed):
    """The norm through eigenvalues of J^T J, the gain by products with the Jacobian alone."""
    sample = critical_sample(
        qstar, width, depth, outputs=1, samples=1, seed=seed, ensemble=ensemble, activation=activation
    )
    jacobian = input_jacobian(sample.found)[0]
    values = {
        RADIUS: float(torch.linalg.eigvals(jacobian).abs().max()),
        NORM: float(torch.linalg.eigvalsh(jacobian.mT @ jacobian)[-1]) ** 0.5,
    }
    observed = float(largest_singular_value(sample.found)[0])
    bound = rounding(observed, 2 * width * depth + 10 * width, 2.0)
    return agree(observed, evaluate(formula, values), bound=bound).on(sample)


along = Claim(
    "jacobian.input-direction",
    source="beyond B",
    says="Along its own input a critical Jacobian contracts: one direction leaves the free spectrum.",
    formula=directions.input_gain,
    lhs=r"\mathbb{E} \lVert J x \rVert^2 / \lVert x \rVert^2",
    given=(CRITICAL, FREE),
    near_misses={"decay by the slope, not its square": lambda: directions.input_gain().subs(LAYERS, LAYERS / 2)},
    falsifiers={"like any other direction": lambda: 1 + 0 * LAYERS * TAU * MAP_SLOPE},
    remark=(
        "$`\\lambda`$ is the slope of the length map and $`\\tau = \\sigma_w^2 \\mathbb{E}[\\phi'^2 h^2]/q^*`$. At "
        "small lengths the gain of tanh is $`e^{-4 q^* L}`$. This one value adds $`(1 - e^{-4 q^* L})^2 / N`$ to the "
        "variance: in nearly linear networks with $`L \\sim N`$ as much as all others, and there freeness fails."
    ),
)


@along.proof(generic_in="depth, odd or even activation, ensemble")
def recursion_of_the_tangent(formula):
    """The tangent along the activation and its remainder, layer by layer."""
    return directions.is_input_gain(formula)


@lru_cache(maxsize=64)
def map_statistics(activation: str, qstar: float) -> tuple[float, float]:
    """tau and lambda of a critical point by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    h = torch.tensor(qstar**0.5 * nodes)
    value, slope = (f(h).numpy() for f in ACTIVATIONS[activation])
    mean = weights / weights.sum() * point(activation, qstar).sigma_w ** 2
    return float(mean @ (slope * nodes) ** 2), float(mean @ (value * slope * nodes)) / qstar**0.5


@along.check(
    grid(activation=["tanh"], qstar=[1 / 64, 0.1], ensemble=["orthogonal"], depth=[8], width=[64], seeds=[48])
    + grid(activation=["erf"], qstar=[0.1], ensemble=["orthogonal"], depth=[4], width=[64], seeds=[48])
    + grid(activation=["tanh"], qstar=[0.1], ensemble=["gaussian"], depth=[2], width=[64], seeds=[200])
)
def gain_of_the_input(formula, activation, qstar, ensemble, depth, width, seeds, seed):
    """The Jacobian times its input, averaged over networks."""
    found = critical(activation, qstar, ensemble, depth, width, seeds, seed)
    x = found.sample.x / found.sample.x.norm(dim=-2, keepdim=True)
    gains = (input_jacobian(found.sample.found)[:, 0] @ x).square().sum((-2, -1)).numpy()
    tau, slope = map_statistics(activation, qstar)
    # lengths fluctuate by 2/N in every layer, and the statistics of a layer are known to 1/N
    bound = sampled(gains) + remainder(2 * depth * (1 - tau) / width)
    predicted = evaluate(formula, {TAU: tau, MAP_SLOPE: slope, LAYERS: depth})
    return agree(gains.mean(), predicted, bound=bound, scale=1.0).on(found.sample)


@along.figure
def spectra_of_nearly_linear_networks(formula):
    """Sorted squared singular values of one nearly linear network, and the gain of its input."""
    qstar, width, depth = 9e-4, 100, 50
    found = critical("tanh", qstar, "orthogonal", depth, width, 4, 3)
    tau, slope = map_statistics("tanh", qstar)
    gain = float(evaluate(formula, {TAU: tau, MAP_SLOPE: slope, LAYERS: depth}))
    order = np.arange(1, width + 1)
    panel = Panel(
        r"tanh, orthogonal, $q^* = 9 \cdot 10^{-4}$, 50 layers of 100 neurons",
        "rank",
        "squared singular value",
        (
            Series("one network", order, found.squares[0], "simulation"),
            Series("gain along the input", [1, width], [gain, gain]),
        ),
    )
    return Figure("One singular value leaves the spectrum: the direction of the input itself.", (panel,))

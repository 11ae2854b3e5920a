"""The tangent kernel of wide networks from layer to layer, and whether it is the derivative of a kernel."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from sympy import Expr

from derivations.compiled import evaluate
from derivations.information import kernel_recursion as recursion
from derivations.information.critical_line import second_moment, slope_moment
from derivations.information.kernel_recursion import ADDED, CARRIED, CURVED, MOMENT, SLOPES
from derivations.notation import QSTAR, SIGMA_B, SIGMA_W
from numerics.device import generator
from numerics.ensembles import gaussian_inputs, perceptron
from numerics.perceptrons import output_jacobians
from tests.checker.bounds import remainder, sampling
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree
from tests.checker.evidence import Evidence
from tests.claims.settings import array

NETWORKS = 1600
FALSE_ALARM = 1e-6


@lru_cache(maxsize=32)
def measured(width: int, depth: int, sigma_w: float, sigma_b: float, length: float, seed: int) -> np.ndarray:
    """Kernels (S,) of Gaussian erf networks at one input, each parameter's share times its variance."""
    draw = generator(seed, "cpu")
    scales = {"sigma_w": sigma_w, "sigma_b": sigma_b, "readout": sigma_w, "readout_bias": sigma_b}
    sizes = (width,) * (depth + 1)
    net = perceptron(sizes, 1, draw, ensemble="gaussian", activation="erf", seeds=NETWORKS, **scales)
    found = net.forward(gaussian_inputs(width, 1, length, draw, exact=True))
    heights = [sigma_w**2 * x.square().mean((-2, -1)) + sigma_b**2 for x in found.x]
    backs = [back.square().sum((-3, -2, -1)) for back in output_jacobians(found)]
    return array(heights[-1] + sum(h * back for h, back in zip(heights, backs, strict=False)))


def predicted(formula: dict[str, Expr], depth: int, sigma_w: float, sigma_b: float, length: float) -> float:
    """The recursion from the inputs to the outputs, with the moments of erf at the length of every layer."""
    known = {SIGMA_W: sigma_w, SIGMA_B: sigma_b, MOMENT: length, SLOPES: 1.0, CURVED: 0.0}
    kernel = float(evaluate(formula[ADDED], known))
    q = sigma_w**2 * length + sigma_b**2
    for _ in range(depth):
        moment, slopes = second_moment("erf"), slope_moment("erf")
        values = {MOMENT: moment, SLOPES: slopes, CURVED: moment.diff(QSTAR) - slopes}
        known |= {name: float(evaluate(form, {QSTAR: q})) for name, form in values.items()}
        kernel = float(evaluate(formula[CARRIED], known)) * kernel + float(evaluate(formula[ADDED], known))
        q = sigma_w**2 * known[MOMENT] + sigma_b**2
    return kernel


def compared(formula, depth: int, sigma_w: float, sigma_b: float, length: float, seed: int) -> Evidence:
    """Means over networks of two widths, extrapolated to infinite width."""
    narrow, wide = (measured(width, depth, sigma_w, sigma_b, length, seed) for width in (30, 60))
    observed = 2 * wide.mean() - narrow.mean()
    deviation = float((4 * wide.var() + narrow.var()) ** 0.5)
    bound = sampling(deviation, NETWORKS, FALSE_ALARM) + remainder(abs(float(wide.mean() - narrow.mean())))
    return agree(observed, predicted(formula, depth, sigma_w, sigma_b, length), bound=bound)


CASES = grid(depth=[1, 2], sigma_w=[1.3], sigma_b=[0.5], length=[2.0], repeat=[0])

step_up = Claim(
    "tangent-kernel.recursion",
    source="B sec. 4, after eq. 18",
    says="In a wide network a layer passes the kernel on through its mean squared slope and adds its covariance.",
    formula=recursion.increments,
    near_misses={"biases add nothing": lambda: {**recursion.increments(), ADDED: SIGMA_W**2 * MOMENT}},
    falsifiers={"derivative of the covariance": recursion.derivative_increments},
    mutate=False,
    remark="The average over the new weights is exact at every width; that the kernel below is diagonal needs width.",
)


@step_up.proof(generic_in="activation, variances, width of the averaged layer")
def average_over_new_weights(formula):
    """One more layer on top of a kernel that is a multiple of the identity over units."""
    return recursion.are_increments(formula)


@step_up.check(CASES)
def wide_networks(formula, depth, sigma_w, sigma_b, length, repeat, seed):
    """Kernels of Gaussian erf networks of two widths."""
    return compared(formula, depth, sigma_w, sigma_b, length, seed)


printed = Claim(
    "tangent-kernel.derivative-as-printed",
    source="B sec. 4, after eq. 18",
    says="The tangent kernel is the derivative of the covariance kernel of a random network, by the weight variance.",
    formula=recursion.derivative_increments,
    control=recursion.increments,
    corrected_by=("tangent-kernel.recursion",),
    near_misses={"biases add nothing": lambda: {**recursion.increments(), ADDED: SIGMA_W**2 * MOMENT}},
    falsifiers={"nothing carried over": lambda: {**recursion.increments(), CARRIED: 0 * SLOPES}},
    mutate=False,
    remark=(
        "The sentence does not say which derivative; by the logarithm of the weight variance it is true of linear "
        "networks without biases. In general the derivative also feels the curvature $`c`$ of the activation, and the "
        "kernel also feels the biases."
    ),
)


@printed.proof(generic_in="activation, variances, width of the averaged layer")
def average_against_derivative(formula):
    """One more layer on top of a kernel that is a multiple of the identity over units."""
    return recursion.are_increments(formula)


@printed.check(CASES)
def wide_networks_as_printed(formula, depth, sigma_w, sigma_b, length, repeat, seed):
    """Kernels of Gaussian erf networks of two widths."""
    return compared(formula, depth, sigma_w, sigma_b, length, seed)

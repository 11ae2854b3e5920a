"""Means of activations in Lemma 3: the length of a mean vector, and the mean length of vectors."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from sympy import sqrt

from derivations.compiled import evaluate
from derivations.information import lemma3, mean_lengths
from derivations.information.lemma3 import BELOW, LENGTHS, MEAN_INPUT, PHI
from derivations.information.mean_lengths import PHI_SIZE, WIDTH
from numerics.device import generator
from numerics.ensembles import perceptron
from numerics.frames import normal
from tests.checker.bounds import rounding, sampling
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree
from tests.claims.settings import array

FALSE_ALARM = 1e-6
UNITS = grid(width=[5, 12], activation=["relu", "tanh"], networks=[20000])


@lru_cache(maxsize=16)
def first_activations(width: int, activation: str, networks: int, seed: int) -> np.ndarray:
    """x^1 of many Gaussian networks on one input of three numbers with |x^0|^2 / 3 = 1, shape (networks, width)."""
    if networks < 2:
        raise ValueError(f"networks: {networks} given, allowed: at least 2")
    draw = generator(seed)
    x = normal((3, 1), draw)
    net = perceptron((3, width), 1, draw, ensemble="gaussian", activation=activation, seeds=networks)
    return array(net.forward(x * 3**0.5 / x.norm()).x[1][..., 0])


def mean_activation(activation: str) -> float:
    """E phi(h) for a standard normal h: zero for odd activations, by a half-line integral for ReLU."""
    if activation in ("tanh", "erf", "linear"):
        return 0.0
    if activation != "relu":
        raise ValueError(f"activation: {activation} given, allowed: relu, tanh, erf, linear")
    return float((2 * torch.pi) ** -0.5)


averaged = Claim(
    "curvature-bound.averaged-activation",
    source="B eqs. 14, 25 and 31 (corrected)",
    says="Averaged over networks, the activations of a layer form a vector whose length is the root of the number of "
    "units in that layer times the mean activation.",
    formula=mean_lengths.averaged_activation,
    lhs=r"\lVert \mathbb{E}_W\, x \rVert",
    near_misses={"root of the width lost": lambda: PHI_SIZE},
    falsifiers={"width instead of its root": lambda: WIDTH * PHI_SIZE},
    remark=(
        "For one and the same network the length of the activations is not this but the root of the sum of squares, "
        "which does not vanish for odd activations."
    ),
)


@averaged.proof(generic_in="width, activation")
def exchangeable_units(formula):
    """All units of a layer have one mean."""
    return mean_lengths.is_averaged_activation(formula)


@averaged.check(UNITS)
def mean_of_many_networks(formula, width, activation, networks, seed):
    """The mean vector of the first layer of many networks; its length errs by at most that of its fluctuations."""
    found = first_activations(width, activation, networks, seed)
    predicted = evaluate(formula, {WIDTH: width, PHI_SIZE: mean_activation(activation)})
    fluctuation = float(np.sqrt(found.var(0).sum()))
    bound = sampling(fluctuation, networks, FALSE_ALARM, len(UNITS))
    typical = float(np.sqrt((found**2).sum(-1)).mean())
    return agree(np.linalg.norm(found.mean(0)), predicted, bound=bound, scale=typical)


outer = Claim(
    "curvature-bound.mean-outer-product-as-printed",
    source="B eqs. 24-25, 27-28 and 30-31",
    says="The mean norm of the outer product of activations and inputs is the root of the width times the mean "
    "activation times the length of the mean input.",
    formula=lambda: mean_lengths.averaged_activation().xreplace({WIDTH: BELOW, PHI_SIZE: PHI}) * MEAN_INPUT,
    control=lambda: LENGTHS,
    corrected_by=("curvature-bound.block-norms", "curvature-bound.averaged-activation"),
    lhs=r"\mathbb{E}\, s_{\max}(\phi(h)\, x^{0 \mathsf{T}})",
    near_misses={"a root of the width more": lambda: sqrt(BELOW) * LENGTHS},
    falsifiers={"half of it": lambda: LENGTHS / 2},
    remark=(
        "An outer product has the product of the lengths as its norm, so its mean is the mean product. The printed "
        "right side belongs to the norm of the mean outer product, and even there to inputs of one length only."
    ),
)


@outer.proof(instances="a ReLU network of one unit on the inputs 1 and -1")
def inputs_of_opposite_sign(formula):
    """The mean input vanishes, the lengths do not."""
    return lemma3.step_witness(formula)


@outer.check(grid(width=[5, 12], activation=["relu", "tanh"], samples=[4], networks=[200]))
def outer_products(formula, width, activation, samples, networks, seed):
    """Outer products of first activations and inputs in many networks on a few inputs."""
    if min(samples, networks) < 1:
        raise ValueError(f"samples: {samples} with {networks} networks given, allowed: at least 1 of both")
    draw = generator(seed)
    x = normal((3, samples), draw)
    net = perceptron((3, width), 1, draw, ensemble="gaussian", activation=activation, seeds=networks)
    found = net.forward(x).x[1]
    products = found.mT[..., :, None] * x.mT[:, None, :]
    observed = array(torch.linalg.matrix_norm(products, 2)).mean()
    phi = abs(float(found.mean())) if activation == "relu" else mean_activation(activation)
    values = {
        BELOW: width,
        PHI: phi,
        MEAN_INPUT: float(x.mean(-1).norm()),
        LENGTHS: float((found.norm(dim=-2) * x.norm(dim=-2)).mean()),
    }
    return agree(observed, evaluate(formula, values), bound=rounding(observed, 8 * width))

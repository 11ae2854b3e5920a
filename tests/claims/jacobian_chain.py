"""Jacobians of perceptrons, layer by layer: inputs, pre-activations, parameters, and what they do to gradients."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.func import jacrev

from derivations.code import value
from derivations.information import jacobian
from derivations.information.jacobian import S_LEAST, S_MOST, SIZE
from numerics.device import generator
from numerics.ensembles import perceptron
from numerics.perceptrons import ACTIVATIONS, Pass, Perceptron, blocks, parameter_jacobian
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, at_least, at_most, both
from tests.checker.evidence import Bound
from tests.checker.figure import Figure, Panel, Series
from tests.claims.settings import array, sizes

Widths = str | tuple[int, ...]
OUTPUTS = 3
NETS = grid(
    depth=[1, 2, 4], widths=["square", "widening", "narrowing", "wide", "waist"], activation=["tanh"], seed=[0]
) + grid(depth=[3], widths=["waist"], activation=["linear", "erf", "relu", "hard-tanh"], seed=[1])


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A network and what one forward pass found."""

    net: Perceptron
    found: Pass


def _known(activation: str) -> str:
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation: {activation} given, allowed: {', '.join(ACTIVATIONS)}")
    return activation


@lru_cache(maxsize=64)
def sample(depth: int, widths: Widths, activation: str, seed: int, count: int = 1) -> Subject:
    """A Gaussian network of scale 1.3 with biases, three outputs, and Gaussian inputs."""
    draw, n = generator(seed), sizes(depth, widths)
    scales = {"ensemble": "gaussian", "sigma_w": 1.3, "sigma_b": 0.4, "readout": 1.0, "readout_bias": 0.2}
    net = perceptron(n, OUTPUTS, draw, activation=_known(activation), **scales)
    return Subject(net, net.forward(torch.randn(n[0], count, generator=draw, dtype=torch.float64)))


def after(net: Perceptron, layer: int, h: Tensor) -> Tensor:
    """The outputs h^g as a function of the pre-activations h^l of one layer, shape (N_l,)."""
    act, _ = ACTIVATIONS[net.activation]
    for w, b in zip(net.weights[layer:], net.biases[layer:], strict=True):
        h = w @ act(h) + b
    return net.readout @ act(h) + net.readout_bias


@lru_cache(maxsize=64)
def derivatives(subject: Subject) -> dict[str, list[np.ndarray]]:
    """The Jacobians of x^l with respect to x^0 and of h^g with respect to h^l, by automatic differentiation."""
    net, found = subject.net, subject.found
    inputs = [
        array(jacrev(lambda x, k=layer: net.forward(x[:, None]).x[k][:, 0])(found.x[0][:, 0]))
        for layer in range(1, net.depth + 1)
    ]
    outputs = [
        array(jacrev(lambda h, k=layer: after(net, k, h))(found.h[layer - 1][:, 0]))
        for layer in range(1, net.depth + 1)
    ]
    return {"inputs": inputs, "pre-activations": outputs}


def chain_rounding(subject: Subject) -> Bound:
    """Rounding of a chain of products of slopes and weights, on the scale of the product of their norms."""
    net = subject.net
    norms = [max(1.0, float(torch.linalg.matrix_norm(w, 2))) for w in (*net.weights, net.readout)]
    return rounding(float(np.prod(norms)), 4 * sum((*net.widths, net.outputs)))


products = Claim(
    "jacobian.layer-products",
    source="B eq. 2",
    says="Jacobians of a perceptron are products of slopes and weights: a later layer stands further left, and the "
    "slope of a layer is taken at its pre-activations.",
    formula=jacobian.layer_products,
    lhs=r"J^{x^l}_{x^0},\; J_l",
    near_misses={
        "slopes before the weights": lambda: {
            **jacobian.layer_products(),
            "inputs": jacobian.W * jacobian.D_BELOW * jacobian.B,
        },
        "slopes at the activations": lambda: {
            **jacobian.layer_products(),
            "inputs": jacobian.D_OF_X * jacobian.W * jacobian.B,
        },
        "slopes of the next layer": lambda: {
            **jacobian.layer_products(),
            "pre-activations": jacobian.J_ABOVE * jacobian.D_ABOVE * jacobian.W_ABOVE,
        },
    },
    falsifiers={"no slopes": lambda: {**jacobian.layer_products(), "inputs": jacobian.W * jacobian.B}},
    remark=(
        "The paper writes the product without an order; matrices do not commute, so it is part of the statement. "
        "The Jacobian of the outputs with respect to a hidden layer, $`J_l`$, ends in the slopes of its own layer."
    ),
)


@products.proof(generic_in="depth, widths, activation")
def chain_rule(formula):
    """The derivative of one layer, entry by entry, then one step up and one step down."""
    return jacobian.are_layer_products(formula)


def _diagonal(subject: Subject, layer: int, of: str = "h") -> np.ndarray:
    """The slopes of a layer as a matrix, at its pre-activations or, wrongly, at its activations."""
    found = subject.found
    if not 1 <= layer <= subject.net.depth:
        size = subject.net.widths[0] if layer < 1 else subject.net.outputs
        return np.eye(size)
    slope = ACTIVATIONS[subject.net.activation][1]
    return np.diag(array(found.slopes[layer - 1] if of == "h" else slope(found.x[layer]))[:, 0])


@products.check(NETS)
def recursions_through_the_network(formula, depth, widths, activation, seed):
    """Both recursions, run through all layers of a full network, against automatic differentiation."""
    subject = sample(depth, widths, activation, seed)
    net, true = subject.net, derivatives(subject)
    below, found, expected = np.eye(net.widths[0]), [], []
    for layer in range(1, depth + 1):
        letters = {"W": array(net.weights[layer - 1]), "B_l": below, "D": _diagonal(subject, layer)}
        letters |= {"D_h": _diagonal(subject, layer - 1), "D_x": _diagonal(subject, layer, "x")}
        below = value(formula["inputs"], letters)
        found.append(below.ravel())
        expected.append(true["inputs"][layer - 1].ravel())
    above = np.eye(net.outputs)
    weights = [*net.weights, net.readout]
    for layer in range(depth, 0, -1):
        letters = {"J_n": above, "W_next": array(weights[layer]), "D": _diagonal(subject, layer)}
        letters |= {"D_n": _diagonal(subject, layer + 1)}
        above = value(formula["pre-activations"], letters)
        found.append(above.ravel())
        expected.append(true["pre-activations"][layer - 1].ravel())
    return agree(np.concatenate(expected), np.concatenate(found), bound=chain_rounding(subject)).on(subject)


parameters = Claim(
    "jacobian.parameter-blocks",
    source="B eqs. 9, 10",
    says="The outputs feel the weights of a layer through the Kronecker product of its inputs with the Jacobian "
    "behind it, and its biases through that Jacobian alone.",
    formula=jacobian.parameter_blocks,
    lhs=r"J^{h^g}_{\mathrm{vec} W^l} = \mathrm{left} \otimes \mathrm{right},\; J^{h^g}_{b^l}",
    uses=("jacobian.layer-products",),
    near_misses={
        "factors exchanged": lambda: {
            **jacobian.parameter_blocks(),
            "weights, left factor": jacobian.parameter_blocks()["bias"],
            "weights, right factor": jacobian.X.T,
        },
        "biases counted twice": lambda: {
            **jacobian.parameter_blocks(),
            "bias": jacobian.parameter_blocks()["bias"] * 2,
        },
    },
    falsifiers={
        "slopes of the layer itself forgotten": lambda: {
            **jacobian.parameter_blocks(),
            "weights, right factor": jacobian.J_ABOVE * jacobian.W_ABOVE,
        }
    },
    remark=(
        "The order of the factors belongs to stacking columns; with rows stacked they change places. Between "
        "$`h^l`$ and its own parameters the right factor is the identity, which is what the paper prints."
    ),
)


@parameters.proof(generic_in="depth, widths, activation")
def move_one_layer(formula):
    """Move weights and biases of one layer, then stack columns."""
    return jacobian.are_parameter_blocks(formula)


@lru_cache(maxsize=64)
def by_differentiation(subject: Subject) -> np.ndarray:
    """The Jacobian of the outputs with respect to all hidden parameters, shape (N_g, P)."""
    return array(parameter_jacobian(subject.net, subject.found.x[0])[0])


@parameters.check(NETS)
def blocks_of_the_network(formula, depth, widths, activation, seed):
    """Every block of the parameter Jacobian of a full network, by automatic differentiation."""
    subject = sample(depth, widths, activation, seed)
    net, whole, behind = subject.net, by_differentiation(subject), derivatives(subject)["pre-activations"]
    found, weights = np.zeros_like(whole), [*net.weights, net.readout]
    for name, place in blocks(net).items():
        layer = int(name[1:])
        letters = {"x": array(subject.found.x[layer - 1]), "J_l": behind[layer - 1], "W_next": array(weights[layer])}
        letters |= {"J_n": behind[layer] if layer < depth else np.eye(net.outputs)}
        if name.startswith("b"):
            found[:, place] = value(formula["bias"], letters)
        else:
            found[:, place] = np.kron(
                *(value(formula[f"weights, {side} factor"], letters) for side in ("left", "right"))
            )
    largest = max(1.0, max(float(x.abs().max()) for x in subject.found.x))
    bound = Bound(tuple((name, largest * size) for name, size in chain_rounding(subject).parts))
    return agree(whole, found, bound=bound).on(subject)


sandwich = Claim(
    "jacobian.gradient-range",
    source="B section 2.1",
    says="The gradients that reach a layer have norms between the extreme singular values of the Jacobian behind it.",
    formula=jacobian.gradient_range,
    lhs=r"\lVert J_l^{\mathsf T} v \rVert,\; \lVert v \rVert = v",
    uses=("jacobian.layer-products",),
    near_misses={
        "squared singular value": lambda: {**jacobian.gradient_range(), "largest": S_MOST**2 * SIZE},
        "extremes exchanged": lambda: {"least": S_MOST * SIZE, "largest": S_LEAST * SIZE},
    },
    falsifiers={"an isometry": lambda: {"least": SIZE, "largest": SIZE}},
    remark=(
        "This is what conditioning of the Jacobian means for back-propagation: the ratio of the two is its condition "
        "number. It bounds gradients irrespective of depth only where the largest singular value is bounded."
    ),
)


@sandwich.proof(generic_in="depth, widths, activation")
def squares_on_singular_vectors(formula):
    """The squared norm as a sum over singular vectors, term by term between the extremes."""
    return jacobian.is_gradient_range(formula)


@lru_cache(maxsize=64)
def gradients(subject: Subject, draws: int) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """Norms of back-propagated unit vectors: many random ones, the extreme singular ones; and the extreme values."""
    vectors = torch.randn(OUTPUTS, draws, generator=generator(draws), dtype=torch.float64)
    vectors = vectors / torch.linalg.vector_norm(vectors, dim=0)
    norms, ends, extremes = [], [], []
    for layer, j in enumerate(derivatives(subject)["pre-activations"], start=1):
        left, values, _ = np.linalg.svd(j)
        values = np.pad(values, (0, OUTPUTS - values.size))
        extremes.append([values[-1], values[0]])
        both_ends = torch.from_numpy(left[:, [-1, 0]].copy())
        norms.append(_pulled(subject, layer, vectors))
        ends.append(_pulled(subject, layer, both_ends))
    return norms, ends, np.array(extremes)


def _pulled(subject: Subject, layer: int, vectors: Tensor) -> np.ndarray:
    """Norms of the gradients of v . h^g with respect to h^l, one for each column of ``vectors``."""
    h = subject.found.h[layer - 1][:, 0]
    _, pull = torch.func.vjp(lambda z: after(subject.net, layer, z), h)
    return np.array([float(torch.linalg.vector_norm(pull(v)[0])) for v in vectors.mT])


@sandwich.check(NETS)
def gradients_at_every_layer(formula, depth, widths, activation, seed):
    """Random and extreme directions, pulled back to every hidden layer of a full network."""
    subject = sample(depth, widths, activation, seed)
    norms, ends, extremes = gradients(subject, 12)
    values = {S_LEAST: extremes[:, 0], S_MOST: extremes[:, 1], SIZE: 1.0}
    low, high = (np.broadcast_to(value(formula[name], values), depth) for name in ("least", "largest"))
    bound = chain_rounding(subject)
    return both(
        at_least(np.array(norms), low[:, None], bound=bound),
        at_most(np.array(norms), high[:, None], bound=bound),
        agree(np.array(ends), np.stack([low, high], -1), bound=bound),
    ).on(subject)


@sandwich.figure
def range_over_layers(formula):
    """Norms of back-propagated unit vectors at the layers of a deep network, between the singular values."""
    depth, size = 30, 24
    net = perceptron((size,) * (depth + 1), OUTPUTS, generator(5), sigma_w=1.3, sigma_b=0.2)
    x = torch.randn(size, 1, generator=generator(6), dtype=torch.float64)
    subject = Subject(net, net.forward(x))
    norms, _, extremes = gradients(subject, 5)
    layers = np.arange(1, depth + 1)
    values = {S_LEAST: extremes[:, 0], S_MOST: extremes[:, 1], SIZE: 1.0}
    lines = tuple(
        Series(label, layers, value(formula[name], values))
        for name, label in (("least", "smallest singular value"), ("largest", "largest singular value"))
    )
    dots = Series("gradients", np.repeat(layers, 5), np.array(norms).ravel(), "simulation")
    panel = Panel("orthogonal tanh network", "layer", r"$\Vert J_l^T v \Vert$", (*lines, dots), log_y=True)
    return Figure("Unit vectors at the outputs, pulled back to every layer of one network of thirty.", (panel,))

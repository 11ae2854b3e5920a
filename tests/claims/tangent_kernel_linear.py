"""Deep linear orthogonal networks: their tangent kernel in closed form, and how they compare with tanh networks."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from sympy import Expr
from torch.func import jvp, vjp

from derivations import words
from derivations.compiled import evaluate
from derivations.information import layer_kernel as layers
from derivations.information import tangent_kernel as kernels
from derivations.information.layer_kernel import LARGEST_INPUT, LARGEST_READOUT
from derivations.information.tangent_kernel import KERNEL_TOP
from derivations.notation import DEPTH, SAMPLES
from numerics.device import generator
from numerics.ensembles import gaussian_inputs, perceptron
from numerics.perceptrons import Perceptron
from numerics.tangent_kernels import fisher_largest, fisher_matrix, tangent_kernel
from tests.checker.bounds import rounding
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import agree, at_least, at_most, both
from tests.checker.evidence import Bound, Evidence
from tests.checker.figure import Figure, Panel, Series
from tests.claims.critical import Sample, critical_sample
from tests.claims.critical_assumptions import ORTHOGONAL
from tests.claims.settings import array

LINEAR = Assumption("linear activation", "hidden units are linear", lambda sample: sample.net.activation == "linear")


@lru_cache(maxsize=64)
def linear_sample(depth: int, width: int, outputs: int, samples: int, seed: int, variance: float = 1.0) -> Sample:
    """A square linear orthogonal network of scale one with a Gaussian readout, and normal inputs."""
    if depth < 1:
        raise ValueError(f"depth: {depth} given, allowed: an integer >= 1")
    draw = generator(seed, "cpu")
    net = perceptron((width,) * (depth + 1), outputs, draw, activation="linear")
    readout = gaussian_inputs(outputs, width, 1.0 / width, draw)
    net = type(net)(net.weights, net.biases, readout, net.readout_bias, "linear")
    return Sample(net, gaussian_inputs(width, samples, variance, draw), ensemble="orthogonal")


def products_rounding(sample: Sample, scale: float) -> Bound:
    """Rounding of products through all layers."""
    return rounding(scale, sum(sample.net.widths) + sample.net.outputs * sample.x.shape[-1])


kernel = Claim(
    "tangent-kernel.linear-network",
    source="beyond B, on fig. 2",
    says="In a linear orthogonal network every layer adds the same: the kernel is depth times a Kronecker product.",
    formula=layers.linear_kernel,
    lhs=r"\Theta = (\text{samples}) \otimes (\text{outputs})",
    given=(LINEAR, ORTHOGONAL),
    uses=("tangent-kernel.layer-formula",),
    near_misses={
        "biases once instead of in every layer": lambda: {
            **layers.linear_kernel(),
            "samples": DEPTH * (layers.X_0.T * layers.X_0) + layers.ONES * layers.ONES.T,
        },
        "readout counted as a layer": lambda: {
            **layers.linear_kernel(),
            "samples": (DEPTH + 1) * (layers.X_0.T * layers.X_0 + layers.ONES * layers.ONES.T),
        },
    },
    falsifiers={
        "whatever the depth": lambda: {
            **layers.linear_kernel(),
            "samples": layers.X_0.T * layers.X_0 + layers.ONES * layers.ONES.T,
        },
    },
    remark=(
        "The Jacobian from inputs to outputs is the same isometry at every depth, and the kernel still grows with the "
        "depth: singular values of the Jacobian alone cannot tell the curvature."
    ),
)


@kernel.proof(generic_in="depth, widths, samples, outputs, readout")
def orthogonal_factors_drop_out(formula):
    """Put orthogonal networks below and above the layer into the layer formula."""
    return layers.is_linear_kernel(formula)


@kernel.check(grid(depth=[1, 2, 5, 12], width=[6, 20], outputs=[1, 3], samples=[1, 4, 30], seed=[0]))
def two_sweeps(formula, depth, width, outputs, samples, seed):
    """The kernel of a full network against the Kronecker product."""
    sample = linear_sample(depth, width, outputs, samples, seed)
    known = {"X_0": array(sample.x), "one": np.ones((samples, 1)), "W_g": array(sample.net.readout), DEPTH: depth}
    predicted = np.kron(words.evaluate(formula["samples"], known), words.evaluate(formula["outputs"], known))
    observed = array(tangent_kernel(sample.net, sample.x))
    return agree(observed, predicted, bound=products_rounding(sample, float(np.abs(observed).max()) * depth)).on(sample)


largest = Claim(
    "fisher.linear-largest-eigenvalue",
    source="beyond B, on fig. 2",
    says="The largest Fisher eigenvalue of a linear orthogonal network: depth, largest input moment, squared readout.",
    formula=layers.linear_largest,
    lhs=r"\lambda_{\max}(G)",
    given=(LINEAR, ORTHOGONAL),
    uses=("tangent-kernel.linear-network", "tangent-kernel.spectrum"),
    near_misses={"singular value of the readout not squared": lambda: DEPTH * LARGEST_INPUT * LARGEST_READOUT},
    falsifiers={
        "without depth": lambda: LARGEST_INPUT * LARGEST_READOUT**2,
        "summed instead of averaged over samples": lambda: layers.linear_largest() * SAMPLES,
    },
    remark=(
        "$`\\lambda_x`$ is the largest eigenvalue of the second moment of the inputs with a 1 appended for the biases; "
        "it is never below 1. This is the linear entry of the paper's figure 2 in closed form, and the limit of every "
        "critical orthogonal network for $`q^* \\to 0`$."
    ),
)


@largest.proof(generic_in="depth, widths, samples, outputs, readout")
def product_of_eigenvectors(formula):
    """Products of eigenvectors of the two factors are all eigenvectors."""
    return layers.is_linear_eigenvalue(formula)


def linear_value(formula: Expr, sample: Sample) -> float:
    """The formula at a network and its inputs."""
    moments = torch.cat([sample.x, torch.ones_like(sample.x[:1])])
    top = float(torch.linalg.matrix_norm(moments, 2) ** 2 / sample.x.shape[-1])
    singular = float(torch.linalg.matrix_norm(sample.net.readout, 2))
    known = {DEPTH: sample.net.depth, LARGEST_INPUT: top, LARGEST_READOUT: singular, SAMPLES: sample.x.shape[-1]}
    return float(evaluate(formula, known))


@largest.check(grid(depth=[1, 2, 3], width=[4], outputs=[1, 2], samples=[3, 7], seed=[0]))
def dense_fisher_matrix(formula, depth, width, outputs, samples, seed):
    """The largest eigenvalue of the whole Fisher matrix by automatic differentiation."""
    sample = linear_sample(depth, width, outputs, samples, seed)
    observed = float(torch.linalg.eigvalsh(fisher_matrix(sample.net, sample.x))[-1])
    return agree(observed, linear_value(formula, sample), bound=products_rounding(sample, observed * depth)).on(sample)


@largest.check(grid(depth=[10, 50], width=[60], outputs=[1, 10], samples=[5, 40], seed=[1]))
def deep_networks(formula, depth, width, outputs, samples, seed):
    """The same for deep networks, through the kernel."""
    sample = linear_sample(depth, width, outputs, samples, seed)
    observed = float(fisher_largest(sample.net, sample.x))
    return agree(observed, linear_value(formula, sample), bound=products_rounding(sample, observed * depth)).on(sample)


@largest.figure
def over_depth(formula):
    """Largest eigenvalue over depth: line for linear networks, dots for linear and for tanh networks."""
    depths = [1, 2, 4, 8, 16, 32, 64]
    linear = [linear_sample(depth, 40, 3, 12, 2, 0.1) for depth in depths]
    theory = np.array([linear_value(formula, one) for one in linear])
    found = np.array([float(fisher_largest(one.net, one.x)) for one in linear])
    series = [
        Series("linear, closed form", depths, theory),
        Series("linear networks", depths, found, "simulation"),
    ]
    for qstar in (1 / 64, 1 / 2):
        tanh = [critical_sample(qstar, 40, depth, outputs=3, samples=12, seed=2) for depth in depths]
        dots = [float(fisher_largest(one.net, one.x)) for one in tanh]
        series.append(Series(f"tanh, q* = {qstar:g}", depths, dots, "marker"))
    panel = Panel(
        "Isometric at every depth, and yet sharper with depth",
        "depth",
        r"$\lambda_{\max}(G)$",
        tuple(series),
        residual=Series("relative difference", depths, found / theory - 1, "simulation"),
        residual_bound=max(products_rounding(one, one.net.depth).total for one in linear),
        log_x=True,
        log_y=True,
    )
    return Figure("Largest Fisher eigenvalue of orthogonal networks over their depth.", (panel,))


dual = Claim(
    "fisher.largest-through-kernel",
    source="B sec. 3.1 and app. B.4",
    says="The largest Fisher eigenvalue of a network is that of its tangent kernel over the number of samples.",
    formula=kernels.largest_eigenvalue,
    lhs=r"\lambda_{\max}(G)",
    uses=("tangent-kernel.spectrum",),
    near_misses={"summed instead of averaged over samples": lambda: KERNEL_TOP},
    falsifiers={"over the square of the samples": lambda: KERNEL_TOP / SAMPLES**2},
    remark=(
        "A network of the paper's size, depth 200 and width 400, has 32 million hidden parameters and, with 30 samples "
        "and 10 outputs, a kernel of size 300. Its top eigenvector is carried to the parameters, where products with "
        "the Fisher matrix that never form it find the same eigenvalue; an iteration from a random start stays below."
    ),
)


@dual.proof(generic_in="network, parameters, outputs, samples, likelihood")
def eigenvector_carried_over(formula):
    """The Fisher matrix applied to the image of the kernel's eigenvector."""
    return kernels.is_largest_eigenvalue(formula)


@dual.check(grid(width=[12], depth=[4], outputs=[3], samples=[5], qstar=[1 / 64, 1 / 2]))
def small_networks(formula, width, depth, outputs, samples, qstar, seed):
    """A product with the Fisher matrix, forward and backward through the network, at the carried-over eigenvector."""
    return matrix_free(formula, width, depth, outputs, samples, qstar, seed)


@dual.check(grid(width=[400], depth=[200], outputs=[10], samples=[30], qstar=[1 / 64]), slow=True)
def paper_size(formula, width, depth, outputs, samples, qstar, seed):
    """The same at the size of the paper's networks."""
    return matrix_free(formula, width, depth, outputs, samples, qstar, seed)


def matrix_free(formula, width: int, depth: int, outputs: int, samples: int, qstar: float, seed: int) -> Evidence:
    """Rayleigh quotient and residual of the carried-over eigenvector, and Krylov values from a random vector."""
    sample, top, rayleigh, residual, krylov = products(width, depth, outputs, samples, qstar, seed)
    predicted = float(evaluate(formula, {KERNEL_TOP: top, SAMPLES: samples}))
    bound = rounding(rayleigh, 4 * sum(sample.net.widths) + outputs * samples)
    return (
        both(
            agree(rayleigh, predicted, bound=bound),
            at_most(residual, 0.0, bound=rounding(rayleigh, 4 * sum(sample.net.widths) + outputs * samples, 100.0)),
            at_most(krylov, predicted, bound=bound),
            at_least(krylov, 0.9 * predicted, bound=bound),
        )
        .noting(f"{rayleigh:.6g} by products, {krylov:.6g} from a random start")
        .on(sample)
    )


@lru_cache(maxsize=8)
def products(width: int, depth: int, outputs: int, samples: int, qstar: float, seed: int):
    """The kernel's largest eigenvalue and, without the kernel, Rayleigh quotient, residual and Krylov value of G."""
    sample = critical_sample(qstar, width, depth, outputs=outputs, samples=samples, seed=seed)
    net, x = sample.net, sample.x
    values, vectors = torch.linalg.eigh(tangent_kernel(net, x))

    parameters = (*net.weights, *net.biases)

    def run(*parts: torch.Tensor) -> torch.Tensor:
        moved = Perceptron(parts[: net.depth], parts[net.depth :], net.readout, net.readout_bias, net.activation)
        return moved.forward(x).outputs.mT.flatten()

    def pulled(cotangent: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return vjp(run, *parameters)[1](cotangent)

    def applied(v: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return tuple(part / samples for part in pulled(jvp(run, parameters, v)[1]))

    v = _unit(pulled(vectors[:, -1]))
    w = applied(v)
    rayleigh = _inner(v, w)
    residual = sum(float((a - rayleigh * b).square().sum()) for a, b in zip(w, v, strict=True)) ** 0.5
    draw = generator(seed + 1, "cpu")
    u = tuple(torch.randn(part.shape, generator=draw, dtype=torch.float64) for part in parameters)
    for _ in range(10):
        u = applied(_unit(u))
    u = _unit(u)
    return sample, float(values[-1]), rayleigh, residual, _inner(u, applied(u))


def _inner(u: tuple[torch.Tensor, ...], v: tuple[torch.Tensor, ...]) -> float:
    return sum(float((a * b).sum()) for a, b in zip(u, v, strict=True))


def _unit(v: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    length = _inner(v, v) ** 0.5
    return tuple(part / length for part in v)

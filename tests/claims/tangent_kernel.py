"""Tangent kernel and Fisher matrix: one spectrum, seen from the outputs and from the parameters."""

from __future__ import annotations

import numpy as np
from sympy import sqrt

from derivations import words
from derivations.deep_linear.fractional_powers import KAPPA
from derivations.information import layer_kernel as layers
from derivations.information import tangent_kernel as kernels
from derivations.information.tangent_kernel import H, J, R, U
from derivations.notation import SAMPLES
from numerics.perceptrons import output_jacobians
from numerics.tangent_kernels import tangent_kernel
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, both, equal, spectra_match
from tests.checker.evidence import Evidence
from tests.claims.kernel_settings import EQUALLY_MANY, Linearised, fisher, linearised, matrix_rounding
from tests.claims.settings import array

# more parameters than points, fewer, and a layer narrower than its neighbours
SHAPES = grid(depth=[1, 2, 3], widths=["wide"], outputs=[1, 3], samples=[1, 4], seed=[0]) + grid(
    depth=[2], widths=["waist", "narrowing", "widening"], outputs=[3], samples=[13], seed=[0]
)


def value(formula, setting: Linearised, more: dict | None = None) -> np.ndarray:
    """A formula in the Jacobian of a setting, and in ``more``."""
    known = {J: setting.jacobian, H: setting.curvature, R: setting.root, SAMPLES: setting.samples}
    return words.evaluate(formula, {**known, **(more or {})})


layer = Claim(
    "tangent-kernel.layer-formula",
    source="B eq. 18",
    says="Each layer adds to the kernel the overlaps of its inputs, plus one for biases, times those of its Jacobians.",
    formula=layers.layer_kernel,
    lhs=r"\Theta^{(l)}_{ij} = (\text{samples})_{ij} \cdot (\text{outputs})",
    near_misses={
        "biases forgotten": lambda: {**layers.layer_kernel(), "samples": layers.X.T * layers.X},
        "Jacobian of the same sample twice": lambda: {
            **layers.layer_kernel(),
            "outputs": layers.D_I * layers.D_I.T,
        },
    },
    falsifiers={
        "biases twice": lambda: {
            **layers.layer_kernel(),
            "samples": layers.X.T * layers.X + 2 * (layers.ONES * layers.ONES.T),
        },
        "overlaps of the inputs forgotten": lambda: {
            **layers.layer_kernel(),
            "samples": words.expression(layers.ONES * layers.ONES.T),
        },
    },
    remark=(
        "Weights enter through $`x_i \\cdot x_j`$, biases through the 1. So the kernel needs no matrix of the size of "
        "the parameters: one forward and one backward sweep give it, layer by layer."
    ),
)


@layer.proof(generic_in="depth, layer, widths, outputs, samples, activation")
def answer_to_a_pull(formula):
    """Pull at the outputs of one sample, let the layer move along its gradient, look at another sample."""
    return layers.is_layer_kernel(formula)


def summed(formula, setting: Linearised) -> np.ndarray:
    """The layer formula added up over the hidden layers, sample-major."""
    found = setting.net.forward(setting.x)
    ones = np.ones((setting.samples, 1))
    total = 0.0
    for inputs, back in zip(found.x, output_jacobians(found), strict=False):
        samples = words.evaluate(formula["samples"], {"X": array(inputs), "one": ones})
        pair = {"Delta_i": array(back)[:, None], "Delta_j": array(back)[None]}
        outputs = words.evaluate(formula["outputs"], pair)
        total = total + samples[..., None, None] * outputs
    count = setting.jacobian.shape[0]
    return np.broadcast_to(total, (setting.samples,) * 2 + outputs.shape[-2:]).swapaxes(1, 2).reshape(count, count)


@layer.check(
    SHAPES + grid(depth=[2], widths=["wide"], outputs=[2], samples=[3], seed=[1], activation=["relu", "erf", "linear"])
)
def jacobian_by_automatic_differentiation(formula, depth, widths, outputs, samples, seed, activation="tanh"):
    """The kernel of a full network from its Jacobian in all hidden parameters against the sum over its layers."""
    setting = linearised(depth, widths, outputs, samples, seed, activation=activation)
    observed = setting.jacobian @ setting.jacobian.T
    return agree(observed, summed(formula, setting), bound=matrix_rounding(setting)).on(setting)


@layer.check(grid(depth=[2, 3], widths=["wide", "waist"], outputs=[3], samples=[4], seed=[0]))
def sweeps_without_a_jacobian(formula, depth, widths, outputs, samples, seed):
    """The same for the kernel that is built in two sweeps and used for large networks."""
    setting = linearised(depth, widths, outputs, samples, seed)
    observed = array(tangent_kernel(setting.net, setting.x))
    return agree(observed, summed(formula, setting), bound=matrix_rounding(setting)).on(setting)


spectrum = Claim(
    "tangent-kernel.spectrum",
    source="B app. B.4",
    says="The Fisher matrix has the non-zero eigenvalues of the kernel between roots of the likelihood's curvature.",
    formula=kernels.coincidence,
    near_misses={
        "not averaged over the samples": lambda: {**kernels.coincidence(), "kernel": R.T * J * J.T * R},
        "plain kernel for every likelihood": lambda: {**kernels.coincidence(), "kernel": J * J.T / SAMPLES},
        "eigenvector not normalised": lambda: {**kernels.coincidence(), "eigenvector": J.T * R * U / sqrt(KAPPA)},
    },
    equivalent=lambda formula, mutant: {**mutant, "eigenvector": -mutant["eigenvector"]} == formula,
    falsifiers={
        "curvature instead of its root": lambda: {
            **kernels.coincidence(),
            "kernel": H * J * J.T * H / SAMPLES,
        },
        "likelihood ignored": lambda: {**kernels.coincidence(), "Fisher matrix": J.T * J / SAMPLES},
    },
    remark=(
        "Eigenvalues agree with their multiplicities and eigenvectors are carried over by $`\\mathcal{J}^{\\mathsf{T}} "
        "R`$; only zeros differ in number. For a regression $`R = I`$. It is the theorem behind the dual form of "
        "natural gradient descent in the companion paper (claim natural-gradient.dual-form): there "
        "$`M = (\\Sigma_x^{1/2} \\otimes I)J`$ plays the part of $`R^{\\mathsf{T}}\\mathcal{J}`$."
    ),
)


@spectrum.proof(generic_in="network, parameters, outputs, samples, likelihood")
def block_similarity(formula):
    """Two block triangular matrices that an invertible one intertwines share their characteristic polynomial."""
    return kernels.coincides(formula)


CASES = grid(
    depth=[1, 2], widths=["wide"], outputs=[3], samples=[1, 4], likelihood=["identity", "softmax"], seed=[0]
) + grid(depth=[2], widths=["waist", "narrowing"], outputs=[3], samples=[13], likelihood=["softmax"], seed=[1])


@spectrum.check(CASES)
def all_eigenvalues(formula, depth, widths, outputs, samples, likelihood, seed):
    """The Fisher matrix of a full network, and its eigenvalues against those of the small matrix."""
    setting = linearised(depth, widths, outputs, samples, seed, likelihood=likelihood)
    matrix = fisher(setting)
    bound = matrix_rounding(setting)
    small = np.linalg.eigvals(value(formula["kernel"], setting))
    return both(
        agree(matrix, value(formula["Fisher matrix"], setting), bound=bound),
        spectra_match(np.linalg.eigvalsh(matrix), small.real, bound=bound),
    ).on(setting)


@spectrum.check(CASES)
def eigenvectors(formula, depth, widths, outputs, samples, likelihood, seed):
    """Eigenvectors of the small matrix, carried over, are unit eigenvectors of a full network's Fisher matrix."""
    setting = linearised(depth, widths, outputs, samples, seed, likelihood=likelihood)
    matrix = fisher(setting)
    values, vectors = np.linalg.eigh(value(formula["kernel"], setting))
    kept = values > 1e-3 * values[-1]
    columns = vectors.T[kept][..., None]
    v = value(formula["eigenvector"], setting, {U: columns, KAPPA: values[kept]})[..., 0]
    bound = matrix_rounding(setting, condition=float(values[-1] / values[kept].min()))
    one = rounding(1.0, sum(setting.jacobian.shape), float(values[-1] / values[kept].min()))
    return both(
        agree(v @ matrix, values[kept][:, None] * v, bound=bound), agree((v**2).sum(-1), np.ones(len(v)), bound=one)
    ).on(setting)


null = Claim(
    "tangent-kernel.zero-eigenvalues",
    source="B app. B.4",
    says="Fisher matrix and kernel have as many zero eigenvalues as parameters, or points, exceed their common rank.",
    formula=kernels.zeros,
    lhs=r"\dim \ker",
    uses=("tangent-kernel.spectrum",),
    near_misses={
        "as many in both": lambda: {**kernels.zeros(), "kernel": kernels.PARAMETERS - kernels.RANK},
        "full rank taken for granted": lambda: {
            "Fisher matrix": kernels.PARAMETERS - kernels.POINTS,
            "kernel": 0 * kernels.POINTS,
        },
    },
    falsifiers={"none": lambda: {name: 0 * kernels.POINTS for name in kernels.zeros()}},
    remark=(
        "With more parameters than points the Fisher matrix is singular and its smallest eigenvalue is zero: every "
        "condition number and every smallest eigenvalue in the paper's discussion is one of the kernel."
    ),
)


@null.proof(generic_in="network, parameters, outputs, samples, rank")
def powers_of_the_variable(formula):
    """Compare the powers of the variable in the two characteristic polynomials."""
    return kernels.counts_zeros(formula)


def _zeros(matrix: np.ndarray) -> int:
    values = np.linalg.eigvalsh(matrix)
    return int((values < 1e-10 * values[-1]).sum())


@null.check(SHAPES + grid(depth=[2], widths=["waist"], outputs=[3], samples=[4], seed=[2]))
def counted(formula, depth, widths, outputs, samples, seed):
    """Eigenvalues at zero of both matrices of a full network, counted; the rank from singular values."""
    setting = linearised(depth, widths, outputs, samples, seed)
    points, parameters = setting.jacobian.shape
    singular = np.linalg.svd(setting.jacobian, compute_uv=False)
    rank = int((singular > 1e-5 * singular[0]).sum())
    at = {kernels.POINTS: points, kernels.PARAMETERS: parameters, kernels.RANK: rank}
    predicted = [int(formula[name].subs(at)) for name in kernels.zeros()]
    kernel = setting.jacobian @ setting.jacobian.T
    return equal([_zeros(fisher(setting)), _zeros(kernel)], predicted).on(setting)


whole = Claim(
    "tangent-kernel.same-spectrum",
    source="B app. B.4",
    says="In a regression Fisher matrix, summed over the samples, and kernel have the same spectrum, zeros included.",
    formula=lambda: {"Fisher matrix": J.T * J, "kernel": J * J.T},
    conditions=(EQUALLY_MANY,),
    uses=("tangent-kernel.spectrum",),
    near_misses={
        "Fisher matrix averaged over the samples": lambda: {"Fisher matrix": J.T * J / SAMPLES, "kernel": J * J.T}
    },
    falsifiers={"squared kernel": lambda: {"Fisher matrix": J.T * J, "kernel": J * J.T * J * J.T}},
    remark=(
        "The spectra differ in three ways that the text passes over: in the number of zeros, by the number of samples "
        "(eq. 48 sums where eq. 6 averages), and for other likelihoods by the curvature of the likelihood. All three "
        "are harmless for the largest eigenvalue, none for the smallest."
    ),
)


def _whole_spectra(formula, depth: int, widths, outputs: int, samples: int, seed: int) -> Evidence:
    setting = linearised(depth, widths, outputs, samples, seed)
    spectra = [np.linalg.eigvalsh(value(formula[name], setting)) for name in ("Fisher matrix", "kernel")]
    summed_up = setting.samples * np.linalg.eigvalsh(fisher(setting))
    bound = matrix_rounding(setting)
    return both(agree(summed_up, spectra[0], bound=bound), agree(*spectra, bound=bound)).on(setting)


@whole.check(
    grid(depth=[2], widths=[(2, 2, 2)], outputs=[2], samples=[6], seed=[0, 1])
    + grid(depth=[1], widths=[(2, 3)], outputs=[3], samples=[3], seed=[0])
)
def square_jacobian(formula, depth, widths, outputs, samples, seed):
    """Sorted eigenvalues of both matrices where the Jacobian of a full network is square."""
    return _whole_spectra(formula, depth, widths, outputs, samples, seed)


@whole.without(EQUALLY_MANY, grid(depth=[2], widths=[(2, 2, 2)], outputs=[2], samples=[4, 9], seed=[0]))
def other_sizes(formula, depth, widths, outputs, samples, seed):
    """Sorted eigenvalues of both matrices with more parameters than points, and with fewer."""
    return _whole_spectra(formula, depth, widths, outputs, samples, seed)

"""The spectrum of the Fisher matrix of wide critical networks from two scalar recursions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from derivations.compiled import evaluate
from derivations.information import wide_limit as theory
from derivations.information.curvature_bound_printed import KAPPA_1, KAPPA_2
from derivations.information.overlaps import course
from derivations.information.wide_limit import GAIN, MEAN_ACTIVATION, OUTPUTS, OVERLAP
from derivations.notation import SAMPLES, WIDTH
from numerics.device import generator
from numerics.ensembles import gaussian_inputs, with_mean_square
from numerics.tangent_kernels import fisher_spectrum, tangent_kernel
from tests.checker.bounds import sampling
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, both, equal
from tests.checker.figure import Figure, Panel, Series
from tests.claims.critical import Sample, critical_sample, point
from tests.claims.critical_assumptions import CRITICAL
from tests.claims.settings import array

NETS = 400
WIDE_NETS = 100
OUTPUTS_EACH = 12
FALSE_ALARM = 1e-4
CORRELATION = 0.6


@dataclass(frozen=True, slots=True, eq=False)
class Kernels:
    """Tangent kernels (S, K, T, T) of the K outputs of critical networks, and overlap and gain of every layer."""

    sample: Sample
    kernels: np.ndarray
    overlaps: np.ndarray
    gains: np.ndarray

    def predicted(self, formula) -> np.ndarray:
        """The kernel (T, T): a share summed over layers; odd activations have mean zero, a rectifier sqrt(q / 2 pi)."""
        q, odd = self.sample.qstar, self.sample.net.activation != "relu"
        mean = 0.0 if odd else (q / (2 * np.pi)) ** 0.5
        letters = {OVERLAP: self.overlaps, GAIN: self.gains, MEAN_ACTIVATION: mean, WIDTH: self.sample.net.widths[0]}
        return np.broadcast_to(evaluate(formula, letters), self.gains.shape).sum(0)


@lru_cache(maxsize=64)
def kernels(
    activation: str, ensemble: str, depth: int, width: int, qstar: float, samples: int, nets: int, seed: int
) -> Kernels:
    """Networks of equal widths on inputs of one length with a common part: all pairs are about 0.6 correlated."""
    at, draw = point(activation, qstar), generator(seed + 1)
    drawn = critical_sample(
        qstar,
        width,
        depth,
        outputs=OUTPUTS_EACH,
        samples=1,
        seed=seed,
        ensemble=ensemble,
        activation=activation,
        seeds=nets,
        readout=at.sigma_w,
    )
    own = gaussian_inputs(width, samples, 1 - CORRELATION, draw)
    x = with_mean_square(own + gaussian_inputs(width, 1, CORRELATION, draw), at.second_moment)
    sample = Sample(drawn.net, x, qstar, ensemble)
    overlaps, gains = course(activation, qstar, depth, array(x.mT @ x) / width)
    whole = tangent_kernel(drawn.net, x).unflatten(-1, (samples, OUTPUTS_EACH)).unflatten(-3, (samples, OUTPUTS_EACH))
    return Kernels(sample, array(whole.diagonal(dim1=-3, dim2=-1).movedim(-1, 1)), overlaps, gains)


def extrapolated(narrow: np.ndarray, wide: np.ndarray, narrow_mean: np.ndarray, wide_mean: np.ndarray):
    """Means over networks, relative to their limits, with 1/N removed by two widths, N and 2 N; and the deviation.

    Outputs of one network share its layers: they are averaged first, and networks are what counts as a sample.
    """
    narrow, wide = narrow.mean(1), wide.mean(1)
    ratio = 2 * (wide / wide_mean).mean(0) - (narrow / narrow_mean).mean(0)
    spread = np.sqrt(4 * (wide / wide_mean).var(0, ddof=1) + (narrow / narrow_mean).var(0, ddof=1))
    return ratio, spread


@lru_cache(maxsize=64)
def entries(found: Kernels) -> np.ndarray:
    """The mean entries on and off the diagonal of every network and output, (S, K, 2)."""
    return kinds(found.kernels)


def kinds(kernel: np.ndarray) -> np.ndarray:
    """The mean entry on and off the diagonal, (..., 2)."""
    t = kernel.shape[-1]
    same = kernel.diagonal(0, -2, -1).mean(-1)
    return np.stack([same, (kernel.sum((-2, -1)) - t * same) / (t * (t - 1))], -1)


kernel = Claim(
    "wide-limit.kernel",
    source="beyond B",
    says="The tangent kernel of wide critical networks sums over layers: one plus the width times the overlap of the "
    "layer's inputs, times the product of slopes behind it, alike for Gaussian and orthogonal weights.",
    formula=theory.kernel_share,
    lhs=r"\Theta_{ij}",
    relation=r"= \sum_{\ell=1}^{L}",
    given=(CRITICAL,),
    near_misses={"mean activation instead of the overlap": lambda: (1 + WIDTH * MEAN_ACTIVATION**2) * GAIN},
    falsifiers={
        "weights alone": lambda: WIDTH * OVERLAP * GAIN,
        "biases alone": lambda: GAIN,
        "slopes without correlation": lambda: 1 + WIDTH * OVERLAP,
    },
    remark=(
        "Overlap and slopes follow from scalar recursions, so the curvature is tractable for networks of any size. "
        "For odd activations the mean activation vanishes; what carries the dependence on $`q^*`$ is its mean square. "
        "The weights' distribution enters by its second moments alone: singular values of the Jacobian do not appear."
    ),
)


@kernel.proof(instances="linear networks of any depth and widths, Gaussian or orthogonal")
def layers_averaged_one_at_a_time(formula):
    """Average the kernel over the layers of a linear network."""
    return theory.is_linear_kernel(formula)


_GRID = (
    grid(activation=["tanh"], ensemble=["orthogonal"], depth=[4], width=[24], qstar=[0.5], samples=[3], seed=[0])
    + grid(activation=["tanh"], ensemble=["gaussian"], depth=[3], width=[24], qstar=[1 / 64], samples=[3], seed=[0])
    + grid(activation=["erf"], ensemble=["gaussian"], depth=[2], width=[24], qstar=[0.5], samples=[3], seed=[0])
    + grid(activation=["relu"], ensemble=["orthogonal"], depth=[1], width=[48], qstar=[1.0], samples=[3], seed=[0])
)


@kernel.check(_GRID)
def mean_over_networks(formula, width, **case):
    """Mean kernels of full networks of two widths, extrapolated to infinite width, entries on and off the diagonal."""
    narrow, wide = (kernels(**case, width=n, nets=NETS) for n in (width, 2 * width))
    limits = [kinds(one.predicted(formula)) for one in (narrow, wide)]
    ratio, spread = extrapolated(entries(narrow), entries(wide), *limits)
    budget = sampling(float(spread.max()), NETS, FALSE_ALARM, comparisons=2)
    return agree(ratio, np.ones(2), bound=budget).on(wide.sample)


spectrum = Claim(
    "wide-limit.extreme-eigenvalues",
    source="beyond B",
    says="For equally correlated inputs and one output the Fisher matrix of a wide network has one large eigenvalue "
    "and equal small ones.",
    formula=theory.extreme_eigenvalues,
    lhs=r"\lambda(G)",
    given=(CRITICAL,),
    near_misses={
        "one more pair of samples": lambda: {
            **theory.extreme_eigenvalues(),
            "largest": (KAPPA_1 + SAMPLES * KAPPA_2) / SAMPLES,
        }
    },
    falsifiers={
        "not divided by the number of samples": lambda: {
            name: SAMPLES * value for name, value in theory.extreme_eigenvalues().items()
        },
        "bulk at the diagonal": lambda: {**theory.extreme_eigenvalues(), "others": KAPPA_1 / SAMPLES},
    },
    remark=(
        "With the kernel of wide networks this predicts the largest eigenvalue from two scalar recursions. It does "
        "not depend on the ensemble, although the Jacobian's largest singular value of Gaussian networks exceeds that "
        "of orthogonal ones by a factor that grows with depth: what connects the two is the finite width."
    ),
    uses=("wide-limit.kernel",),
)


@spectrum.proof(generic_in="samples")
def constant_and_other_vectors(formula):
    """Apply the kernel to the constant vector and to the others."""
    return theory.is_extreme_eigenvalues(formula)


def levels(formula, found: Kernels) -> np.ndarray:
    """The largest eigenvalue and the mean of the others as predicted, (2,)."""
    same, other = kinds(found.predicted(theory.kernel_share()))
    values = {KAPPA_1: same, KAPPA_2: other, SAMPLES: found.kernels.shape[-1]}
    return np.array([float(evaluate(formula[name], values)) for name in ("largest", "others")])


@lru_cache(maxsize=64)
def eigenvalues(found: Kernels) -> np.ndarray:
    """The largest eigenvalue for every network and output alone, and the mean of the others, (S, K, 2)."""
    values = np.linalg.eigvalsh(found.kernels) / found.kernels.shape[-1]
    return np.stack([values[..., -1], values[..., :-1].mean(-1)], -1)


def _spectrum(formula, width, nets, case):
    narrow, wide = (kernels(**case, width=n, nets=nets) for n in (width, 2 * width))
    ratio, spread = extrapolated(eigenvalues(narrow), eigenvalues(wide), levels(formula, narrow), levels(formula, wide))
    pieces = [
        agree(r, 1.0, bound=sampling(float(s), nets, FALSE_ALARM, comparisons=2))
        for r, s in zip(ratio, spread, strict=True)
    ]
    return both(*pieces).on(wide.sample)


@spectrum.check(_GRID)
def spectrum_over_networks(formula, width, **case):
    """Eigenvalues of full networks of two widths, extrapolated to infinite width."""
    return _spectrum(formula, width, NETS, case)


@spectrum.check(
    grid(
        activation=["tanh"],
        ensemble=["orthogonal", "gaussian"],
        depth=[4],
        width=[200],
        qstar=[1 / 64, 0.5],
        samples=[6],
        seed=[0],
    ),
    slow=True,
)
def spectrum_over_wide_networks(formula, width, **case):
    """The same for four layers of 200 and 400 neurons, 100 networks each."""
    return _spectrum(formula, width, WIDE_NETS, case)


outlying = Claim(
    "wide-limit.outliers",
    source="beyond B",
    says="Where samples overlap enough, as many eigenvalues of the Fisher matrix of a wide network stand above the "
    "bulk as it has outputs.",
    formula=theory.outliers,
    lhs=r"\#\{\text{outliers}\}",
    given=(CRITICAL,),
    near_misses={"one more": lambda: OUTPUTS + 1},
    falsifiers={"as many as samples": lambda: SAMPLES, "a single one": lambda: OUTPUTS**0},
    remark="Outputs of a wide network share one kernel; its top eigenvector, nearly constant over samples, comes once "
    "for each of them. The bias and the correlations that grow over depth make the overlap; for small pre-activations "
    "and very long, uncorrelated inputs nothing stands out.",
    uses=("wide-limit.kernel",),
)


@outlying.proof(instances="kernels alike for all outputs, as in the limit of wide layers")
def rank_of_what_is_constant(formula):
    """Count the directions that are constant over samples."""
    return theory.is_outliers(formula)


@lru_cache(maxsize=64)
def ranked(
    outputs: int, samples: int, width: int, depth: int, ensemble: str, qstar: float, seed: int
) -> tuple[Sample, np.ndarray]:
    """A critical network of many outputs and the eigenvalues of its Fisher matrix, largest first."""
    sample = critical_sample(qstar, width, depth, outputs=outputs, samples=samples, seed=seed, ensemble=ensemble)
    return sample, array(fisher_spectrum(sample.net, sample.x)).ravel()[::-1]


@outlying.check(
    grid(outputs=[1, 2, 5, 10], samples=[40], width=[100], depth=[10], ensemble=["orthogonal"], qstar=[0.5], seed=[0])
    + grid(outputs=[2], samples=[40], width=[200], depth=[10], ensemble=["gaussian"], qstar=[0.5], seed=[0])
)
def largest_gap(formula, outputs, samples, **case):
    """Where neighbouring eigenvalues of a full network differ by the largest factor, in the upper half."""
    sample, values = ranked(outputs, samples, **case)
    upper = values[: len(values) // 2]
    count = int(np.argmax(upper[:-1] / upper[1:])) + 1
    return equal([count], [int(evaluate(formula, {OUTPUTS: outputs, SAMPLES: samples}))]).on(sample)


@outlying.figure
def outliers_and_bulk(formula):
    """Eigenvalues by rank for several numbers of outputs."""
    series = []
    for outputs in (1, 5, 10):
        _, values = ranked(outputs, 40, 100, 10, "orthogonal", 0.5, 1)
        ranks = np.arange(1, len(values) + 1)
        series.append(Series(f"{outputs} outputs", ranks[:60], values[:60], "simulation"))
        count = int(evaluate(formula, {OUTPUTS: outputs, SAMPLES: 40}))
        edge = (values[count - 1] * values[count]) ** 0.5
        series.append(Series(f"{outputs} outputs: gap predicted", [count + 0.5], [edge], "marker"))
    panel = Panel(
        "tanh, ten layers of 100 neurons, 40 inputs",
        "rank",
        r"eigenvalue of $G$",
        tuple(series),
        log_x=True,
        log_y=True,
    )
    return Figure("Outliers, one for each output, and a bulk below.", (panel,))

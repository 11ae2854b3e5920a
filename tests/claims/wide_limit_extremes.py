"""Largest and smallest eigenvalues, both ensembles, and the limit of small pre-activations."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from sympy import sqrt

from derivations.compiled import evaluate
from derivations.decide import all_of
from derivations.information import curvature_bound
from derivations.information import wide_limit as theory
from derivations.information.curvature_bound import AUGMENTED, MOMENT, NORM
from derivations.information.wide_limit import EDGE_GAUSSIAN, EDGE_ORTHOGONAL, ENTRIES, SMALLEST, TRACE
from derivations.notation import DEPTH
from numerics.jacobians import largest_singular_value
from numerics.tangent_kernels import fisher_largest, fisher_spectrum
from tests.checker.bounds import rounding, sampling
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, at_most
from tests.checker.figure import Figure, Panel, Series
from tests.claims.critical import Sample, critical_sample
from tests.claims.critical_assumptions import CRITICAL, ORTHOGONAL
from tests.claims.settings import array
from tests.claims.wide_limit import FALSE_ALARM, NETS, eigenvalues, kernels

ceiling = Claim(
    "wide-limit.ceiling",
    source="beyond B",
    says="At a given trace every unit that the smallest eigenvalue gains lowers the ceiling of the largest one by the "
    "number of the other eigenvalues; equally correlated inputs reach the ceiling.",
    formula=theory.ceiling,
    lhs=r"\lambda_{\max}",
    relation=r"\le",
    near_misses={"one eigenvalue more": lambda: TRACE - ENTRIES * SMALLEST},
    falsifiers={
        "inverse": theory.inverse_relation,
        "mean in place of the trace": lambda: TRACE / ENTRIES + (ENTRIES - 1) * SMALLEST,
    },
    remark="Affine, not inverse, and at a fixed trace alone. Along the critical line the trace grows with $`q^*`$ on "
    "average, and with it both eigenvalues can grow, as in the figure.",
)

inverse = Claim(
    "wide-limit.inverse-extremes-as-printed",
    source="B section 1",
    says="The largest and the smallest eigenvalue are inversely related.",
    formula=theory.inverse_relation,
    control=theory.ceiling,
    corrected_by=("wide-limit.ceiling",),
    lhs=r"\lambda_{\max}",
    near_misses={"one eigenvalue more": lambda: TRACE - ENTRIES * SMALLEST},
    falsifiers={"trace": lambda: TRACE},
    mutate=False,
    remark="Two samples and one output decide: the eigenvalues add up to the trace. With more of them the relation is "
    "an inequality, and two initialisations do not share its constant.",
)


@ceiling.proof(generic_in="number of eigenvalues, trace")
def others_are_no_smaller(formula):
    """Bound all other eigenvalues by the smallest."""
    return theory.is_ceiling(formula)


@inverse.proof(instances="two inputs")
def two_inputs(formula):
    """A kernel with two inputs."""
    return theory.is_not_inverse(formula)


@lru_cache(maxsize=64)
def extremes(
    activation: str, ensemble: str, depth: int, width: int, qstar: float, samples: int, outputs: int, seed: int
) -> tuple[Sample, np.ndarray]:
    """A critical network and the eigenvalues of its Fisher matrix that are not zero by rank, ascending."""
    sample = critical_sample(
        qstar, width, depth, outputs=outputs, samples=samples, seed=seed, ensemble=ensemble, activation=activation
    )
    return sample, array(fisher_spectrum(sample.net, sample.x))


def _compare(formula, case, comparator):
    sample, values = extremes(**case)
    letters = {TRACE: values.sum(), SMALLEST: values[0], ENTRIES: len(values)}
    bound = rounding(float(values.sum()), sample.net.widths[1] + len(values) ** 2)
    return comparator(values[-1], evaluate(formula, letters), bound=bound).on(sample)


_SHAPE = {"depth": [3], "width": [16], "qstar": [1 / 64, 0.5, 8.0], "seed": [0]}
_PAIR = grid(activation=["tanh"], ensemble=["orthogonal", "gaussian"], **_SHAPE, samples=[2], outputs=[1])


@ceiling.check(
    grid(activation=["tanh", "relu"], ensemble=["orthogonal", "gaussian"], **_SHAPE, samples=[5], outputs=[1, 3])
)
def spectra_of_networks(formula, **case):
    """Fisher spectra of full networks below the ceiling."""
    return _compare(formula, case, at_most)


@ceiling.check(_PAIR)
@inverse.check(_PAIR)
def two_samples(formula, **case):
    """With two samples and one output the ceiling is reached."""
    return _compare(formula, case, agree)


@ceiling.figure
def along_the_critical_line(formula):
    """Largest against smallest eigenvalue of networks with many inputs along the critical line, and their ceilings."""
    smallest, largest, tops = [], [], []
    for qstar in np.geomspace(1e-3, 0.5, 8):
        _, values = extremes("tanh", "orthogonal", 20, 100, float(qstar), 20, 1, 1)
        letters = {TRACE: values.sum(), SMALLEST: values[0], ENTRIES: len(values)}
        smallest.append(values[0])
        largest.append(values[-1])
        tops.append(float(evaluate(formula, letters)))
    panel = Panel(
        "tanh networks, $q^*$ from 0.001 to 0.5",
        r"$\lambda_{\min}$",
        r"$\lambda_{\max}$",
        (Series("ceiling", smallest, tops, "bound"), Series("networks", smallest, largest, "simulation")),
        log_x=True,
        log_y=True,
    )
    return Figure(
        "One draw of networks along the critical line, 20 layers of 100 neurons: its largest and its smallest "
        "eigenvalue grow together.",
        (panel,),
    )


small = Claim(
    "wide-limit.small-lengths",
    source="beyond B",
    says="As pre-activations shrink at a given length of the inputs, the largest eigenvalue of a critical orthogonal "
    "network tends to the number of layers, times the second moments of inputs and bias, times the readout's squared "
    "spectral norm.",
    formula=curvature_bound.linear_value,
    lhs=r"\lim_{q^* \to 0} \lambda_{\max}(G)",
    given=(CRITICAL, ORTHOGONAL),
    uses=("curvature-bound.bias-as-input",),
    near_misses={"the readout counted as a layer": lambda: (DEPTH + 1) * AUGMENTED * NORM**2},
    falsifiers={
        "bias and inputs apart": lambda: DEPTH * (1 + MOMENT) * NORM**2,
        "inputs without the bias": lambda: DEPTH * MOMENT * NORM**2,
    },
    remark="The deviation vanishes like $`q^*`$. So the most isometric networks have the curvature of a linear "
    "network, proportional to their depth, although the singular values of all their Jacobians are near one.",
)


@small.proof(instances="the limit itself, orthogonal networks without nonlinearity")
def linear_networks_attain_the_bound(formula):
    """The bound with the bias as an input holds for every layer, and isometric linear networks attain it."""
    share = formula / DEPTH
    return all_of(curvature_bound.is_bias_as_input(share), curvature_bound.is_attained_on_data(share))


@lru_cache(maxsize=32)
def lengths(
    width: int, depth: int, samples: int, product: float, nets: int, seed: int
) -> tuple[Sample, np.ndarray, dict]:
    """Networks with N q^* of a given value: largest eigenvalues (S,) and letters."""
    sample = critical_sample(
        product / width, width, depth, outputs=3, samples=samples, seed=seed, readout=1.7, seeds=nets
    )
    ones = torch.cat([sample.x, torch.ones_like(sample.x[:1])])
    moments = [float(torch.linalg.matrix_norm(x, 2)) ** 2 / samples for x in (ones, sample.x)]
    norm = array(torch.linalg.matrix_norm(sample.net.readout, 2))
    letters = {AUGMENTED: moments[0], MOMENT: moments[1], NORM: norm, DEPTH: depth}
    return sample, array(fisher_largest(sample.net, sample.x)), letters


def _at_zero(formula, width, nets, **case):
    """Eigenvalue over formula at three widths, extrapolated to q^* = 0 through two orders, for every network apart."""
    found = [lengths(n, **case, nets=nets) for n in (width, 2 * width, 4 * width)]
    ratios = [tops / evaluate(formula, letters) for _, tops, letters in found]
    shares = (1 / 3, -2.0, 8 / 3)
    mean = sum(share * ratio.mean() for share, ratio in zip(shares, ratios, strict=True))
    spread = sum(share**2 * ratio.var(ddof=1) for share, ratio in zip(shares, ratios, strict=True)) ** 0.5
    return agree(mean, 1.0, bound=sampling(float(spread), nets, FALSE_ALARM)).on(found[-1][0])


@small.check(grid(width=[48], depth=[1, 3], samples=[1, 4], product=[0.25], nets=[20], seed=[0]))
def networks_of_growing_width(formula, **case):
    """Networks whose width grows as their pre-activations shrink, so that the inputs keep their length."""
    return _at_zero(formula, **case)


@small.check(grid(width=[100], depth=[50], samples=[20], product=[0.1], nets=[16], seed=[0]), slow=True)
def deep_networks_of_growing_width(formula, **case):
    """The same for 50 layers of up to 400 neurons."""
    return _at_zero(formula, **case)


ensembles = Claim(
    "wide-limit.ensemble-independence",
    source="beyond B",
    says="For wide layers the largest eigenvalue is the same with Gaussian and with orthogonal weights, although the "
    "largest singular values of their Jacobians differ.",
    formula=theory.ensemble_ratio,
    lhs=r"\lambda_{\max}(G)_{\text{Gaussian}} / \lambda_{\max}(G)_{\text{orthogonal}}",
    given=(CRITICAL,),
    uses=("wide-limit.kernel",),
    near_misses={"ratio of the Jacobians' largest singular values": lambda: sqrt(theory.jacobian_ratio())},
    falsifiers={"ratio of their squares": theory.jacobian_ratio},
    mutate=False,
    remark="At fixed data and outputs no bound that follows the Jacobian's singular values can be tight for both "
    "ensembles. What connects the curvature with them is the finite width, and the common dependence on $`q^*`$.",
)


@ensembles.proof(instances="linear networks, means over weights")
def second_moments_alone(formula):
    """The mean kernel of linear networks, and the edges of their Jacobians' spectra."""
    return theory.is_ensemble_ratio(formula)


@lru_cache(maxsize=32)
def edge(ensemble: str, depth: int, width: int, qstar: float, seed: int) -> float:
    """The mean squared largest singular value of the Jacobian over 20 networks and two inputs."""
    sample = critical_sample(qstar, width, depth, outputs=1, samples=2, seed=seed, ensemble=ensemble, seeds=20)
    return float(largest_singular_value(sample.found).square().mean())


@ensembles.check(grid(depth=[1, 2], width=[32], qstar=[0.5], samples=[3], seed=[0]))
def both_ensembles(formula, depth, width, qstar, samples, seed):
    """Largest eigenvalues of both ensembles, extrapolated to infinite width, and their ratio."""
    means, errors = [], []
    for ensemble in ("gaussian", "orthogonal"):
        narrow, wide = (kernels("tanh", ensemble, depth, n, qstar, samples, NETS, seed) for n in (width, 2 * width))
        # divided by the width, for the weights' share grows with it
        a, b = (eigenvalues(one)[..., 0].mean(1) / n for one, n in ((narrow, width), (wide, 2 * width)))
        means.append(2 * b.mean() - a.mean())
        errors.append((4 * b.var(ddof=1) + a.var(ddof=1)) ** 0.5 / means[-1])
    names = zip((EDGE_GAUSSIAN, EDGE_ORTHOGONAL), ("gaussian", "orthogonal"), strict=True)
    letters = {symbol: edge(ensemble, depth, 2 * width, qstar, seed) for symbol, ensemble in names}
    budget = sampling(float(np.hypot(*errors)), NETS, FALSE_ALARM)
    return agree(means[0] / means[1], evaluate(formula, letters), bound=budget).on(wide.sample)

"""The Fisher matrix as the local form of the divergence, and its normalisation."""

from __future__ import annotations

from functools import lru_cache

import torch
from sympy import Integer, Rational
from torch.func import grad, jvp

from derivations.compiled import evaluate
from derivations.information import fisher
from derivations.information.fisher import CUBE, MIXED, SPEED
from derivations.notation import SAMPLES
from numerics.device import generator
from numerics.frames import normal
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree
from tests.claims.critical_assumptions import SINGLE_INPUT
from tests.claims.fisher_definition import KINDS
from tests.claims.fisher_networks import Labelled, labelled
from tests.claims.loss import Widths
from tests.claims.settings import array

divergence = Claim(
    "fisher.local-divergence",
    source="B sec. 3",
    says="Half the Fisher form is the divergence between a model and its neighbour to second order; the third order is "
    "given by score moments too.",
    formula=fisher.divergence,
    lhs=r"\mathrm{KL}(p_\theta \,\Vert\, p_{\theta + t v}) \text{ at } t^2,\ t^3",
    uses=("fisher.expected-hessian",),
    near_misses={
        "without the half": lambda: (SPEED, fisher.divergence()[1]),
        "third order of the reversed divergence": lambda: (SPEED / 2, MIXED / 2 + CUBE / 3),
    },
    falsifiers={"no third order": lambda: (SPEED / 2, 0 * CUBE)},
    remark=(
        "The divergence is not symmetric, and it is the third order where the two directions part: reversed it is "
        r"$`(3 M_{12} + 2 M_{111}) / 6`$. The Fisher form alone predicts the divergence of finite steps only as far as "
        "this term is small."
    ),
)


@divergence.proof(generic_in="labels, likelihood, the network's function, direction")
def derivatives_of_the_mean(formula):
    """Differentiate the mean log-likelihood three times; the derivatives of all probabilities sum to zero."""
    return fisher.is_divergence(formula)


@lru_cache(maxsize=64)
def along(depth: int, widths: Widths, likelihood: str, seed: int) -> tuple[Labelled, list[float], dict[str, float]]:
    """Derivatives 2 and 3 of the divergence over 2! and 3!, and the moments of the score, along a random direction."""
    found = labelled(depth, widths, likelihood, seed)
    v = normal((len(found.flat),), generator(seed + 5))
    start, at = found.sample.found.outputs, found.logs(found.flat)

    def moved(t: torch.Tensor) -> torch.Tensor:
        return found.logs(found.flat + t * v)

    def divergence_at(t: torch.Tensor) -> torch.Tensor:
        if likelihood == "softmax":
            return (found.weights * (at - moved(t))).sum() / start.shape[-1]
        outputs = found.sample.net.replace(found.flat + t * v, found.which).forward(found.sample.x).outputs
        return (outputs - start).square().sum() / (2 * start.shape[-1])

    origin = torch.zeros((), dtype=start.dtype)
    twice = grad(grad(divergence_at))
    observed = [float(twice(origin)) / 2, float(grad(twice)(origin)) / 6]

    def speed(t: torch.Tensor) -> torch.Tensor:
        return jvp(moved, (t,), (torch.ones_like(t),))[1]

    one, two = jvp(speed, (origin,), (torch.ones_like(origin),))

    def mean(values: torch.Tensor) -> float:
        return float((found.weights * values).sum() / start.shape[-1])

    return found, observed, {"F": mean(one**2), "M_12": mean(one * two), "M_111": mean(one**3)}


@divergence.check(
    grid(depth=[1, 3], widths=["wide"], likelihood=["softmax"], seed=[0])
    + grid(depth=[2], widths=["narrowing"], likelihood=KINDS, seed=[1])
)
def divergence_of_networks(formula, depth, widths, likelihood, seed):
    """Derivatives of the exact divergence of full networks along a line against moments of their scores."""
    found, observed, moments = along(depth, widths, likelihood, seed)
    bound = found.rounding(max(abs(value) for value in (*observed, *moments.values())))
    return agree(observed, [float(evaluate(part, moments)) for part in formula], bound=bound).on(found.sample)


normalisation = Claim(
    "fisher.sum-over-inputs",
    source="B eq. 48",
    says="For Gaussian labels the Fisher matrix of a data set is the sum of the squared Jacobians of its inputs.",
    formula=fisher.sample_sum,
    lhs=r"G = \sum_i c\, J_i^{\mathsf T} J_i, \quad c",
    conditions=(SINGLE_INPUT,),
    uses=("fisher.score-products",),
    near_misses={"half the sum": lambda: Rational(1, 2)},
    falsifiers={"twice the number of inputs": lambda: Integer(2) * SAMPLES},
    remark=(
        "Equation 6 is a mean, with $`1/|D|`$ in front; the sum of equation 48 is another normalisation of the matrix, "
        "not of its shape. Eigenvalues read from one may not be compared with bounds on the other."
    ),
)


def normalised(formula, depth, widths, samples, seed):
    """The mean of score products over a data set against a weighted sum of squared Jacobians."""
    found = labelled(depth, widths, "identity", seed, samples=samples)
    total = torch.einsum("tka,tkb->ab", found.jacobian, found.jacobian)
    predicted = float(evaluate(formula, {SAMPLES: samples})) * array(total)
    observed = found.fisher.mean(0)
    return agree(observed, predicted, bound=found.rounding(float(total.abs().max()))).on(found.sample)


@normalisation.check(grid(depth=[1, 2], widths=["wide", "narrowing"], samples=[1], seed=[0]))
def one_input(formula, depth, widths, samples, seed):
    """Score products of full networks at a single input."""
    return normalised(formula, depth, widths, samples, seed)


@normalisation.without(SINGLE_INPUT, grid(depth=[2], widths=["wide"], samples=[2, 5], seed=[0]))
def several_inputs(formula, depth, widths, samples, seed):
    """Score products of full networks, averaged over several inputs."""
    return normalised(formula, depth, widths, samples, seed)

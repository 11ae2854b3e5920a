"""The critical line: where it is for erf and tanh, and that it can be reached."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from sympy import Rational, asin, pi, sqrt

from derivations.compiled import evaluate
from derivations.information import critical_forms
from derivations.information.critical_forms import INPUT_LENGTH, MU_K, ORDER, SECOND_MOMENT, SPREAD
from derivations.information.critical_line import critical_balls
from derivations.notation import MU_1, QSTAR, SIGMA_B, SIGMA_W
from numerics.device import generator
from numerics.ensembles import gaussian_inputs, perceptron
from tests.checker.bounds import remainder, rounding, student
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, both
from tests.claims.critical import Sample, critical_sample
from tests.claims.quadrature import NODES, slope_moments

FALSE_ALARM = 1e-6
LENGTHS = (1e-3, 1 / 64, 0.5, 3.0, 8.0)


@lru_cache(maxsize=64)
def statistics(activation: str, q: float, width: int, nets: int, seed: int):
    """Layers with variances from a quadrature: means of phi^2, phi'^2, phi'^4, phi'^6 per network, (4, S)."""
    square, slope, *_ = slope_moments(activation, q)
    draw = generator(seed)
    net = perceptron(
        [width, width],
        1,
        draw,
        sigma_w=slope**-0.5,
        sigma_b=max(q - square / slope, 0.0) ** 0.5,
        activation=activation,
        seeds=nets,
    )
    sample = Sample(net, gaussian_inputs(width, 1, square, draw, exact=True), q, "orthogonal")
    activity = sample.found.x[1].square().mean((-2, -1))
    powers = (sample.found.slopes[0].pow(2 * k).mean((-2, -1)) for k in (1, 2, 3))
    return sample, torch.stack([activity, *powers]).numpy()


def from_networks(observed: np.ndarray, predicted: np.ndarray, width: int):
    """Means over networks of one layer against numbers, all of them means of functions with values in [0, 1].

    A coordinate of the sphere in N dimensions is within 4 / (N - 4) of a normal number in each (Diaconis, Freedman).
    """
    bound = student(float(observed.std(1).max()), observed.shape[1], FALSE_ALARM, len(observed))
    return agree(observed.mean(1), predicted, bound=bound + remainder(4 / (width - 4)))


erf_line = Claim(
    "mean-field.erf-line",
    source="beyond B, eqs. 3-5",
    says="For the error function the whole critical line is a closed formula of the length.",
    formula=critical_forms.erf_line,
    near_misses={
        "inverse cosine for inverse sine": lambda: {
            **critical_forms.erf_line(),
            SIGMA_B**2: QSTAR - sqrt(1 + pi * QSTAR) * 2 / pi * asin(pi * QSTAR / (1 + pi * QSTAR)),
        },
    },
    falsifiers={
        "slopes of the plain error function": lambda: {
            **critical_forms.erf_line(),
            MU_K: 1 / sqrt(1 + 4 * ORDER * QSTAR),
        },
        "root forgotten": lambda: {**critical_forms.erf_line(), SIGMA_W**2: 1 + pi * QSTAR},
    },
    remark=(
        "The scaled error function follows tanh closely and serves as its solvable stand-in: every number of the "
        "theory is a formula in $`q^*`$. The last line is the variance of the squared slopes that decides how far "
        "from an isometry a layer is; it grows like $`\\pi^2 q^{*2} / 2`$."
    ),
)


@erf_line.proof(generic_in="q, order k")
def stein_identity(formula):
    """Gaussian integrals for the slopes; the derivative of the mean square by Stein's identity."""
    return critical_forms.is_erf_line(formula)


def _erf_numbers(formula, q):
    parts = (SIGMA_W**2, SIGMA_B**2, SPREAD)
    slopes = [float(evaluate(formula[MU_K], {QSTAR: q, ORDER: float(k)})) for k in (1, 2, 3)]
    return [float(evaluate(formula[part], {QSTAR: q})) for part in parts], slopes


@erf_line.check(grid(q=[1e-3, 1 / 64, 0.5, 8.0, 40.0]), network=False)
def erf_by_quadrature(formula, q):
    """All numbers against the trapezoidal rule with the error function itself."""
    (weight, bias, spread), slopes = _erf_numbers(formula, q)
    square, *mu = slope_moments("erf", q)
    exact = [1 / mu[0], q - square / mu[0], mu[1] / mu[0] ** 2 - 1, *mu]
    # the variances of biases and slopes are small differences of numbers of size 1 / mu_1^2
    return agree([weight, bias, spread, *slopes], exact, bound=rounding(max(1.0, q) / mu[0] ** 2, len(NODES)))


@erf_line.check(grid(q=[1 / 64, 0.5], width=[300], nets=[20]))
def erf_networks(formula, q, width, nets, seed):
    """Squared activations and powers of squared slopes in critical networks of one layer, over neurons and networks."""
    sample, observed = statistics("erf", q, width, nets, seed)
    (weight, bias, _), slopes = _erf_numbers(formula, q)
    predicted = np.array([(q - bias) / weight, *slopes])
    return from_networks(observed, predicted, width).on(sample)


tanh_line = Claim(
    "mean-field.tanh-line",
    source="B eqs. 3-5",
    says="Near zero length the critical variances of tanh leave the isometric point quadratically slowly.",
    formula=critical_forms.tanh_line,
    near_misses={
        "next coefficient of the mean square with the other sign": lambda: {
            **critical_forms.tanh_line(),
            SECOND_MOMENT: critical_forms.tanh_line()[SECOND_MOMENT] + Rational(124, 3) * QSTAR**4,
        }
    },
    falsifiers={
        "biases of second order": lambda: {**critical_forms.tanh_line(), SIGMA_B**2: Rational(4, 3) * QSTAR**2},
        "weights as for erf": lambda: {**critical_forms.tanh_line(), SIGMA_W**2: 1 + pi / 2 * QSTAR},
    },
    about_networks=False,
    remark=(
        "Weights leave 1 in first order, biases only in third: short critical networks are almost linear maps. The "
        "squared slopes spread like $`8 q^{*2}`$, so $`L`$ layers stay near an isometry while $`q^* \\ll L^{-1/2}`$."
    ),
)


@tanh_line.proof(generic_in="q, to the order shown")
def taylor_polynomial_and_pairings(formula):
    """Coefficients from the differential equation of tanh, moments by pairings, and both critical conditions."""
    return critical_forms.is_tanh_line(formula)


@tanh_line.check(grid(q=[1e-3, 3e-4, 1e-4]), network=False)
def enclosed_line(formula, q):
    """Ball arithmetic on the critical line against the polynomials; the allowance is three times the next order."""
    found = critical_balls("tanh", q)
    slope = found.mu[0]
    exact = {
        SIGMA_W**2: found.sigma_w**2,
        SIGMA_B**2: found.sigma_b**2,
        SECOND_MOMENT: found.second_moment,
        SPREAD: found.mu[1] / slope**2 - 1,
    }
    pieces = []
    longer = critical_forms.tanh_line(4)
    for name, ball in exact.items():
        here, more = (float(evaluate(line[name], {QSTAR: q})) for line in (critical_forms.tanh_line(), longer))
        bound = remainder(3 * abs(more - here)) + rounding(abs(more), 50)
        pieces.append(agree(float(ball), float(evaluate(formula[name], {QSTAR: q})), bound=bound))
    return both(*pieces)


reachable = Claim(
    "mean-field.reachable",
    source="B eq. 4",
    says="Two variances and the scale of the inputs put every layer at the wanted length with unit gain of gradients.",
    formula=critical_forms.variances,
    uses=("mean-field.length-map", "mean-field.slope-gain"),
    near_misses={
        "inputs scaled to the length itself": lambda: {**critical_forms.variances(), INPUT_LENGTH: QSTAR},
        "biases without the gain": lambda: {
            **critical_forms.variances(),
            SIGMA_B**2: QSTAR - SECOND_MOMENT,
        },
    },
    falsifiers={"weights by the root": lambda: {**critical_forms.variances(), SIGMA_W**2: MU_1 ** Rational(-1, 2)}},
    remark=(
        "The bias variance must not come out negative. In Hermite coefficients of the activation it is a sum of "
        "squares minus the squared mean, so every odd activation can be made critical at every length; ReLU is the "
        "edge case, with no biases and every length fixed. Inputs scaled to $`q^*`$ itself start the first layer "
        "too long."
    ),
)


@reachable.proof(generic_in="q, activation through six Hermite coefficients")
def two_conditions(formula):
    """Both conditions and the first layer, then the sign of the bias variance in Hermite coefficients."""
    return critical_forms.are_variances(formula)


@reachable.check(
    grid(q=[1 / 64, 8.0], activation=["tanh", "erf", "linear", "relu"], width=[60], depth=[3])
    + grid(q=[9e-4, 0.5], activation=["tanh"], width=[60], depth=[3])
)
def critical_networks(formula, q, activation, width, depth, seed):
    """Lengths that the variances make of the inputs of networks, and the variances by ball arithmetic."""
    sample = critical_sample(q, width, depth, activation=activation, samples=1, outputs=1, seed=seed, seeds=6)
    square, slope, *_ = slope_moments(activation, q)
    values = {QSTAR: q, SECOND_MOMENT: square, MU_1: slope}
    found = {name: float(evaluate(part, values)) for name, part in formula.items()}
    balls = critical_balls(activation, q)
    exact = {SIGMA_W**2: balls.sigma_w**2, SIGMA_B**2: balls.sigma_b**2, INPUT_LENGTH: balls.second_moment}
    names = sorted(exact, key=str)
    bound = rounding(10 * max(1.0, q), len(NODES))
    numbers = agree([found[name] for name in names], [float(exact[name]) for name in names], bound=bound)
    first = sample.x.square().mean()
    start = agree(found[SIGMA_W**2] * float(first) + found[SIGMA_B**2], q, bound=bound)
    return both(numbers, start, agree(found[INPUT_LENGTH], float(first), bound=bound)).on(sample)

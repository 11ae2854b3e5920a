"""Figure 5 of paper B: the largest eigenvalue of the softmax curvature against the variance of the outputs."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from scipy import integrate, stats
from sympy import Integer, sqrt

from derivations.compiled import evaluate
from derivations.information import likelihoods
from derivations.information.likelihoods import LARGEST, SPREAD
from numerics.device import generator
from numerics.ensembles import gaussian_inputs, perceptron
from numerics.frames import normal
from numerics.likelihoods import hessians
from numerics.perceptrons import Perceptron
from tests.checker.bounds import remainder, rounding, sampling
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import agree, equal
from tests.checker.figure import Figure, Panel, Series
from tests.checker.seeds import seed_of
from tests.claims.critical import Sample

DRAWS = 10_000
FALSE_ALARM = 1e-6
TIES = 3000
TIES_FALSE_ALARM = 1e-3
STEPS = ((1 / 64, 0.5), (0.5, 2.5), (2.5, 3.0), (5.0, 8.0), (8.0, 64.0))

THREE_CLASSES = Assumption(
    "more than two classes", "there are at least three classes", lambda sample: sample.net.outputs > 2
)


@lru_cache(maxsize=16)
def readouts(outputs: int, draws: int, seed: int) -> Sample:
    """One hidden network at one input with many Gaussian readouts: outputs of unit variance, independent, (S, K, 1)."""
    if outputs != int(outputs) or outputs < 2:
        raise ValueError(f"outputs: {outputs} given, allowed: an integer >= 2")
    draw = generator(seed)
    hidden = perceptron((16, 16, 16), outputs, draw, ensemble="gaussian", sigma_b=0.3)
    x = gaussian_inputs(16, 1, 1.0, draw)
    top = hidden.forward(x).x[-1]
    weights = tuple(w.expand(draws, *w.shape) for w in hidden.weights)
    biases = tuple(b.expand(draws, *b.shape) for b in hidden.biases)
    readout = normal((outputs, 16), draw, draws) / float(top.norm())
    return Sample(Perceptron(weights, biases, readout, torch.zeros(draws, outputs).double(), "tanh"), x)


@lru_cache(maxsize=128)
def curvatures(outputs: int, variance: float, seed: int, draws: int = DRAWS) -> np.ndarray:
    """Largest eigenvalue of the softmax curvature of every network, its outputs scaled to a variance, (S,)."""
    found = readouts(outputs, draws, seed).found
    return torch.linalg.eigvalsh(hessians("softmax", variance**0.5 * found.outputs))[:, 0, -1].numpy()


def turns() -> tuple[Integer, ...]:
    """Signs of the changes of the mean from one variance to a larger one."""
    return Integer(1), Integer(1), Integer(1), Integer(-1), Integer(-1)


turning = Claim(
    "fisher.softmax-not-monotone",
    source="B app. B.2, fig. 5",
    says="For ten classes the mean largest eigenvalue of the softmax curvature rises with the variance of the outputs "
    "while that is at most 3, and falls from 5 on.",
    formula=turns,
    lhs=r"\mathrm{sign}\, \Delta\, \mathrm{E} \lambda_{\max}(H_g) \text{ from } V = 1/64,\, 1/2,\, 5/2,\, 5,\, 8"
    r"\text{ to } 1/2,\, 5/2,\, 3,\, 8,\, 64",
    given=(THREE_CLASSES,),
    near_misses={"still rising at the end of the paper's list": lambda: (*(Integer(1),) * 4, Integer(-1))},
    falsifiers={
        "monotone": lambda: (Integer(1),) * 5,
        "falling throughout": lambda: (Integer(-1),) * 5,
    },
    remark=(
        "Even predictions have one tenth, certain ones nothing; in between two classes compete. Of the four lengths of "
        "the paper only $`q^* = 8`$ lies beyond the peak, and output variance is $`q^*`$ only if the readout shares "
        "the variances of the hidden layers. With two classes there is no rise: evenness is the tie."
    ),
    mutate=False,
)


def signs_of_change(outputs: int, seed: int, draws: int) -> list[int]:
    """Signs of paired differences of the means between two variances; zero within the sampling error."""
    found = []
    for low, high in STEPS:
        change = curvatures(outputs, high, seed, draws) - curvatures(outputs, low, seed, draws)
        bound = sampling(float(change.std(ddof=1)), draws, FALSE_ALARM, len(STEPS))
        found.append(int(np.sign(change.mean())) if abs(change.mean()) > bound.total else 0)
    return found


@turning.check(grid(outputs=[10], seed=[0, 1]))
def ten_thousand_readouts(formula, outputs, seed):
    """Changes of the mean over 10,000 networks that differ in their readouts, beyond their sampling errors."""
    return equal(signs_of_change(outputs, seed, DRAWS), [int(s) for s in formula]).on(readouts(outputs, DRAWS, seed))


@turning.without(THREE_CLASSES, grid(outputs=[2], seed=[0]))
def two_classes(formula, outputs, seed, accuracy=1.0):
    """The same with two classes, where the mean falls from the start."""
    draws = round(DRAWS / accuracy**0.5)
    return equal(signs_of_change(outputs, seed, draws), [int(s) for s in formula]).on(readouts(outputs, draws, seed))


wide = Claim(
    "fisher.softmax-wide-spread",
    source="beyond B",
    says="For outputs of large variance the mean largest eigenvalue of the softmax curvature falls as the mean of the "
    "largest of as many standard normal numbers, over the standard deviation.",
    formula=likelihoods.wide_spread,
    lhs=r"\mathrm{E} \lambda_{\max}(H_g)",
    relation=r"\simeq",
    uses=("fisher.output-hessian",),
    near_misses={"variance instead of deviation": lambda: LARGEST / SPREAD},
    falsifiers={
        "root of twice the largest": lambda: sqrt(2 * LARGEST) / sqrt(SPREAD),
        "twice as large": lambda: 2 * LARGEST / sqrt(SPREAD),
    },
    remark=(
        "Only ties of the two leading classes count, and their density is, by parts, the mean of the largest. It "
        "grows no faster than $`\\sqrt{2 \\ln K}`$ with the number of classes: curvature is lost to "
        "certainty, not gained from many classes."
    ),
)


@wide.proof(generic_in="number of classes")
def ties_of_the_two_leading_classes(formula):
    """Average the eigenvalue of two classes over a gap near zero; integrate the density of ties by parts."""
    return likelihoods.is_wide_spread(formula)


@lru_cache(maxsize=16)
def mean_of_largest(count: int) -> float:
    """The mean of the largest of ``count`` standard normal numbers, by quadrature of its distribution function."""

    def tail(x: float) -> float:
        return 1 - stats.norm.cdf(x) ** count - stats.norm.cdf(-x) ** count

    return float(integrate.quad(tail, 0, 12, epsabs=1e-12)[0])


@lru_cache(maxsize=64)
def near_ties(outputs: int, variance: float, seed: int, draws: int) -> tuple[float, float]:
    """sqrt(V) times the mean eigenvalue, and its deviation in one draw: all but the leading output at random.

    The leading output is integrated over its distance g from the second, in units of the softmax: for that the last
    output is put g above the largest of the others, weighted with its density there, K times over.
    """
    nodes, steps = np.polynomial.legendre.leggauss(24)
    gaps, steps = torch.tensor(22 * (nodes + 1)), torch.tensor(22 * steps)
    deviation = variance**0.5
    others = readouts(outputs, draws, seed).found.outputs[:, 1:, 0]
    second = others.max(-1).values
    leading = second[:, None] + gaps / deviation
    logits = torch.cat([others[:, None, :].expand(-1, len(gaps), -1), leading[..., None]], -1)
    top = torch.linalg.eigvalsh(hessians("softmax", deviation * logits.mT))[..., -1]
    density = torch.exp(-leading.square() / 2) / (2 * torch.pi) ** 0.5
    values = outputs * (top * density * steps).sum(-1)
    return float(values.mean()), float(values.std())


@wide.check(grid(outputs=[2, 10], variance=[1e6], seed=[0]))
def two_leading_outputs(formula, outputs, variance, seed):
    """Mean eigenvalue over networks that differ in their readouts, the leading output integrated at every draw."""
    observed, deviation = near_ties(outputs, variance, seed, TIES)
    nearer, _ = near_ties(outputs, variance / 4, seed, TIES)
    predicted = float(evaluate(formula, {LARGEST: mean_of_largest(outputs), SPREAD: variance})) * variance**0.5
    # a third class close by is the next order, smaller by the deviation: half as far it is twice as large
    bound = (
        sampling(deviation, TIES, TIES_FALSE_ALARM) + remainder(2 * abs(observed - nearer)) + rounding(observed, 100)
    )
    return agree(observed, predicted, bound=bound).on(readouts(outputs, TIES, seed))


@wide.check(grid(variance=[1e4, 1e6, 1e8]), network=False)
def two_classes_by_quadrature(formula, variance):
    """Two classes: eigenvalues of the curvature integrated over the normal distribution of their difference."""
    nodes, steps = np.polynomial.legendre.leggauss(200)
    gaps, steps = 40 * (nodes + 1), 40 * steps
    logits = torch.tensor(np.stack([gaps, np.zeros_like(gaps)]))
    eigenvalues = torch.linalg.eigvalsh(hessians("softmax", logits))[:, -1].numpy()
    density = stats.norm.pdf(gaps, scale=(2 * variance) ** 0.5)
    observed = 2 * float((eigenvalues * density * steps).sum()) * variance**0.5
    predicted = float(evaluate(formula, {LARGEST: mean_of_largest(2), SPREAD: variance})) * variance**0.5
    # the density bends: exp(-g^2 / 4 V) is at least 1 - g^2 / 4 V, weighted by the eigenvalue
    bent = float((eigenvalues * gaps**2 * steps).sum()) / (4 * variance)
    return agree(observed, predicted, bound=remainder(bent) + rounding(observed, 2000))


@turning.figure(slow=True)
def eigenvalue_against_variance(formula):
    """Mean with its confidence interval and spread of the largest eigenvalue, from 10,000 networks at each variance."""
    variances = np.geomspace(1 / 64, 4096, 19)
    seed = seed_of(turning.id, turning.checks[0].cases[0])
    draws = [curvatures(10, float(v), seed) for v in variances]
    means, errors = (np.array([f(row) for row in draws]) for f in (np.mean, lambda row: row.std() / DRAWS**0.5))
    low, high = (np.array([np.quantile(row, level) for row in draws]) for level in (0.1, 0.9))
    last = variances >= 16
    series = (
        Series("mean", variances, means, "simulation"),
        Series("mean, 99.9% interval", variances, means - 3.3 * errors, "bound"),
        Series("", variances, means + 3.3 * errors, "bound"),
        Series("tenth and ninetieth percentile", variances, low, "reference"),
        Series("", variances, high, "reference"),
        Series("ties of two leading classes", variances[last], mean_of_largest(10) / variances[last] ** 0.5),
    )
    panel = Panel("ten classes", "variance of the outputs", r"$\lambda_{\max}(H_g)$", series, log_x=True)
    return Figure(
        "The largest eigenvalue of the softmax curvature rises from one tenth, peaks, and falls as ties between the "
        "two leading classes become rare.",
        (panel,),
    )

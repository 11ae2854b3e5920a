"""Extreme eigenvalues of the tangent kernel on the critical line: which way the fixed length q* moves them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from scipy.special import stdtrit
from sympy import Integer, Rational

from derivations.information import near_linear
from derivations.information.near_linear import ALONE, CONDITION, SMALLEST
from numerics.perceptrons import Parameters
from numerics.tangent_kernels import tangent_kernel
from tests.checker.bounds import rounding
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import at_most, both, equal, slope
from tests.checker.evidence import Evidence
from tests.checker.figure import Figure, Panel, Series
from tests.claims.critical import Sample, critical_sample
from tests.claims.settings import array


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """Critical networks with the parameters that are trained."""

    sample: Sample
    which: Parameters


WEIGHTS_ALONE = Assumption(
    "weights alone are trained", "biases stay as they are drawn", lambda subject: subject.which == "weights"
)
NETWORKS = 8
MANY = 24
FALSE_ALARM = 1e-3
FACTOR, POWER = "factor", "power"


@lru_cache(maxsize=256)
def extremes(
    qstar: float,
    width: int,
    depth: int,
    outputs: int,
    samples: int,
    which: Parameters,
    seed: int,
    activation: str,
    networks: int = NETWORKS,
) -> tuple[Trained, np.ndarray]:
    """The smallest and the largest eigenvalue of the kernels of critical networks (2, S), with one seed for all q*."""
    sample = critical_sample(
        qstar, width, depth, outputs=outputs, samples=samples, seed=seed, activation=activation, seeds=networks
    )
    values = array(torch.linalg.eigvalsh(tangent_kernel(sample.net, sample.x, which)))
    return Trained(sample, which), values[:, [0, -1]].T


def medians(qstars, width, depth, outputs, samples, which, seed, activation="tanh"):
    """Geometric means over networks of smallest eigenvalue and condition number, a row per q*; the last subject."""
    if samples < 2:
        raise ValueError(f"samples: {samples} given, allowed: samples >= 2")
    rows = []
    for qstar in qstars:
        subject, (low, high) = extremes(qstar, width, depth, outputs, samples, which, seed, activation)
        rows.append((np.exp(np.log(low).mean()), np.exp(np.log(high / low).mean())))
    return subject, np.array(rows)


law = Claim(
    "tangent-kernel.near-linear-exponents",
    source="B sec. 4 and abstract",
    says="Towards q* = 0 the kernel's smallest eigenvalue vanishes like q*; its condition number blows up with biases.",
    formula=near_linear.exponents,
    uses=("tangent-kernel.linear-network",),
    near_misses={
        "without a pole": lambda: {**near_linear.exponents(), CONDITION: Integer(0)},
        "smallest eigenvalue like the root": lambda: {**near_linear.exponents(), SMALLEST: Rational(1, 2)},
    },
    falsifiers={"biases do not matter": lambda: {**near_linear.exponents(), ALONE: Integer(-1)}},
    remark=(
        "Short inputs differ little, so the kernel can hardly tell samples apart, while biases see them all alike. "
        "Perfect isometry of the layers does not help: it is reached exactly there. Inputs are at least two and "
        "linearly independent; proved for linear networks, to which critical ones tend."
    ),
)


@law.proof(instances="linear networks of any depth, with independent inputs and any readout")
def two_quadratic_forms(formula):
    """Bracket the extreme eigenvalues by mixtures of samples that add up to zero and by the mean of all."""
    return near_linear.are_exponents(formula)


@law.check(
    grid(width=[40], depth=[2, 8], outputs=[2], samples=[2, 6], activation=["tanh", "erf"], repeat=[0])
    + grid(width=[100], depth=[20], outputs=[3], samples=[12], activation=["tanh"], repeat=[0])
)
def short_inputs(formula, width, depth, outputs, samples, activation, repeat, seed, accuracy=1.0):
    """Slopes over q* for critical networks, with and without their biases."""
    qstars = np.array([0.1, 0.3, 1.0]) * 1e-6 * max(accuracy, 0.01)
    # next order: the kernel of inputs of length q* against the ones, and the slope of the activation in every layer
    systematic = 4 * float(qstars[-1]) * (width + depth) * samples
    found, subject = [], None
    for name, which, column in ((SMALLEST, "hidden", 0), (CONDITION, "hidden", 1), (ALONE, "weights", 1)):
        subject, rows = medians(tuple(qstars.tolist()), width, depth, outputs, samples, which, seed, activation)
        found.append(slope(qstars, rows[:, column], predicted=float(formula[name]), systematic=systematic))
    return both(*found).on(subject)


LIST = (1e-4, 1 / 64, 1 / 2, 8.0)
STEPS = ("from 1/10000 to 1/64", "from 1/64 to 1/2", "from 1/2 to 8")


def directions(*signs: int) -> dict[str, Integer]:
    """The sign of the change of the smallest eigenvalue on each step of the paper's list of q*."""
    return dict(zip(STEPS, map(Integer, signs), strict=True))


SIZES = grid(width=[40], depth=[8], outputs=[2], samples=[6], repeat=[0, 1]) + grid(
    width=[100], depth=[20], outputs=[3], samples=[12], repeat=[0]
)


def observed_directions(formula, width, depth, outputs, samples, seed) -> Evidence:
    """Signs of the changes of the mean log of the smallest eigenvalue, from network to network the same seed."""
    found = [extremes(qstar, width, depth, outputs, samples, "hidden", seed, "tanh", MANY) for qstar in LIST]
    changes = [np.log(after[1][0] / before[1][0]) for before, after in pairwise(found)]
    signs = [significant(change) for change in changes]
    detail = ", ".join(f"{change.mean():.2g}" for change in changes)
    return equal(signs, [int(formula[name]) for name in STEPS]).noting(f"changes of the log: {detail}").on(found[-1][0])


def significant(changes: np.ndarray) -> int:
    """The sign of the mean over independent networks, 0 where Student's t cannot tell it from none."""
    margin = -stdtrit(len(changes) - 1, FALSE_ALARM / 2) * changes.std(ddof=1) / len(changes) ** 0.5
    return int(np.sign(changes.mean())) if abs(changes.mean()) > margin else 0


smallest = Claim(
    "tangent-kernel.smallest-eigenvalue",
    source="B sec. 4, after lemma 4",
    says="On the critical line the kernel's smallest eigenvalue grows with q* up to about one half, and then falls.",
    formula=lambda: directions(1, 1, -1),
    near_misses={"growing throughout": lambda: directions(1, 1, 1)},
    falsifiers={"falling throughout": lambda: directions(-1, -1, -1)},
    mutate=False,
    remark=(
        "The smallest eigenvalue of the Fisher matrix itself is zero with more parameters than points; that of the "
        "kernel is what the paper's argument needs."
    ),
)


@smallest.check(SIZES)
def changes(formula, width, depth, outputs, samples, repeat, seed):
    """Many critical tanh networks at each q* of the paper's list: signs beyond their spread."""
    return observed_directions(formula, width, depth, outputs, samples, seed)


@smallest.figure
def over_the_critical_line(formula):
    """Smallest eigenvalue and condition number over q*, with biases and without."""
    qstars = np.geomspace(1e-4, 8, 13)
    sides = {}
    for which in ("hidden", "weights"):
        _, sides[which] = medians(tuple(qstars.tolist()), 40, 8, 2, 6, which, 5)
    names = {"hidden": "weights and biases", "weights": "weights alone"}
    panels = []
    for column, title, label in ((0, "Smallest eigenvalue", r"$\lambda_{\min}(\Theta)$"), (1, "Condition number", "")):
        power = float(near_linear.exponents()[SMALLEST if column == 0 else CONDITION])
        start = sides["hidden"][0, column]
        short = qstars[qstars < 0.1]
        series = [Series("limit of short inputs", short, start * (short / short[0]) ** power)]
        series += [Series(names[which], qstars, rows[:, column], "simulation") for which, rows in sides.items()]
        panels.append(Panel(title, "$q^*$", label, tuple(series), log_x=True, log_y=True))
    caption = (
        "Tangent kernel of critical tanh networks over the fixed length q*: depth 8, width 40, six inputs. The most "
        "isometric networks, on the left, have the smallest eigenvalues, and with biases the worst condition numbers."
    )
    return Figure(caption, tuple(panels))


printed = Claim(
    "tangent-kernel.smallest-eigenvalue-as-printed",
    source="B sec. 4, after lemma 4",
    says="Decreasing q* increases the smallest eigenvalue.",
    formula=lambda: directions(-1, -1, -1),
    control=lambda: directions(1, 1, -1),
    corrected_by=("tangent-kernel.smallest-eigenvalue", "tangent-kernel.near-linear-exponents"),
    near_misses={"growing throughout": lambda: directions(1, 1, 1)},
    falsifiers={"falling, then growing": lambda: directions(-1, -1, 1)},
    mutate=False,
    remark=(
        "An inverse relation of the extreme eigenvalues holds at a fixed trace; but the trace falls with $`q^*`$, and "
        "both eigenvalues fall with it."
    ),
)


@printed.check(SIZES)
def changes_as_printed(formula, width, depth, outputs, samples, repeat, seed):
    """Many critical tanh networks at each q* of the paper's list: signs beyond their spread."""
    return observed_directions(formula, width, depth, outputs, samples, seed)


condition = Claim(
    "fisher.condition-number",
    source="B abstract",
    says="Of two critical orthogonal networks the more isometric has no larger condition number, to within a tenth.",
    formula=lambda: {FACTOR: Rational(11, 10), POWER: Integer(1)},
    conditions=(WEIGHTS_ALONE,),
    near_misses={"at most half": lambda: {FACTOR: Rational(1, 2), POWER: Integer(1)}},
    falsifiers={"the other way round": lambda: {FACTOR: Rational(11, 10), POWER: Integer(-1)}},
    mutate=False,
    remark=(
        'The condition number is that of the non-zero eigenvalues, hence of the kernel; "more isometric" means a '
        "smaller $`q^*`$. With biases, as in the paper's networks, the statement holds only from $`q^*`$ of about one "
        "half upwards: towards zero the condition number grows like $`1/q^*`$. Without them it levels off."
    ),
)


def ordered(formula, qstars, width, depth, outputs, samples, which, seed) -> Evidence:
    """Condition numbers of every pair of q*, the smaller one first."""
    subject, rows = medians(qstars, width, depth, outputs, samples, which, seed)
    value = rows[:, 1] ** float(formula[POWER])
    first, second = np.triu_indices(len(qstars), 1)
    limit = float(formula[FACTOR]) * value[second]
    bound = rounding(float(value.max()), outputs * samples, float(rows[:, 1].max()))
    return at_most(value[first], limit, bound=bound).noting(f"{rows[:, 1].round(2).tolist()}").on(subject)


@condition.check(
    grid(width=[40], depth=[8], outputs=[2], samples=[6], which=["weights"], repeat=[0, 1])
    + grid(width=[100], depth=[20], outputs=[1, 3], samples=[12], which=["weights"], repeat=[0])
)
def weights_alone(formula, width, depth, outputs, samples, which, repeat, seed):
    """Eight critical tanh networks at each q* of the paper's list, derivatives by weights alone."""
    return ordered(formula, LIST, width, depth, outputs, samples, which, seed)


@condition.without(
    WEIGHTS_ALONE, grid(width=[40, 100], depth=[8], outputs=[2], samples=[6], which=["hidden", "all"], repeat=[0])
)
def with_biases(formula, width, depth, outputs, samples, which, repeat, seed):
    """The same with biases, and with the readout."""
    return ordered(formula, LIST, width, depth, outputs, samples, which, seed)

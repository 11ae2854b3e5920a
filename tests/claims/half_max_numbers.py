"""The half-maximum times of figure 2 as elementary numbers."""

from __future__ import annotations

import mpmath
from sympy import Expr, Rational, Symbol, atan, atanh, log, sqrt

from derivations.compiled import evaluate
from derivations.decide import all_of, equal, step
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree

X = Symbol("x", positive=True)
STARTS = {"0": 0, "1/2": 0, "3/4": 0, "1": Rational(1, 100), "3/2": Rational(1, 100), "2": Rational(1, 100)}
ROOT, FOURTH = sqrt(X), X ** Rational(1, 4)


def elementary_clocks() -> dict[str, Expr]:
    """F_p with F_p' = 1 / ((1 - x) x^p) for the stiffnesses of figure 2, in elementary functions."""
    return {
        "0": -log(1 - X),
        "1/2": 2 * atanh(ROOT),
        "3/4": 2 * atanh(FOURTH) + 2 * atan(FOURTH),
        "1": log(X) - log(1 - X),
        "3/2": 2 * atanh(ROOT) - 2 / ROOT,
        "2": log(X) - log(1 - X) - 1 / X,
    }


def changed(p: str, wrong: Expr) -> dict[str, Expr]:
    """The table with one entry replaced."""
    return {**elementary_clocks(), p: wrong}


numbers = Claim(
    "map.half-max-numbers",
    source="A figure 2",
    says="At the stiffnesses of the figure the clock of the map is elementary, and so are its half-maximum times.",
    formula=elementary_clocks,
    lhs="F_p(x)",
    uses=("map.half-max-time",),
    about_networks=False,
    near_misses={
        "arctangent with the other sign": lambda: changed("3/4", 2 * atanh(FOURTH) - 2 * atan(FOURTH)),
        "pole of the logistic clock at stiffness 3/2": lambda: changed("3/2", 2 * atanh(ROOT) - 1 / X),
    },
    falsifiers={"logistic clock at stiffness 2": lambda: changed("2", log(X) - log(1 - X))},
    remark=(
        "In units of $`1 / (\\tilde\\eta \\sigma^{*p})`$ the half-maximum time is "
        "$`F_p(1/2) - F_p(\\sigma_0/\\sigma^*)`$; the figure starts at zero for $`p < 1`$ and at a hundredth of the "
        "goal otherwise. The notes of the check give the numbers."
    ),
)


@numbers.proof(instances="p = 0, 1/2, 3/4, 1, 3/2, 2")
def derivatives(formula):
    """Each clock has the derivative that the equation of the map demands."""
    found = [equal(formula[p].diff(X), 1 / ((1 - X) * X ** Rational(p))) for p in STARTS]
    return all_of(*found).explain(step("The derivative of every entry is", 1 / ((1 - X) * X ** Symbol("p", real=True))))


def independent_time(p: str) -> float:
    """The integral of 1 / ((1 - x) x^p) from the start to 1/2, by quadrature with 30 digits."""
    with mpmath.workdps(30):
        power, low = (mpmath.mpf(value.p) / value.q for value in (Rational(p), Rational(STARTS[p])))
        fourth = mpmath.mpf(1) / 4
        # x = y^4 removes the singularity of the integrand at zero
        value = mpmath.quad(lambda y: 4 * y ** (3 - 4 * power) / (1 - y**4), [low**fourth, fourth ** (fourth / 2)])
    return float(value)


@numbers.check(grid(p=list(STARTS)), network=False)
def half_maximum_times(formula, p):
    """Half-maximum times from the elementary clocks against quadrature of the inverse rate."""
    start = float(formula[p].subs(X, STARTS[p]))
    predicted = evaluate(formula[p], {X: 0.5}) - start
    observed = independent_time(p)
    largest = max(1.0, observed)
    return agree(observed, predicted, bound=rounding(largest, 24)).noting(f"stiffness {p}: {observed:.12g}")

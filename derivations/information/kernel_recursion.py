r"""The tangent kernel of wide networks layer by layer, for one input, and the derivative it is said to be.

Weights are sigma_w / sqrt(N) times and biases sigma_b times the parameters. m = E phi^2, mu = E phi'^2 and
c = E phi phi'' at the length q of the layer; theta is the kernel below. Source: B section 4, after eq. 18.
"""

from __future__ import annotations

from sympy import Expr, Symbol, diff

from derivations import words
from derivations.decide import Decision, all_of, equal, step
from derivations.notation import SIGMA_B, SIGMA_W, WIDTH
from derivations.words import Letter

MOMENT, SLOPES = Symbol("m", nonnegative=True), Symbol("mu", positive=True)
CURVED = Symbol("c", real=True)
BELOW = Symbol("theta", positive=True)
CARRIED, ADDED = "carried over", "added"


def increments() -> dict[str, Expr]:
    r"""theta' = sigma_w^2 mu theta + (sigma_w^2 m + sigma_b^2): what a layer passes on and what it adds.

    >>> increments()["carried over"]
    mu*sigma_w**2
    """
    return {CARRIED: SIGMA_W**2 * SLOPES, ADDED: SIGMA_W**2 * MOMENT + SIGMA_B**2}


def are_increments(formula: dict[str, Expr]) -> Decision:
    r"""Whether the layer formula gives the increments, averaged over the new weights, E w^T w = sigma_w^2 / N.

    The kernel below is theta times the identity over units, tr D^2 = N mu and |x|^2 = N m.
    """
    row, slopes = Letter("w", 1, WIDTH), Letter("D", WIDTH, WIDTH, symmetric=True)
    signal = Letter("x", WIDTH, 1)
    averaged = words.rule(row.T * row, words.identity(WIDTH) * (SIGMA_W**2 / WIDTH))
    carried = words.normal(words.trace(slopes * slopes * row.T * row) * BELOW, (averaged,))
    own = words.trace(signal.T * signal) * (SIGMA_W**2 / WIDTH) + SIGMA_B**2
    passed = carried.terms[0][0] * WIDTH * SLOPES / BELOW
    added = sum(c * (WIDTH * MOMENT if word else 1) for c, word in own.terms)
    return all_of(equal(passed, formula[CARRIED]), equal(added, formula[ADDED])).explain(
        step("The kernel below reaches the next layer through slopes and weights:", carried),
        step("and the new weights and biases add their own part:", own),
        step("With the means over a wide layer this is", increments()),
    )


def derivative_increments() -> dict[str, Expr]:
    r"""The same for dq/d log sigma_w^2 of the covariance kernel q' = sigma_w^2 m(q) + sigma_b^2, with dm/dq = mu + c.

    >>> derivative_increments()["added"]
    m*sigma_w**2
    """
    rate, variance = Symbol("r"), Symbol("v", positive=True)
    moved = variance * (MOMENT + (SLOPES + CURVED) * rate) + SIGMA_B**2
    along = diff(moved, variance) * variance
    return {
        CARRIED: diff(moved, rate).subs(variance, SIGMA_W**2),
        ADDED: along.subs({rate: 0, variance: SIGMA_W**2}),
    }

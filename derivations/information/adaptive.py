r"""What a rescaling of the loss does to the steps of Adam, B introduction and section 3.

Adam moves every parameter by -eta a / (sqrt(s) + epsilon), with running means a of the gradient and s of its square.
"""

from __future__ import annotations

from sympy import Expr, Symbol, sqrt

from derivations.decide import Decision, all_of, equal, step
from derivations.notation import EPSILON, ETA

FACTOR = Symbol("c", positive=True)
MEAN = Symbol("a", real=True, nonzero=True)
ROOT = Symbol("r", positive=True)


def step_ratio(epsilon: Expr = EPSILON) -> Expr:
    r"""Adam's step on c times the loss over its step on the loss, r the root of the mean squared gradient (beyond B).

    >>> step_ratio(0)
    1
    """
    return FACTOR * (ROOT + epsilon) / (FACTOR * ROOT + epsilon)


def _moments() -> tuple[Decision, Expr, Expr]:
    """How one update of both running means scales with the loss, by induction, and the scaled means."""
    keep, g, old, square = (Symbol(name, positive=True) for name in ("k", "g", "a_0", "s_0"))

    def after(gradient: Expr, mean: Expr, squares: Expr) -> tuple[Expr, Expr]:
        return keep * mean + (1 - keep) * gradient, keep * squares + (1 - keep) * gradient**2

    plain = after(g, old, square)
    scaled = after(FACTOR * g, FACTOR * old, FACTOR**2 * square)
    same = all_of(equal(scaled[0], FACTOR * plain[0]), equal(scaled[1], FACTOR**2 * plain[1]))
    return same, FACTOR * MEAN, FACTOR**2 * ROOT**2


def is_step_ratio(formula: Expr, epsilon: Expr = EPSILON) -> Decision:
    """Whether a formula is the ratio of two steps of Adam whose losses differ by a factor, at any later step."""
    scaling, mean, square = _moments()
    plain = -ETA * MEAN / (ROOT + epsilon)
    scaled = -ETA * mean / (sqrt(square) + epsilon)
    return all_of(scaling, equal(formula, scaled / plain)).explain(
        step("The mean gradient scales with the loss, the mean square with its square:", (mean, square)),
        step("so on the scaled loss a parameter moves by", scaled),
        step("instead of", plain),
        step("The ratio of the two is", scaled / plain),
    )

r"""Smoothness of the gradient and the steps that it allows, B introduction and section 3.

M is the Lipschitz constant of the gradient, g its norm, m the least curvature where it is positive. Steps are
gradient descent, theta' = theta - eta grad, or heavy ball with momentum beta.
"""

from __future__ import annotations

from functools import cache

from sympy import Expr, Matrix, Max, Symbol, cancel, diff, integrate

from derivations import words
from derivations.decide import Decision, all_of, equal, nonnegative, positive, step
from derivations.notation import DEPTH, ETA, N_0, N_D, M, N
from derivations.word_algebra import Expression, Letter, Trace

MOST = Symbol("M", positive=True)
LEAST = Symbol("m", positive=True)
SIZE = Symbol("g", positive=True)
BETA = Symbol("beta", positive=True)
TOP, BOTTOM = Symbol("lambda_max", real=True), Symbol("lambda_min", real=True)
TOTAL = Symbol("eta_0", positive=True)
_T = Symbol("t", nonnegative=True)

PARAMETERS, OUTPUTS, RANK = (Symbol(name, integer=True, positive=True) for name in ("P", "K", "r"))
MOVE = Letter("v", PARAMETERS, 1)
JACOBIAN = Letter("J", OUTPUTS, PARAMETERS)
CURVATURE = Letter("H", OUTPUTS, OUTPUTS, symmetric=True, latex="H_i")
ROOT = Letter("R", OUTPUTS, RANK, latex="R_i")

GAP = Letter("Delta", N_D, N_0, latex=r"\Delta")
ABOVE, BELOW = Letter("A_i", N_D, N), Letter("B_i", M, N_0)


def constant() -> Expr:
    r"""M = max(lambda_max, -lambda_min) of the Hessian, the Lipschitz constant of the gradient (B section 3).

    >>> constant().subs({TOP: 1, BOTTOM: -3})
    3
    """
    return Max(TOP, -BOTTOM)


def is_constant(formula: Expr) -> Decision:
    """Whether no curvature between the extremes has a larger size, and one of the extremes has it."""
    over, under, gap = (Symbol(name, nonnegative=True) for name in ("a", "b", "r"))
    size = (over + under) / 2
    inside = nonnegative((size**2 - (size - over) ** 2).expand())
    upward = equal(formula.subs({TOP: size, BOTTOM: gap - size}, simultaneous=True), size)
    downward = equal(formula.subs({TOP: size - gap, BOTTOM: -size}, simultaneous=True), size)
    return all_of(inside, upward, downward).explain(
        step("Two gradients differ by the Hessian, averaged over the way between them, times the distance."),
        step("Let s be the larger size of the two extremes. A curvature between -s and s is no larger than s, because"),
        step("with the distances a and b from both, their squares differ by", (size**2 - (size - over) ** 2).expand()),
        step(
            "and an extreme has the size s, be it the largest curvature or the least. So the best constant is", formula
        ),
    )


def guaranteed_decrease() -> Expr:
    r"""eta (1 - eta M / 2) g^2: what a step of gradient descent gains at least (B introduction).

    >>> guaranteed_decrease().subs(ETA, 2 / MOST)
    0
    """
    return ETA * (1 - ETA * MOST / 2) * SIZE**2


def _bound_along_the_way(length: Expr) -> Expr:
    r"""-g s + int_0^s M t dt: the most that the objective can change over a way s along the negative gradient."""
    return -SIZE * length + integrate(MOST * _T, (_T, 0, length))


def is_guaranteed_decrease(formula: Expr) -> Decision:
    """Whether a formula is the bound of the descent lemma and the exact decrease along the sharpest direction."""
    x = Symbol("x", real=True)
    bowl = MOST * x**2 / 2
    slope = diff(bowl, x)
    exact = bowl - bowl.subs(x, x - ETA * slope)
    lemma = -_bound_along_the_way(ETA * SIZE)
    return all_of(equal(formula, lemma), equal(formula.subs(SIZE, MOST * x), exact)).explain(
        step(
            "Over a way s the slope along the step changes by at most M s, so the objective changes by at most", -lemma
        ),
        step("that is, the step gains at least", formula),
        step("On a parabola of curvature M this is exactly the gain:", exact),
    )


def descent_distance() -> Expr:
    r"""2 g / M: how far the negative gradient surely points below the start (B section 3).

    >>> descent_distance()
    2*g/M
    """
    return 2 * SIZE / MOST


def is_descent_distance(formula: Expr) -> Decision:
    """Whether a formula is the length at which the bound on the change returns to zero."""
    share = Symbol("a", positive=True)
    before = formula / (1 + share)
    return all_of(
        positive(formula), equal(_bound_along_the_way(formula), 0), positive(cancel(-_bound_along_the_way(before)))
    ).explain(
        step("Over a way s the objective changes by at most", _bound_along_the_way(Symbol("s", positive=True))),
        step("which is negative for every shorter way, and zero at", formula),
        step("A parabola of curvature M has exactly this change, so no longer distance is safe."),
    )


def heavy_ball(curvature: Expr = MOST) -> Matrix:
    r"""The linear map of (theta_t, theta_{t-1}) under heavy ball on a parabola.

    >>> heavy_ball().det()
    beta
    """
    return Matrix([[1 + BETA - ETA * curvature, -BETA], [1, 0]])


@cache
def _characteristic(curvature: Expr) -> tuple[Symbol, Expr]:
    """The variable and the characteristic polynomial of heavy ball."""
    x = Symbol("x")
    return x, heavy_ball(curvature).charpoly(x).as_expr()


def step_threshold() -> Expr:
    r"""2 (1 + beta) / M: the largest stable step of heavy ball; beta = 0 is gradient descent (B section 3).

    >>> step_threshold().subs(BETA, 0)
    2/M
    """
    return 2 * (1 + BETA) / MOST


def is_step_threshold(formula: Expr) -> Decision:
    """Whether the sharpest mode leaves the unit circle there, through -1, and no flatter mode has left it before."""
    share, odds = Symbol("a", positive=True), Symbol("beta/(1-beta)", positive=True)
    below_one = {BETA: odds / (1 + odds)}
    x, polynomial = _characteristic(MOST)
    at = polynomial.subs({x: -1, ETA: formula}).subs(below_one)
    flatter = _characteristic(MOST / (1 + share))[1]
    inside = all_of(*(positive(cancel(flatter.subs({x: end, ETA: formula}).subs(below_one))) for end in (-1, 1)))
    return all_of(equal(at, 0), inside).explain(
        step("Two successive points move by a linear map with the characteristic polynomial", polynomial),
        step("For $`\\beta < 1`$ its zeros lie inside the unit circle just if its values at 1 and -1 are positive."),
        step("At 1 it is always positive; at -1 it is", polynomial.subs(x, -1).expand()),
        step("which vanishes at", formula),
    )


def best_step() -> dict[str, Expr]:
    r"""eta = 2 / (M + m) and the factor (M - m) / (M + m) of gradient descent, m the least curvature.

    >>> best_step()["factor"].subs(LEAST, MOST)
    0
    """
    return {"step": 2 / (MOST + LEAST), "factor": (MOST - LEAST) / (MOST + LEAST)}


def is_best_step(formula: dict[str, Expr]) -> Decision:
    """Whether both ends of the spectrum contract alike, the inside more, and any other step is worse for one end."""
    a, b, off = (Symbol(name, nonnegative=True) for name in ("a", "b", "x"))
    rate, eta = formula["factor"], formula["step"]
    wide = {MOST: LEAST + a + b}
    inner = (rate**2 - (1 - eta * (LEAST + a)) ** 2).subs(wide)
    return all_of(
        equal(1 - eta * LEAST, rate),
        equal(eta * MOST - 1, rate),
        nonnegative(cancel(inner)),
        nonnegative(((1 - (eta - off) * LEAST) - (1 - eta * LEAST)).expand()),
        nonnegative((((eta + off) * MOST - 1) - (eta * MOST - 1)).expand()),
    ).explain(
        step("The flattest direction contracts by", 1 - eta * LEAST),
        step("and the sharpest by the same factor, with the other sign. Everything between is faster."),
        step("A smaller step slows the flattest direction, a larger one the sharpest. The best factor is", rate),
    )


def fisher_form() -> Trace:
    r"""v . G v for one sample: tr(v^T J^T R R^T J v), the square of R^T J v (B introduction, eq. 7).

    >>> print(fisher_form())
    tr(J*v*v.T*J.T*R*R.T)
    """
    felt = ROOT.T * JACOBIAN * MOVE
    return words.trace(felt * felt.T)


def is_fisher_form(formula: Trace) -> Decision:
    """Whether a formula is v . J^T H J v with H = R R^T the mean square of the score, hence a sum of squares."""
    form = words.trace(MOVE.T * JACOBIAN.T * CURVATURE * JACOBIAN * MOVE)
    square = words.trace((ROOT.T * JACOBIAN * MOVE).T * (ROOT.T * JACOBIAN * MOVE))
    split = (words.rule(CURVATURE, ROOT * ROOT.T),)
    return all_of(words.vanishes(words.normal(form, split) - square), words.vanishes(formula - square)).explain(
        step(
            "With the second moment $`H_i`$ of the derivative of the log-likelihood in the outputs, a direction has",
            form,
        ),
        step("A second moment is a square, $`H_i = R_i R_i^{\\mathsf T}`$, so this is", square),
        step("the squared length of", ROOT.T * JACOBIAN * MOVE),
    )


def orthogonal_velocity() -> Expression:
    r"""\dot W = -eta_0 Delta at an orthogonal start, where eta_0 is d times the rate of one layer (B section 3.1).

    >>> print(orthogonal_velocity())
    (-eta_0)*Delta
    """
    return -TOTAL * GAP


def is_orthogonal_velocity(formula: Expression) -> Decision:
    """Whether d layers with the rate eta_0 / d, each with orthogonal products around it, move the map like this."""
    isometries = (words.rule(ABOVE * ABOVE.T, 1), words.rule(BELOW.T * BELOW, 1))
    layer = -(TOTAL / DEPTH) * (ABOVE * (ABOVE.T * GAP * BELOW.T) * BELOW)
    alone = words.normal(layer, isometries)
    return words.vanishes(formula - DEPTH * alone).explain(
        step("Gradient descent moves the map through one layer by", layer),
        step("which at an orthogonal start is the same for every layer:", alone),
        step("All d of them together give", formula),
    )

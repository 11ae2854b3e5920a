r"""The quadratic loss of a deep linear network, its gradient, and the shallow network that is solved in one line.

W = w_d ... w_1 maps inputs x to outputs; Delta = W - W^* with W^* Sigma_x = E[y x^T]. One representative layer of any
depth reads W = A_i w_i B_i. Time is in units of 1 / eta unless eta is written. Source: A section 2, eqs. 1 and 5.
"""

from __future__ import annotations

from sympy import Expr, Rational, Symbol, diff, exp, sympify

from derivations import words
from derivations.decide import Decision, all_of, equal, step
from derivations.notation import A_I, B_I, DELTA, ETA, LAMBDA_X, N_0, N_D, SIGMA_X, TIME, W_I, Q
from derivations.word_algebra import Expression, Letter, Trace

HALF = Rational(1, 2)
SAMPLE_COUNT = Symbol("P", integer=True, positive=True)
W = Letter("W", N_D, N_0)
W_STAR = Letter("Wstar", N_D, N_0, latex="W^*")
SIGMA_YY = Letter("Sigma_yy", N_D, N_D, symmetric=True, latex=r"\Sigma_{yy}")
SIGMA_YX = Letter("Sigma_yx", N_D, N_0, latex=r"\Sigma_{yx}")
W_DOT = Letter("Wdot", N_D, N_0, latex=r"\dot W")
ROOT = Letter("Sigma_x_root", N_0, N_0, symmetric=True, latex=r"\Sigma_x^{1/2}")
UNROOT = Letter("Sigma_x_unroot", N_0, N_0, symmetric=True, latex=r"\Sigma_x^{-1/2}")
GAP_0 = Symbol("Delta_0", real=True)


def sample_loss() -> Trace:
    """1/(2 P) sum over samples of |W x - y|^2, with the samples as columns of x (n_0, P) and y (n_d, P).

    >>> words.evaluate(sample_loss(), {"W": [[2.0]], "x": [[1.0, 1.0]], "y": [[0.0, 4.0]], "P": 2})
    array(2.)
    """
    x, y = Letter("x", N_0, SAMPLE_COUNT), Letter("y", N_D, SAMPLE_COUNT)
    miss = W * x - y
    return HALF / SAMPLE_COUNT * words.trace(miss * miss.T)


def moments() -> tuple[words.Rule, ...]:
    """The second moments: x x^T = P Sigma_x, y y^T = P Sigma_yy, and y x^T = P W^* Sigma_x, which defines W^*."""
    x, y = Letter("x", N_0, SAMPLE_COUNT), Letter("y", N_D, SAMPLE_COUNT)
    return (
        words.rule(x * x.T, SAMPLE_COUNT * SIGMA_X),
        words.rule(y * y.T, SAMPLE_COUNT * SIGMA_YY),
        words.rule(y * x.T, SAMPLE_COUNT * (W_STAR * SIGMA_X)),
    )


def excess() -> Trace:
    """The loss without its constant, 1/2 tr(Delta Sigma_x Delta^T) (A eq. 1)."""
    return HALF * words.trace(DELTA * SIGMA_X * DELTA.T)


def unexplained() -> Trace:
    """The constant of the loss, 1/2 tr(Sigma_yy - W^* Sigma_x W^*^T): what no linear map can explain."""
    return HALF * words.trace(SIGMA_YY - W_STAR * SIGMA_X * W_STAR.T)


def quadratic_form() -> Trace:
    """The mean loss over any data: excess plus constant (A eq. 1).

    >>> print(quadratic_form() - unexplained())
    (1/2)*tr(Delta*Sigma_x*Delta.T)
    """
    return excess() + unexplained()


def follows_from_samples(formula: Trace) -> Decision:
    """Whether a formula in Delta, W^*, Sigma_x, Sigma_yy is the mean loss over the samples."""
    in_moments = words.normal(sample_loss(), moments())
    spelled = words.substitute(formula, {DELTA: W - W_STAR})
    return words.vanishes(sample_loss() - spelled, moments()).explain(
        step("The mean loss over samples, written with the samples as columns:", sample_loss()),
        step("With the second moments of the data it becomes", in_moments),
        step("Completing the square in W gives, for every W,", formula),
    )


def gradient() -> Expression:
    """The derivative of the loss with respect to layer i, g_i = A_i^T Delta Sigma_x B_i^T (A eq. 5).

    >>> print(gradient())
    A_i.T*Delta*Sigma_x*B_i.T
    """
    return A_I.T * DELTA * SIGMA_X * B_I.T


def layer_gradient() -> Expression:
    """The derivative of the loss at W = A_i w_i B_i with respect to w_i, from the loss and nothing else."""
    gap = A_I * W_I * B_I - W_STAR
    return words.gradient(words.substitute(excess(), {DELTA: gap}), W_I)


def is_gradient(formula: Expression) -> Decision:
    """Whether a formula in A_i, B_i, Delta, Sigma_x is the derivative of the loss with respect to w_i."""
    gap = A_I * W_I * B_I - W_STAR
    return words.vanishes(layer_gradient() - words.substitute(formula, {DELTA: gap})).explain(
        step("One layer of any depth, all others collected to its left and right:", A_I * W_I * B_I),
        step("The differential of the loss, paired with a change of that layer, has the gradient", layer_gradient()),
        step("that is, with the gap of the map for its bracket,", formula),
    )


def shallow_gap(q: Expr | int = Q) -> Expr:
    """The gap of a shallow map along an eigenvector of Sigma_x, Delta_0 exp(-eta lambda_x^{1 - 1/q} t) (A section 2).

    >>> shallow_gap(1) == GAP_0 * exp(-ETA * TIME)
    True
    """
    return GAP_0 * exp(-ETA * LAMBDA_X ** (1 - 1 / sympify(q)) * TIME)


def solves_shallow_flow(formula: Expr) -> Decision:
    """Whether a time course solves the shallow qNGD flow: curvature lambda_x, slope lambda_x Delta r_k."""
    direction, out = Letter("r_k", N_0, 1), Letter("u", N_D, 1)
    eigenvector = (words.rule(SIGMA_X * direction, LAMBDA_X * direction),)
    curvature = words.vanishes(out * direction.T * SIGMA_X - LAMBDA_X * (out * direction.T), eigenvector)
    slope = words.vanishes(DELTA * SIGMA_X * direction - LAMBDA_X * (DELTA * direction), eigenvector)
    rate = ETA * LAMBDA_X ** (-1 / Q) * LAMBDA_X
    flow = equal(diff(formula, TIME), -rate * formula)
    start = equal(formula.subs(TIME, 0), GAP_0)
    return all_of(curvature, slope, flow, start).explain(
        step("Without hidden layers the Hessian+ multiplies a direction by the covariance:", W_DOT * SIGMA_X),
        step("On an eigenvector of the covariance it is a number, and the gradient", LAMBDA_X * (DELTA * direction)),
        step("The root of order q of the curvature divides it away, which leaves the rate", rate),
        step("with the solution", formula),
    )


def shallow_natural_velocity() -> Expression:
    r"""\dot W = -eta Delta: natural gradient descent for d = 1, whatever the covariance (A section 2).

    >>> print(shallow_natural_velocity())
    (-eta)*Delta
    """
    return -ETA * words.expression(DELTA)


def whitening_is_natural(formula: Expression) -> Decision:
    """Whether natural gradient descent, and gradient descent on whitened inputs, both move a shallow map like this."""
    root = (
        words.rule(SIGMA_X, ROOT * ROOT),
        words.rule(ROOT * UNROOT, words.identity(N_0)),
        words.rule(UNROOT * ROOT, words.identity(N_0)),
    )
    whitened = (-ETA * (DELTA * ROOT)) * UNROOT
    natural = words.vanishes((formula + ETA * words.expression(DELTA)) * SIGMA_X, root)
    same = words.vanishes(whitened - formula, root)
    return all_of(natural, same).explain(
        step("Whitened inputs turn the map into W R, R the root of the covariance; it moves by", -ETA * (DELTA * ROOT)),
        step("Read in the old coordinates it is", words.normal(whitened, root)),
        step("The natural gradient solves $`(\\dot W + \\eta \\Delta) \\Sigma_x = 0`$; it is the same:", formula),
    )

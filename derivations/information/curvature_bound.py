r"""A bound on the largest eigenvalue of the Fisher matrix that holds for every network and every data set.

The Fisher matrix shares its non-zero eigenvalues with a sum over layers of Khatri-Rao products: Gram matrix of the
layer's inputs, entry by entry, times blocks of back-propagated Jacobians. Each of them is bounded by a square that is
completed explicitly. Inputs carry a 1 for the bias; Delta_i = R_i^T J_{l,i} with R_i R_i^T = H_i. Replaces B section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from random import Random
from typing import Any

from sympy import Expr, Symbol

from derivations import words
from derivations.decide import Decision, all_of, equal, step
from derivations.notation import DEPTH, SAMPLES, M, N
from derivations.words import Expression, LayerSum, Letter, Trace

ROWS = Symbol("r", integer=True, positive=True)
MOMENT = Symbol("Lambda_x", nonnegative=True)
AUGMENTED = Symbol("Lambda_x1", positive=True)
COVARIANCE = Symbol("C_x", nonnegative=True)
MEAN_NORM = Symbol("sbar_ell", positive=True)
FIRST_NORM = Symbol("s_1", positive=True)
NORM = Symbol("s_ell", positive=True)
LENGTH = Symbol("xi_ell", nonnegative=True)

X_I = Letter("x_i", M, 1)
X_J = Letter("x_j", M, 1)
DELTA_I = Letter("Delta_i", ROWS, N, latex=r"\Delta_i")
DELTA_J = Letter("Delta_j", ROWS, N, latex=r"\Delta_j")
U_I = Letter("u_i", ROWS, 1)
U_J = Letter("u_j", ROWS, 1)
STEP_W = Letter("V", N, M)

X_ALL = Letter("X", M, SAMPLES)
ONES = Letter("o", SAMPLES, 1, latex=r"\mathbf{1}")
BACK = Letter("B", N, SAMPLES)
E_I = Letter("e_i", SAMPLES, 1)
E_J = Letter("e_j", SAMPLES, 1)
ROOT_X = Letter("C", SAMPLES, SAMPLES)
ROOT_ONE = Letter("C_1", SAMPLES, SAMPLES)
ROOT_J = Letter("F_i", ROWS, ROWS)
READOUT = Letter("W_g", ROWS, N, latex="W^g")
JACOBIAN = Letter("J_ell", ROWS, N, latex=r"J_\ell")


def kernel_block() -> Expression:
    r"""Delta_i Delta_j^T u_j x_j^T x_i: how the outputs of sample i move when those of sample j are pulled along u_j.

    The parameter step is the gradient of u_j^T h_j; inputs carry a last entry 1 for the bias (B eqs. 9, 10, 47).

    >>> print(kernel_block())
    Delta_i*Delta_j.T*u_j*x_j.T*x_i
    """
    pull = words.gradient(words.trace(U_J.T * DELTA_J * STEP_W * X_J), STEP_W)
    return words.substitute(DELTA_I * STEP_W * X_I, {STEP_W: pull})


def layer_form() -> Trace:
    r"""tr(B X^T X B^T), the quadratic form of one layer's kernel, with the columns Delta_i^T u_i of B.

    >>> print(layer_form())
    tr(B*X.T*X*B.T)
    """
    pair = words.trace(U_I.T * kernel_block())
    return words.normal(pair, (*_stacked(), *_summed()))


def _stacked() -> tuple[words.Rule, ...]:
    """Columns of stacked matrices: the inputs and the back-propagated vectors of one sample."""
    return (
        words.rule(DELTA_I.T * U_I, BACK * E_I),
        words.rule(DELTA_J.T * U_J, BACK * E_J),
        words.rule(X_I, X_ALL * E_I),
        words.rule(X_J, X_ALL * E_J),
    )


def _summed() -> tuple[words.Rule, ...]:
    """Sums over all samples: unit vectors resolve the identity."""
    whole = words.identity(SAMPLES)
    return words.rule(E_I * E_I.T, whole), words.rule(E_J * E_J.T, whole)


def bias_as_input() -> Expr:
    r"""lambda_max(E[(x, 1)(x, 1)^T]) max_i s_max(H_i^{1/2} J_{l,i})^2, one layer's share of the sharper bound."""
    return AUGMENTED * NORM**2


def second_moments() -> Expr:
    r"""(1 + lambda_max(E[x x^T])) max_i s_max(H_i^{1/2} J_{l,i})^2, one layer's share of the bound.

    >>> second_moments()
    s_ell**2*(Lambda_x + 1)
    """
    return (1 + MOMENT) * NORM**2


def is_bias_as_input(formula: Expr) -> Decision:
    r"""Whether formula |u|^2 less the layer's form is lambda sum_i |F_i^T u_i|^2 + |B C|^2, squares alone.

    C C^T = lambda I - X^T X / D and F_i F_i^T = s^2 I - Delta_i Delta_i^T exist by the definitions of lambda and s.
    """
    roots = (
        words.rule(ROOT_X * ROOT_X.T, words.identity(SAMPLES) * AUGMENTED - X_ALL.T * X_ALL / SAMPLES),
        words.rule(ROOT_J * ROOT_J.T, words.identity(ROWS) * NORM**2 - DELTA_I * DELTA_I.T),
    )
    squares = _spread(AUGMENTED) + words.trace(BACK * ROOT_X * ROOT_X.T * BACK.T)
    gap = words.trace(U_I.T * U_I) * formula - layer_form() / SAMPLES
    rules = (*roots, words.rule(DELTA_I.T * U_I, BACK * E_I), *_summed())
    return words.vanishes(gap - squares, rules, _one_sample).explain(
        step("Pulling the outputs of one sample moves those of another by the kernel of a layer,", kernel_block()),
        step("so that its quadratic form, summed over all samples, is", layer_form()),
        step("The bound less the form is a sum of squares, for every direction in output space:", squares),
        step("Forms of several layers add up, and so do their bounds, whatever the directions of their maxima."),
    )


def is_second_moments(formula: Expr) -> Decision:
    r"""Whether the sharper bound follows with lambda_max(X^T X / D + 1 1^T / D) <= lambda_max(X^T X / D) + 1.

    The weaker form is what remains when inputs and bias have a square of their own.
    """
    whole = words.identity(SAMPLES)
    roots = (
        words.rule(ROOT_X * ROOT_X.T, whole * MOMENT - X_ALL.T * X_ALL / SAMPLES),
        words.rule(ROOT_ONE * ROOT_ONE.T, whole - ONES * ONES.T / SAMPLES),
        words.rule(ROOT_J * ROOT_J.T, words.identity(ROWS) * NORM**2 - DELTA_I * DELTA_I.T),
    )
    squares = (
        _spread(1 + MOMENT)
        + words.trace(BACK * ROOT_X * ROOT_X.T * BACK.T)
        + words.trace(BACK * ROOT_ONE * ROOT_ONE.T * BACK.T)
    )
    form = layer_form() + words.trace(BACK * ONES * ONES.T * BACK.T)
    gap = words.trace(U_I.T * U_I) * formula - form / SAMPLES
    rules = (*roots, words.rule(DELTA_I.T * U_I, BACK * E_I), *_summed())
    return words.vanishes(gap - squares, rules, _one_sample).explain(
        step("The quadratic form of one layer, inputs and bias, is", form),
        step("The bound less the form is a sum of squares, for every direction in output space:", squares),
        step("Forms of several layers add up, and so do their bounds, whatever the directions of their maxima."),
    )


def _spread(factor: Expr) -> Trace:
    return words.trace(U_I.T * ROOT_J * ROOT_J.T * U_I) * factor


def _one_sample(draw: Random) -> Mapping[Any, Any]:
    """Exact matrices with all roots rational: one sample, two outputs, three neurons."""
    x, c, s = draw.randint(1, 5), draw.randint(1, 5), draw.randint(1, 3)
    jacobian = [[3 * s, 0, 0], [0, 4 * s, 0]]
    u = [[draw.randint(1, 4)], [draw.randint(1, 4)]]
    back = [[jacobian[0][k] * u[0][0] + jacobian[1][k] * u[1][0]] for k in range(3)]
    return {
        SAMPLES: 1,
        AUGMENTED: x**2 + c**2,
        MOMENT: x**2 + c**2,
        NORM: 5 * s,
        X_ALL: [[x]],
        ONES: [[1]],
        E_I: [[1]],
        E_J: [[1]],
        ROOT_X: [[c]],
        ROOT_ONE: [[0]],
        DELTA_I: jacobian,
        ROOT_J: [[4 * s, 0], [0, 3 * s]],
        U_I: u,
        BACK: back,
    }


def is_attained(formula: Expr) -> Decision:
    r"""Whether orthogonal layers without nonlinearity attain the bound, on one sample with lambda = |x|^2 + 1.

    Every layer then has the same Delta Delta^T = W^g W^{gT} and the same length of its inputs.
    """
    below, top = Letter("x_0", N, 1), Letter("w", ROWS, 1)
    action = words.normal(
        READOUT * READOUT.T * top * (below.T * below + words.identity(1)),
        (words.rule(READOUT * READOUT.T * top, top * NORM**2), words.rule(below.T * below, MOMENT)),
    )
    value = sum(coefficient for coefficient, _ in action.terms)
    return all_of(_kept(below), equal(formula.subs(AUGMENTED, 1 + MOMENT), value)).explain(
        step("With orthogonal layers no layer changes the Jacobians' squares or the inputs' lengths. All have", action),
        step("on the top left singular vector of the readout, which is the bound with one sample:", formula),
    )


def is_attained_on_data(formula: Expr) -> Decision:
    r"""Whether they attain it on every data set, along u_i = p_i w with top eigenvectors p of inputs, w of the readout.

    Without biases no layer changes X^T X, so one direction of output space is the top one of all layers.
    """
    below, top, along = Letter("X_0", N, SAMPLES), Letter("w", ROWS, 1), Letter("p", SAMPLES, 1)
    direction = top * along.T
    moments = (below.T * below + ONES * ONES.T) / SAMPLES
    rules = (
        words.rule(READOUT * READOUT.T * top, top * NORM**2),
        words.rule(along.T * below.T * below, along.T * SAMPLES * AUGMENTED - along.T * ONES * ONES.T),
    )
    action = words.normal(READOUT * READOUT.T * direction * moments, rules)
    return all_of(_kept(below), words.vanishes(action - direction * formula)).explain(
        step("Without nonlinearity and biases the kernel of every layer maps u_i = p_i w to", action),
        step(
            "where p is the top eigenvector of inputs and bias, w that of the readout: each share is attained,", formula
        ),
    )


def _kept(below: Letter) -> Decision:
    """Whether an orthogonal layer changes neither the square of the Jacobian above nor the Gram matrix below."""
    rotation = Letter("Q", N, N)
    orthogonal = words.rule(rotation * rotation.T, 1), words.rule(rotation.T * rotation, 1)
    above = READOUT * rotation
    return all_of(
        words.vanishes(above * above.T - READOUT * READOUT.T, orthogonal, _turned),
        words.vanishes((rotation * below).T * rotation * below - below.T * below, orthogonal, _turned),
    )


def _turned(draw: Random) -> Mapping[Any, Any]:
    """A rational rotation with a readout and an input."""
    a, b, c = draw.choice([(3, 4, 5), (5, 12, 13)])
    numbers = [Fraction(a, c), Fraction(b, c)]
    column = [[draw.randint(1, 3)], [1]]
    return {
        SAMPLES: 1,
        Letter("Q", N, N): [[numbers[0], numbers[1]], [-numbers[1], numbers[0]]],
        READOUT: [[draw.randint(1, 3), draw.randint(1, 3)]],
        Letter("x_0", N, 1): column,
        Letter("X_0", N, SAMPLES): column,
    }


def sample_block() -> LayerSum:
    r"""sum_l (1 + |x^{l-1}|^2) J_l J_l^T / D, the part of the kernel that belongs to one sample.

    >>> print(sample_block().summand)
    (xi_ell/D + 1/D)*J_ell*J_ell.T
    """
    return words.layer_sum(JACOBIAN * JACOBIAN.T * ((1 + LENGTH) / SAMPLES))


def sample_trace() -> LayerSum:
    r"""sum_l (1 + |x^{l-1}|^2) |J_l|_F^2, the trace of the Fisher matrix of one sample."""
    return words.layer_sum(words.trace(JACOBIAN * JACOBIAN.T) * (1 + LENGTH))


def _own_block() -> Expression:
    """The kernel between a sample and itself, the input with a last entry 1 as its length plus one."""
    own = words.substitute(kernel_block(), {DELTA_I: JACOBIAN, DELTA_J: JACOBIAN, X_J: X_I})
    return words.normal(own, (words.rule(X_I.T * X_I, 1 + LENGTH),))


def is_sample_block(formula: LayerSum) -> Decision:
    """Whether a direction that lives on one sample sees this block: the quotient there is a lower bound."""
    return words.vanishes(formula.summand * U_J - _own_block() / SAMPLES).explain(
        step("The largest quotient over all directions is at least that over directions on one sample,", _own_block()),
        step("for each layer, divided by the number of samples."),
    )


def is_sample_trace(formula: LayerSum) -> Decision:
    """Whether the kernel's diagonal adds up to this: unit vectors of output space resolve the identity."""
    if not isinstance(formula.summand, Trace):
        raise ValueError(f"formula: {formula.summand} given, allowed: a sum of traces")
    diagonal = words.trace(_own_block() * U_J.T)
    rules = (words.rule(U_J * U_J.T, words.identity(ROWS)),)
    found = words.normal(diagonal, rules)
    return words.vanishes(formula.summand - found).explain(
        step("One output direction contributes to the trace", diagonal),
        step("Summed over a basis of output space this is", found),
    )


def linear_value() -> Expr:
    r"""L lambda s^2, the largest eigenvalue for orthogonal layers without nonlinearity, at s_max(J) = 1.

    >>> linear_value()
    Lambda_x1*d*s_ell**2
    """
    return DEPTH * bias_as_input()

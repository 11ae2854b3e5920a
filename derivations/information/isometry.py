r"""Isometry of back-propagation and of whole products of layers: what it forces on weights, and what random ones do.

J_l is the Jacobian of the outputs with respect to h^l, so J_l = J_{l+1} W^{l+1} D^l with the slopes D^l. Source: B
abstract, introduction and section 2.
"""

from __future__ import annotations

import random
from functools import cache
from typing import Any

from sympy import Expr, Matrix, Rational, Symbol, exp, factor, integrate, oo, pi, sqrt

from derivations import words
from derivations.decide import Decision, all_of, equal, step
from derivations.notation import DEPTH, N
from derivations.word_algebra import Expression, Letter

W = Letter("W", N, N, latex="W^{l+1}")
J = Letter("J_n", N, N, latex="J_{l+1}")
D = Letter("D", N, N, symmetric=True, latex="D^l")
D_INVERSE = Letter("D^-1", N, N, symmetric=True, latex="(D^l)^{-1}")
SQUARE = Symbol("c", positive=True)
Q = Letter("Q", N, N)
WIDTH = Symbol("N", integer=True, positive=True)


def forced_gram() -> Expression:
    r"""{W^{l+1}}^T W^{l+1} = (D^l)^{-2} where J_l and J_{l+1} are square isometries (B abstract).

    >>> print(forced_gram())
    D^-1*D^-1
    """
    return D_INVERSE * D_INVERSE


def scaled_identity() -> Expression:
    """{W^{l+1}}^T W^{l+1} = c 1, c the mean of its diagonal: the weights are orthogonal up to a scale.

    >>> print(scaled_identity())
    (c)*1
    """
    return SQUARE * words.identity(N)


def _rotation(generator: random.Random) -> Matrix:
    """A rational rotation of the plane, from a Pythagorean triple."""
    a, b, c = generator.choice([(3, 4, 5), (5, 12, 13), (8, 15, 17), (20, 21, 29)])
    return Matrix([[Rational(a, c), Rational(-b, c)], [Rational(b, c), Rational(a, c)]])


def isometric_layer(generator: random.Random) -> dict[Any, Any]:
    """Exact matrices of one layer with different slopes whose J_l and J_{l+1} are both isometries."""
    slopes = [Rational(1, k) for k in generator.sample(range(2, 6), 2)]
    d = Matrix.diag(*slopes)
    w = _rotation(generator) * d.inv()
    mean = sum(1 / s**2 for s in slopes) / 2
    return {W: w, J: _rotation(generator), D: d, D_INVERSE: d.inv(), SQUARE: mean}


def is_forced_gram(formula: Expression) -> Decision:
    """Whether isometry of two neighbouring Jacobians forces this Gram matrix on the weights between them."""
    here = J * W * D
    inverse = (words.rule(D * D_INVERSE, 1), words.rule(D_INVERSE * D, 1))
    isometries = (words.rule(J.T * J, 1), *inverse)
    gram = words.normal(D_INVERSE * here.T * here * D_INVERSE, isometries)
    found = D_INVERSE * words.identity(N) * D_INVERSE
    return all_of(
        words.vanishes(gram - W.T * W, isometries), words.vanishes(formula - found, inverse, isometric_layer)
    ).explain(
        step("The Jacobian of one layer is that of the next, times weights, times slopes:", here),
        step("As $`J_{l+1}`$ is an isometry, its Gram matrix between inverse slopes is", gram),
        step("As $`J_l`$ is an isometry too, that is", found),
        step("Conversely weights with this Gram matrix pass the isometry on from layer to layer."),
    )


def second_factor() -> Expression:
    """S = W Q^T: the factor that makes S Q any given square matrix W, whatever the orthogonal Q (B app. B.3.3).

    >>> print(second_factor() * Q)
    W*Q.T*Q
    """
    return TARGET * Q.T


TARGET = Letter("W", N, N)


def reaches_every_matrix(formula: Expression) -> Decision:
    """Whether a factor times an orthogonal matrix gives the target back, for every target and orthogonal matrix."""
    orthogonal = (words.rule(Q.T * Q, 1), words.rule(Q * Q.T, 1))

    def model(generator: random.Random) -> dict[Any, Any]:
        return {Q: _rotation(generator), TARGET: Matrix(2, 2, [generator.randint(-4, 4) for _ in range(4)])}

    return words.vanishes(formula * Q - TARGET, orthogonal, model).explain(
        step("Multiply by the orthogonal matrix:", formula * Q),
        step("Its transpose is its inverse, so nothing is left of it:", words.normal(formula * Q, orthogonal)),
    )


def second_moment_ratio() -> Expr:
    r"""E tr (J^T J)^2 / N of a product of d Gaussian N x N matrices of variance 1/N, while E tr J^T J / N = 1.

    >>> second_moment_ratio().subs(DEPTH, 1).simplify()
    2 + 1/N
    """
    n = WIDTH
    return ((n + 2) * (1 + 2 / n) ** DEPTH - (n - 1) * (1 - 1 / n) ** DEPTH) / 3


@cache
def _moment(order: int) -> Expr:
    g = Symbol("g", real=True)
    return integrate(g**order * exp(-(g**2) / 2), (g, -oo, oo)) / sqrt(2 * pi)


def one_gaussian_layer() -> tuple[Matrix, Matrix]:
    r"""The map of (E tr M^2 / N, E (tr M)^2 / N^2) when a Gaussian layer turns M into W^T M W, and its start (1, 1).

    In the basis of eigenvectors of M one column w of W has w^T M w = sum m_k g_k^2 / N.

    >>> one_gaussian_layer()[0][1, 1]
    1
    """
    second, fourth, n = _moment(2), _moment(4), WIDTH
    # each column of W alone, E (w^T M w)^2, and a pair of columns, E (w^T M v)^2 and E w^T M w v^T M v
    alone = {"squares": fourth - second**2, "trace": second**2}
    pair = {"squares": second**2, "trace": second**2}
    gram = [((n - 1) * pair["squares"] + alone["squares"]) / n, alone["trace"]]
    trace = [alone["squares"] / n**2, ((n - 1) * pair["trace"] + alone["trace"]) / n]
    return Matrix([gram, trace]), Matrix([1, 1])


@cache
def _iterated() -> tuple[dict[Expr, Matrix], Matrix, Decision]:
    """Eigenvalues and eigenvectors of the map of one layer, the start in their basis, and that this is right."""
    layer, start = one_gaussian_layer()
    eigen = {1 + 2 / WIDTH: Matrix([1, 1 / WIDTH]), 1 - 1 / WIDTH: Matrix([1, -2 / WIDTH])}
    weights = Matrix([[v[k] for v in eigen.values()] for k in range(2)]).LUsolve(start).applyfunc(factor)
    basis = all_of(*(equal((layer * v - rate * v)[k], 0) for rate, v in eigen.items() for k in range(2)))
    return eigen, weights, basis


def is_second_moment_ratio(formula: Expr) -> Decision:
    """Whether a formula is the first entry of the d-th iterate, by induction over layers on each eigenvector."""
    layer, _ = one_gaussian_layer()
    eigen, weights, basis = _iterated()
    course = sum(weight * rate**DEPTH for weight, rate in zip(weights, eigen, strict=True))
    return all_of(basis, equal(formula, course)).explain(
        step("Moments of normal numbers give the map of both averages in one layer:", layer),
        step("It has two eigenvalues with their eigenvectors:", tuple(eigen)),
        step(
            "The unit matrix, where both averages are one, has in this basis the weights",
            tuple(weights),
        ),
        step("so after d layers the first average is", formula),
        step("In wide networks this tends to", 1 + DEPTH),
    )

r"""The tangent kernel layer by layer: Gram matrix of the inputs of a layer times Gram matrix of its output Jacobians.

x_i are the inputs of one representative layer h = W x + b for the D samples, columns of X; Delta_i = dh^g/dh is the
Jacobian of the outputs of sample i with respect to h. Block (i, j) of the kernel, outputs by outputs, is the sum over
the layers of (X^T X + 1 1^T)_{ij} Delta_i Delta_j^T. Source: B eq. 18 with eqs. 9 and 10.
"""

from __future__ import annotations

from random import Random
from typing import Any

from sympy import Expr, Integer, Matrix, Symbol

from derivations import words
from derivations.decide import Decision, all_of, equal, step
from derivations.notation import DEPTH, SAMPLES, M, N
from derivations.words import Expression, Letter

OUTPUTS, INPUTS, TOP = (Symbol(name, integer=True, positive=True) for name in ("N_g", "N_0", "N_L"))
X = Letter("X", M, SAMPLES)
ONES = Letter("one", SAMPLES, 1, latex=r"\mathbf{1}")
D_I, D_J = Letter("Delta_i", OUTPUTS, N), Letter("Delta_j", OUTPUTS, N)
E_I, E_J = Letter("e_i", SAMPLES, 1), Letter("e_j", SAMPLES, 1)
COTANGENT = Letter("v", OUTPUTS, 1)
W, BIAS = Letter("W", N, M), Letter("b", N, 1)

X_0 = Letter("X_0", INPUTS, SAMPLES)
W_G = Letter("W_g", OUTPUTS, TOP, latex="W^g")
LARGEST_INPUT, LARGEST_READOUT = Symbol("lambda_x", positive=True), Symbol("s_g", positive=True)
_ON_SAMPLES = (words.rule(ONES.T * E_I, 1), words.rule(ONES.T * E_J, 1))


def layer_kernel() -> dict[str, Expression]:
    """One layer's share: samples X^T X + 1 1^T (weights, biases), outputs Delta_i Delta_j^T; entries multiply.

    >>> str(layer_kernel()["samples"])
    'X.T*X + one*one.T'
    """
    return {"samples": X.T * X + ONES * ONES.T, "outputs": D_I * D_J.T}


def is_layer_kernel(formula: dict[str, Expression]) -> Decision:
    """Whether the formula is the answer of sample i to the parameter gradient of a cotangent v on sample j."""
    pulled = words.trace(COTANGENT.T * D_J * (W * X * E_J + BIAS))
    weights, biases = words.gradient(pulled, W), words.gradient(pulled, BIAS)
    answer = D_I * (weights * X * E_I + biases)
    entry = formula["outputs"] * COTANGENT * (E_J.T * formula["samples"] * E_I)
    return words.vanishes(answer - entry, _ON_SAMPLES, _unit_vectors).explain(
        step("A cotangent on the outputs of sample j pulls at the weights of the layer by", weights),
        step("and at its biases by", biases),
        step("If the layer moves so, the outputs of sample i answer with", answer),
        step("an entry of a matrix over the samples times a matrix over the outputs:", formula),
    )


def _unit_vectors(draw: Random) -> dict[Any, Any]:
    """Three samples with random inputs, cotangent and Jacobians; e_i, e_j are unit vectors."""

    def entries(rows: int, columns: int) -> Matrix:
        return Matrix(rows, columns, lambda *_: Integer(draw.randint(-3, 3)))

    values = {X: entries(2, 3), ONES: Matrix([1, 1, 1]), E_I: Matrix([1, 0, 0]), E_J: Matrix([0, 0, 1])}
    return {**values, D_I: entries(2, 4), D_J: entries(2, 4), COTANGENT: entries(2, 1)}


def linear_kernel() -> dict[str, Expression]:
    r"""L (X_0^T X_0 + 1 1^T) kron W^g W^{gT}: orthogonal linear layers of scale one, biases at zero.

    Orthonormal columns below every layer and orthonormal rows above it are enough.

    >>> str(linear_kernel()["outputs"])
    'W_g*W_g.T'
    """
    return {"samples": DEPTH * (X_0.T * X_0 + ONES * ONES.T), "outputs": W_G * W_G.T}


def is_linear_kernel(formula: dict[str, Expression]) -> Decision:
    """Whether the layer formula takes this form when orthogonal matrices lie below and above every layer."""
    below, above = Letter("Q_b", M, INPUTS, latex="Q_<"), Letter("Q_a", TOP, N, latex="Q_>")
    rules = (words.rule(below.T * below, 1), words.rule(above * above.T, 1))
    share = layer_kernel()
    samples = words.substitute(share["samples"], {X: below * X_0})
    outputs = words.substitute(share["outputs"], {D_I: W_G * above, D_J: W_G * above})
    return all_of(
        words.vanishes(DEPTH * samples - formula["samples"], rules, _rotations(below, above)),
        words.vanishes(outputs - formula["outputs"], rules, _rotations(below, above)),
    ).explain(
        step(
            "Below a layer the network has orthonormal columns and drops out of the Gram matrix of its inputs:", samples
        ),
        step("above it the network has orthonormal rows and drops out of the outputs:", outputs),
        step("No layer differs from another, so the sum over the layers counts them:", formula),
    )


def _rotations(below: Letter, above: Letter) -> Any:
    def model(draw: Random) -> dict[Any, Any]:
        values = {
            X_0: Matrix(2, 3, lambda *_: Integer(draw.randint(-3, 3))),
            W_G: Matrix(2, 2, lambda *_: Integer(draw.randint(-3, 3))),
        }
        turns = {below: Matrix([[0, -1], [1, 0]]), above: Matrix([[3, 4], [-4, 3]]) / 5}
        return {**values, **turns, ONES: Matrix([1, 1, 1]), DEPTH: Integer(draw.randint(2, 5))}

    return model


def linear_largest() -> Expr:
    r"""lambda_max(G) = L lambda_x s_g^2: depth, largest eigenvalue of E[(x, 1)(x, 1)^T], largest singular value of W^g.

    >>> linear_largest()
    d*lambda_x*s_g**2
    """
    return DEPTH * LARGEST_INPUT * LARGEST_READOUT**2


def is_linear_eigenvalue(formula: Expr) -> Decision:
    """Whether a product of eigenvectors of the two factors is an eigenvector of the kernel over D with this value."""
    u, v = Letter("u", SAMPLES, 1), Letter("w", OUTPUTS, 1)
    gram = linear_kernel()
    rules = (
        words.rule(W_G * W_G.T * v, v * LARGEST_READOUT**2),
        words.rule(u.T * X_0.T * X_0, u.T * (SAMPLES * LARGEST_INPUT) - u.T * ONES * ONES.T),
    )
    acted = gram["outputs"] * v * u.T * gram["samples"] / SAMPLES
    found = words.normal(acted, rules)
    if len(found.terms) != 1:
        return Decision("undecided", "the product of eigenvectors is not recognised as an eigenvector")
    value = found.terms[0][0]
    return all_of(words.vanishes(acted - (v * u.T) * value, rules), equal(formula, value)).explain(
        step("The kernel acts on a product of an eigenvector over outputs and one over samples as", acted),
        step("which multiplies it by", value),
        step("All eigenvalues are such products, of non-negative numbers: the largest takes the largest of both."),
    )

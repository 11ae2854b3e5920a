r"""Blocks of the Fisher matrix by layers, B section 3, Lemmas 1 and 2: exact form, averages, and what factorises.

J_a is the Jacobian of the outputs with respect to the pre-activations of layer a, x_a the input of that layer. Blocks
act on a move V of the weights of layer b as outputs V inputs^T, the Kronecker product on stacked columns.
"""

from __future__ import annotations

from sympy import Expr, Integer, Symbol

from derivations import words
from derivations.decide import Decision, all_of, equal, step, zero
from derivations.information.fisher import OUTPUT_HESSIAN, OUTPUTS
from derivations.notation import SAMPLES, SIGMA_W
from derivations.words import Expression, Letter

N_A, M_A, N_B, M_B = (Symbol(s, integer=True, positive=True) for s in ("n_a", "m_a", "n_b", "m_b"))
N_1, N_TOP = (Symbol(s, integer=True, positive=True) for s in ("N_1", "N_L"))
X_A, X_B = Letter("x_a", M_A, 1), Letter("x_b", M_B, 1)
J_A, J_B = Letter("J_a", OUTPUTS, N_A), Letter("J_b", OUTPUTS, N_B)
V_A, V_B = Letter("V_a", N_A, M_A), Letter("V_b", N_B, M_B)
BIAS_B = Letter("v_b", N_B, 1)

INPUT_COSINE, OUTPUT_COSINE = Symbol("c_x", nonnegative=True), Symbol("c_delta", nonnegative=True)
HIDDEN, READOUT = Symbol("lambda_hidden", positive=True), Symbol("lambda_readout", positive=True)
REST, W_1 = Letter("R", N_TOP, N_1), Letter("W_1", N_1, N_1, latex="W^1")
W_G = Letter("W_g", OUTPUTS, N_TOP, latex="W^g")
LARGEST_OUTWARD, LARGEST_INWARD = Symbol("s_gJ", positive=True), Symbol("s_J", positive=True)


def weight_block() -> dict[str, Expression]:
    """Block of weights a, weights b for one input: inputs x_a x_b^T, outputs J_a^T H J_b (B eq. 8 with eq. 9).

    >>> str(weight_block()["inputs"])
    'x_a*x_b.T'
    """
    return {"inputs": X_A * X_B.T, "outputs": J_A.T * OUTPUT_HESSIAN * J_B}


def bias_block() -> dict[str, Expression]:
    """Block of weights a, bias b for one input: inputs x_a, a column, outputs J_a^T H J_b (B eq. 12).

    >>> str(bias_block()["inputs"])
    'x_a'
    """
    return {"inputs": words.expression(X_A), "outputs": J_A.T * OUTPUT_HESSIAN * J_B}


def bias_block_as_printed() -> dict[str, Expression]:
    """The same with the row x_a^T in its place, as printed in B eq. 12."""
    return {"inputs": X_A.T, "outputs": J_A.T * OUTPUT_HESSIAN * J_B}


def _felt(moved: Expression) -> Expression:
    """What the weights of layer a feel of the quadratic form when the outputs move."""
    return words.gradient(words.trace((J_A * V_A * X_A).T * OUTPUT_HESSIAN * moved), V_A)


def is_weight_block(formula: dict[str, Expression]) -> Decision:
    """Whether a formula is what the weights of layer a feel when those of layer b move."""
    moved = J_B * V_B * X_B
    return words.vanishes(_felt(moved) - formula["outputs"] * V_B * formula["inputs"].T).explain(
        step("Weights of layer b that move by $`V_b`$ move the outputs by", moved),
        step("The weights of layer a feel of that", _felt(moved)),
        step("outputs times move times inputs transposed: a Kronecker product on stacked columns.", formula),
    )


def is_bias_block(formula: dict[str, Expression]) -> Decision:
    """Whether a formula is what the weights of layer a feel when the bias of layer b moves; shapes must fit."""
    moved = J_B * BIAS_B
    felt, inputs, outputs = _felt(moved), formula["inputs"], formula["outputs"]
    steps = (
        step("A bias is a weight whose input is one; it moves the outputs by", moved),
        step("The weights of layer a feel of that", felt),
    )
    if inputs.shape != (M_A, 1) or outputs.shape != (N_A, N_B):
        shapes = {"inputs": _by(inputs.shape), "allowed": _by((M_A, 1)), "outputs": _by(outputs.shape)}
        how = "the Kronecker product with the inputs does not have one row for each weight of layer a"
        return Decision("refuted", how, shapes).explain(*steps, step("which the formula does not fit:", formula))
    found = words.vanishes(felt - outputs * BIAS_B * inputs.T)
    return found.explain(*steps, step("a Kronecker product with the column of inputs.", formula))


def _by(shape: tuple[Expr, Expr]) -> str:
    return f"{shape[0]} x {shape[1]}"


def data_ratio() -> Expr:
    r"""lambda_max of a diagonal weight block over that of its factors, D inputs with equal cosines (B eq. 11).

    >>> data_ratio().subs({INPUT_COSINE: 1})
    1
    """
    t, a, b = SAMPLES, INPUT_COSINE, OUTPUT_COSINE
    return t * (1 + (t - 1) * a * b) / ((1 + (t - 1) * a) * (1 + (t - 1) * b))


def is_data_ratio(formula: Expr) -> Decision:
    """Whether a formula is the ratio of row sums: Gram matrices with equal cosines and their entrywise product."""
    t = SAMPLES

    def row(cosine: Expr) -> Expr:
        return (1 + (t - 1) * cosine) / t

    a, b = INPUT_COSINE, OUTPUT_COSINE
    excess = (t - 1) * (1 - a) * (1 - b) / ((1 + (t - 1) * a) * (1 + (t - 1) * b))
    return all_of(zero(formula - row(a * b) / (row(a) * row(b))), zero(formula - 1 - excess)).explain(
        step(
            "With one cosine for all pairs, the mean over inputs has the largest eigenvalue, in units of one,", row(a)
        ),
        step("Cosines of a block are products of those of inputs and of back-propagated outputs:", row(a * b)),
        step("so block over factors is", formula),
        step("It exceeds one unless inputs are parallel, or outputs are, or there is one input, by", excess),
    )


def readout_bounds() -> dict[str, Expr]:
    """lambda(hidden) <= lambda(all) <= lambda(hidden) + lambda(readout) for the largest eigenvalues (B section 3).

    >>> readout_bounds()["at most"]
    lambda_hidden + lambda_readout
    """
    return {"at least": HIDDEN, "at most": HIDDEN + READOUT}


def are_readout_bounds(formula: dict[str, Expr]) -> Decision:
    """Whether the pair are the sharp bounds: a positive part is added, and largest eigenvalues are subadditive."""
    size = Symbol("D N_g", integer=True, positive=True)
    a, b = (Letter(name, size, Symbol(f"P_{name}", integer=True, positive=True)) for name in ("A", "B"))
    v = Letter("v", size, 1)
    added = v.T * (a * a.T + b * b.T) * v - v.T * a * a.T * v
    ends = (formula["at least"] - HIDDEN, formula["at most"] - HIDDEN - READOUT)
    return all_of(words.vanishes(added - (b.T * v).T * (b.T * v)), *(zero(end) for end in ends)).explain(
        step("On outputs and data the parameters add up; the readout adds to the form of the hidden layers", added),
        step("a square: the largest eigenvalue does not fall, and rises by no more than that of the readout.", formula),
    )


def outward_jacobian() -> Expr:
    """s_max(dh^g/dh^1) = s_max(W^g dx^L/dx^0) / sigma_w for W^1 square, sigma_w times orthogonal (B section 3).

    >>> outward_jacobian()
    s_gJ/sigma_w
    """
    return LARGEST_OUTWARD / SIGMA_W


def inward_jacobian() -> Expr:
    """The singular value that the abstract and figure 2 speak of, s_max(dx^L/dx^0)."""
    return LARGEST_INWARD


def is_outward_jacobian(formula: Expr) -> Decision:
    """Whether a formula is the largest singular value of W^g R in terms of that of W^g R W^1."""
    turned = (W_G * REST * W_1) * (W_G * REST * W_1).T
    gap = turned - SIGMA_W**2 * (W_G * REST) * (W_G * REST).T
    scaled = words.vanishes(words.normal(gap, [words.rule(W_1 * W_1.T, SIGMA_W**2)]))
    return all_of(scaled, equal(formula, LARGEST_OUTWARD / SIGMA_W)).explain(
        step("With R for all between, the bound has the Jacobian", W_G * REST),
        step("and the abstract the Jacobian", REST * W_1),
        step("An orthogonal first layer only scales: up to $`\\sigma_w^2`$ the bound's square is", turned),
    )


def width_power() -> Expr:
    """The power of the width in the relative error of B eq. 11, averaged over weights.

    >>> width_power()
    -1
    """
    return Integer(-1)

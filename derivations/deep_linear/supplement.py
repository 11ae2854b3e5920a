r"""Natural gradient as a constrained problem, layer by layer and mode by mode, and the kernel of two layers.

One representative layer i of W = A_i w_i B_i and one layer k of W = A_k w_k B_k; mu_k is the multiplier of the
constraint that layer k puts on the update. sigma_Lambda and sigma_S are the mode entries of the multiplier map Lambda
and of the residual S(Lambda). Source: A S.I.1-14.
"""

from __future__ import annotations

from collections.abc import Mapping

from sympy import Expr, Symbol, sympify

from derivations import words
from derivations.decide import Decision, all_of, equal, step
from derivations.deep_linear.modes import kernel_acts_on_modes
from derivations.deep_linear.natural_gradient import DELTA, DELTA_DOT, SIGMA_X, UPDATE, A, B
from derivations.notation import ETA, J_I, K_SIZE, L_SIZE, N_0, N_D, NORM_J, SIGMA_DELTA, SIGMA_I, SIGMA_LAMBDA, N, Q
from derivations.words import Expression, LayerSum, Letter

A_K = Letter("A_k", N_D, K_SIZE)
B_K = Letter("B_k", L_SIZE, N_0)
MU_K = Letter("mu_k", K_SIZE, L_SIZE, latex=r"\mu_k")
SIGMA_S = Symbol("sigma_S", real=True)


def multiplier_force() -> LayerSum:
    r"""-\dot w_i = sum_k A_i^T A_k mu_k B_k Sigma_x B_i^T, which is (H_+ mu)_i (A S.I.2-3).

    >>> is_multiplier_force(multiplier_force()).outcome
    'proved'
    """
    return words.layer_sum(A.T * A_K * MU_K * B_K * SIGMA_X * B.T)


def is_multiplier_force(formula: LayerSum) -> Decision:
    r"""Whether the Lagrangian |\dot w|^2 / 2 + sum_k mu_k . (H_+ \dot w + eta g)_k is stationary at -\dot w_i."""
    coupling = words.trace(MU_K.T * (A_K.T * (DELTA_DOT + ETA * DELTA) * SIGMA_X * B_K.T))
    moved = words.differential(coupling, {DELTA_DOT: A * UPDATE * B})
    force, length = words.gradient(moved, UPDATE), words.gradient(words.trace(UPDATE * UPDATE.T) / 2, UPDATE)
    summand = formula.summand
    assert isinstance(summand, Expression)
    return all_of(words.vanishes(force - summand), words.vanishes(length - UPDATE)).explain(
        step("The multiplier of layer k meets the constraint of that layer:", coupling),
        step("Layer i moves the map, and with it this term, with the slope", force),
        step("At a stationary point the slopes of all constraints balance that of the length:", length),
    )


def mode_forms() -> Mapping[str, Expr]:
    r"""S.I.10, 12 and 13 in the convention of S.I.4-9, where eta stands beside Lambda.

    >>> mode_forms()["velocity"].subs(SIGMA_LAMBDA, mode_forms()["multiplier"]) == -ETA * J_I * SIGMA_DELTA / NORM_J**2
    True
    """
    return {
        "velocity": -ETA * SIGMA_LAMBDA * J_I,
        "residual": NORM_J**2 * SIGMA_LAMBDA - SIGMA_DELTA,
        "multiplier": SIGMA_DELTA / NORM_J**2,
    }


def mode_forms_as_printed() -> Mapping[str, Expr]:
    """S.I.10, 12 and 13 as printed: the multiplier has swallowed eta, unlike in S.I.4-9."""
    return {
        "velocity": -SIGMA_LAMBDA * J_I,
        "residual": NORM_J**2 * SIGMA_LAMBDA - ETA * SIGMA_DELTA,
        "multiplier": ETA * SIGMA_DELTA / NORM_J**2,
    }


def are_mode_forms(formula: Mapping[str, Expr]) -> Decision:
    r"""Whether mode formulas follow from \dot w_i = -eta A_i^T Lambda B_i^T and S = sum A A^T Lambda B^T B - Delta."""
    velocity = -ETA * J_I * SIGMA_LAMBDA
    residual = NORM_J**2 * SIGMA_LAMBDA - SIGMA_DELTA
    return all_of(
        kernel_acts_on_modes(),
        equal(formula["velocity"], velocity),
        equal(formula["residual"], residual),
        equal(residual.subs(SIGMA_LAMBDA, formula["multiplier"]), sympify(0)),
    ).explain(
        step("The step back to layer i multiplies a mode entry of the multiplier by its coupling:", velocity),
        step("the kernel multiplies it by the sum of the squared couplings, so the residual is", residual),
        step("It vanishes on an active mode for", SIGMA_DELTA / NORM_J**2),
    )


def visible_residual() -> Expr:
    r"""j_i sigma_S: the mode entry of A_i^T S B_i^T, which layer i demands to vanish (A S.I.8, S.I.11 corrected).

    >>> visible_residual().has(SIGMA_I)
    False
    """
    return J_I * SIGMA_S


def visible_residual_as_printed() -> Expr:
    """sigma_i sigma_S (A S.I.11): right as a set of equations for two layers, where j_1 = sigma_2 and j_2 = sigma_1."""
    return SIGMA_I * SIGMA_S


def is_visible_residual(formula: Expr) -> Decision:
    """Whether a formula is the mode entry of A_i^T S B_i^T: the product of the values of all other layers, times S."""
    return all_of(kernel_acts_on_modes(), equal(formula, J_I * SIGMA_S)).explain(
        step("Layer i sees the residual through the layers above and below it, not through itself:", J_I * SIGMA_S)
    )


ALPHA, BETA = (Symbol(name, positive=True) for name in ("alpha", "beta"))
UPPER, LOWER = Letter("w_2", N_D, N), Letter("w_1", N, N_0)
LEFT, RIGHT = Letter("u", N_D, 1), Letter("v", N_0, 1)


def two_layer_filter(q: Expr | int = Q) -> Expr:
    r"""(alpha + beta)^{-1/q} on u v^T, where w_2 w_2^T u = alpha u and w_1^T w_1 v = beta v (A eq. 14 for d = 2).

    >>> is_two_layer_filter(two_layer_filter()).outcome
    'proved'
    """
    return (ALPHA + BETA) ** (-1 / sympify(q))


def is_two_layer_filter(formula: Expr) -> Decision:
    """Whether a formula is the power -1/q of the eigenvalue of X -> w_2 w_2^T X + X w_1^T w_1 on X = u v^T."""
    rules = (
        words.rule(UPPER * UPPER.T * LEFT, LEFT * ALPHA),
        words.rule(RIGHT.T * LOWER.T * LOWER, RIGHT.T * BETA),
    )
    pair = LEFT * RIGHT.T
    image = UPPER * UPPER.T * pair + pair * LOWER.T * LOWER
    power = (ALPHA + BETA) ** (-1 / Q)
    return all_of(words.vanishes(image - pair * (ALPHA + BETA), rules), equal(formula, power)).explain(
        step("For two layers the kernel acts from the left and from the right, once each:", image),
        step("A pair of eigenvectors of the two Gram matrices gets the sum of their eigenvalues:", ALPHA + BETA),
        step("The rule takes its power:", power),
    )

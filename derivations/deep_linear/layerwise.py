r"""Block-diagonal curvature: each layer is corrected by its own block H_i of the Hessian+ and by nothing else.

Singular values of one representative layer: A_i = U_a S_a V_a^T, B_i = U_b S_b V_b^T, with positive S. Then
H_i = (B_i B_i^T) kron (A_i^T A_i) acts on the singular directions as the squared product of two singular values, so
every power of it is a power of S_a and S_b. Pseudo-inverses are letters Ap, Bp. Source: A section 3.3, eqs. 23-26.
"""

from __future__ import annotations

from sympy import Abs, Expr, Symbol, sign, sympify

from derivations import words
from derivations.decide import Decision, all_of, equal, step
from derivations.deep_linear.modes import kernel_acts_on_modes
from derivations.deep_linear.natural_gradient import DELTA, SIGMA_X, UPDATE, A, B
from derivations.notation import DEPTH, ETA, ETA_I, J_I, N_0, N_D, SIGMA_DELTA, M, N, Q
from derivations.words import Expression, LayerSum, Letter, Rule

A_PLUS = Letter("Ap", N, N_D, latex="A_i^{+}")
B_PLUS = Letter("Bp", N_0, M, latex="B_i^{+}")
ROOT = Letter("R", N_0, N_0, symmetric=True, latex=r"\Sigma_x^{1/2}")
SEEN_PLUS = Letter("BRp", N_0, M, latex=r"(B_i \Sigma_x^{1/2})^{+}")
TOP = Letter("A1", N_D, Symbol("n_1", integer=True, positive=True), latex="A_1")

_R, _S = (Symbol(name, integer=True, positive=True) for name in ("r_a", "r_b"))
U_A, V_A = Letter("U_a", N_D, _R), Letter("V_a", N, _R)
U_B, V_B = Letter("U_b", M, _S), Letter("V_b", N_0, _S)
S_A, S_B = Letter("S_a", _R, _R, symmetric=True), Letter("S_b", _S, _S, symmetric=True)
T_A, T_B = (
    Letter("T_a", _R, _R, symmetric=True, latex="S_a^{-1}"),
    Letter("T_b", _S, _S, symmetric=True, latex="S_b^{-1}"),
)
F_A, F_B = (
    Letter("F_a", _R, _R, symmetric=True, latex="S_a^{1-2/q}"),
    Letter("F_b", _S, _S, symmetric=True, latex="S_b^{1-2/q}"),
)


def singular_rules() -> tuple[Rule, ...]:
    """Orthonormal columns and invertible singular values of A_i and B_i."""
    upper, lower = words.identity(_R), words.identity(_S)
    frames = ((U_A, upper), (V_A, upper), (U_B, lower), (V_B, lower))
    inverses = ((S_A, T_A, upper), (S_B, T_B, lower))
    return tuple(words.rule(q.T * q, one) for q, one in frames) + tuple(
        rule for s, t, one in inverses for rule in (words.rule(s * t, one), words.rule(t * s, one))
    )


def by_singular_values(formula: Expression) -> Expression:
    """A word in A, Ap, B, Bp with the singular values of both inserted."""
    return words.substitute(
        formula,
        {A: U_A * S_A * V_A.T, A_PLUS: V_A * T_A * U_A.T, B: U_B * S_B * V_B.T, B_PLUS: V_B * T_B * U_B.T},
    )


def natural_update() -> Expression:
    r"""\dot w_i = -eta_i A_i^+ Delta Sigma_x^{1/2} (B_i Sigma_x^{1/2})^+, the least solution of A eq. 23.

    >>> str(natural_update())
    '(-eta_i)*Ap*Delta*R*BRp'
    """
    return -ETA_I * (A_PLUS * DELTA * ROOT * SEEN_PLUS)


def solves_block_equation(update: Expression) -> Decision:
    r"""Whether H_i \dot w_i + eta_i g_i = 0 with \dot w_i in the range of H_i, in all sizes and ranks (A eq. 23)."""
    block = words.gradient(words.trace(A * UPDATE * B * SIGMA_X * (A * UPDATE * B).T) / 2, UPDATE)
    slope = words.gradient(words.trace(DELTA.T * A * UPDATE * B * SIGMA_X), UPDATE)
    seen = U_B * S_B * V_B.T
    rules = (*singular_rules(), words.rule(B * ROOT, seen))
    values = {A: U_A * S_A * V_A.T, A_PLUS: V_A * T_A * U_A.T, SEEN_PLUS: V_B * T_B * U_B.T, SIGMA_X: ROOT * ROOT}
    moved = words.substitute(update, values)
    residual = words.substitute(block, {**values, UPDATE: moved}) + ETA_I * words.substitute(slope, values)
    kept = V_A * V_A.T * moved * U_B * U_B.T
    return all_of(words.vanishes(residual, rules), words.vanishes(kept - moved, rules)).explain(
        step("One block of the curvature acts on the update as", block),
        step("and the gradient of the layer is", slope),
        step("By singular values the equation is solved by", words.normal(moved, rules)),
        step("Projected on the range of the block the update stays as it is, so no shorter solution exists:", kept),
    )


def map_velocity() -> LayerSum:
    r"""\dot W = -sum_i eta_i (A_i A_i^+) Delta (B_i^+ B_i): every layer moves the part of the error that it sees.

    >>> moved = words.substitute(A * UPDATE * B, {UPDATE: -ETA_I * (A_PLUS * DELTA * B_PLUS)})
    >>> words.vanishes(moved - map_velocity().summand).outcome
    'proved'
    """
    return words.layer_sum(-ETA_I * (A * A_PLUS * DELTA * B_PLUS * B))


def is_map_velocity(formula: LayerSum) -> Decision:
    """Whether the summand is what one layer adds to the velocity of the map, and projects the error."""
    assert isinstance(formula.summand, Expression)
    moved = words.substitute(A * UPDATE * B, {UPDATE: -ETA_I * (A_PLUS * DELTA * B_PLUS)})
    projected = -ETA_I * (U_A * U_A.T * DELTA * V_B * V_B.T)
    stated = by_singular_values(formula.summand)
    return all_of(
        words.vanishes(formula.summand - moved), words.vanishes(stated - projected, singular_rules())
    ).explain(
        step("A layer that moves by its block-natural update moves the map by", moved),
        step("The products with the pseudo-inverses are orthogonal projections:", projected),
    )


def constraint_residual() -> LayerSum:
    r"""A_1^T (\dot\Delta + eta \Delta) = sum_i eta_i A_1^T Delta (1 - B_i^+ B_i) for eta = sum_i eta_i (A eq. 9).

    >>> is_constraint_residual(constraint_residual()).outcome
    'proved'
    """
    return words.layer_sum(ETA_I * (TOP.T * DELTA * (words.identity(N_0) - B_PLUS * B)))


def is_constraint_residual(formula: LayerSum) -> Decision:
    """Whether the summand is one layer's share in the first layer's constraint, with A_1 = A_i w_i ... w_2."""
    between = Letter("C", N, TOP.cols, latex=r"w_i \cdots w_2")
    share = ETA_I * (TOP.T * DELTA) + TOP.T * map_velocity().summand
    left = by_singular_values(words.substitute(share - formula.summand, {TOP: A * between}))
    return words.vanishes(left, singular_rules()).explain(
        step("The first layer sees, of what one layer does to the map and of its share of the wanted decay,", share),
        step("The output side passes whatever the first layer sees; only the input side remains:", formula),
    )


def decay_where_all_is_seen(rate: Expr = ETA_I) -> Expression:
    r"""-eta_i Delta: one layer's share in \dot\Delta where A_i A_i^+ = 1 and B_i^+ B_i = 1.

    >>> str(decay_where_all_is_seen())
    '(-eta_i)*Delta'
    """
    clear = (words.rule(A * A_PLUS, words.identity(N_D)), words.rule(B_PLUS * B, words.identity(N_0)))
    return words.normal(map_velocity().summand * (rate / ETA_I), clear)


def fractional_update() -> Expression:
    r"""\dot w_i = -eta d^{-1/q} V_a S_a^{1-2/q} U_a^T Delta V_b S_b^{1-2/q} U_b^T for whitened inputs (A eq. 25).

    >>> is_fractional_update(fractional_update()).outcome
    'proved'
    """
    return -ETA * DEPTH ** (-1 / Q) * (V_A * F_A * U_A.T * DELTA * V_B * F_B * U_B.T)


def is_fractional_update(formula: Expression) -> Decision:
    r"""Whether a word is -eta d^{-1/q} H_i^{-1/q} g_i: the power takes S^{-2/q} on both sides of g_i."""
    left = Letter("G_a", _R, _R, symmetric=True, latex="S_a^{-2/q}")
    right = Letter("G_b", _S, _S, symmetric=True, latex="S_b^{-2/q}")
    slope = by_singular_values(A.T * DELTA * B.T)
    powered = V_A * left * V_A.T * slope * U_B * right * U_B.T
    rules = (*singular_rules(), words.rule(left * S_A, F_A), words.rule(S_B * right, F_B))
    return words.vanishes(formula + ETA * DEPTH ** (-1 / Q) * powered, rules).explain(
        step("The power of the block acts on the gradient from both sides:", powered)
    )


def block_filtered_velocity(power: Expr, factor: Expr) -> Expr:
    r"""-factor eta (j_i^2)^power j_i sigma_Delta: one block has the eigenvalue j_i^2 on an aligned mode."""
    return -factor * ETA * (J_I**2) ** power * J_I * SIGMA_DELTA


def fractional_velocity(q: Expr | int = Q) -> Expr:
    r"""\dot\sigma_i = -(eta / d^{1/q}) sigma_Delta sign(j_i) |j_i|^{1-2/q} (A eq. 25; 24 at q = 1, 26 at q = 2).

    >>> fractional_velocity(2) == -ETA * SIGMA_DELTA * sign(J_I) / DEPTH ** sympify("1/2")
    True
    """
    order = sympify(q)
    return -ETA * SIGMA_DELTA * sign(J_I) * Abs(J_I) ** (1 - 2 / order) * DEPTH ** (-1 / order)


def fractional_velocity_as_printed() -> Expr:
    r"""The same without the sign of the coupling, as printed: j_i^{1-2/q} (A eq. 25)."""
    return -ETA * SIGMA_DELTA * J_I ** (1 - 2 / Q) * DEPTH ** (-1 / Q)


def natural_velocity() -> Expr:
    r"""\dot\sigma_i = -(eta / d) sigma_Delta / j_i (A eq. 24).

    >>> equal(natural_velocity(), fractional_velocity(1)).outcome
    'proved'
    """
    return -ETA * SIGMA_DELTA / (DEPTH * J_I)


def follows_from_block(formula: Expr, power: Expr, factor: Expr) -> Decision:
    """Whether a mode velocity is the block's spectral function, read at the eigenvalue j_i^2 of one layer."""
    expected = block_filtered_velocity(power, factor)
    return all_of(kernel_acts_on_modes(), equal(formula, expected)).explain(
        step("A single layer keeps the mode: its block has the eigenvalue", J_I**2),
        step("so its update of the mode value is", expected),
    )

r"""Singular-mode dynamics: what an update rule does to one aligned singular mode of a deep linear network.

A mode is the chain of signed values sigma_1, ..., sigma_d that the layers give to one aligned direction. Its map
value is sigma = prod sigma_i, its couplings are j_i = d sigma / d sigma_i, and sigma_Delta = sigma - sigma^*. Time is
in units of 1 / eta unless eta is written. Source: A section 3.1 and its supplement.
"""

from __future__ import annotations

from collections.abc import Callable

from sympy import Abs, Expr, sympify

from derivations import words
from derivations.decide import Decision, all_of, equal, step
from derivations.notation import ETA, J_I, NORM_J, SIGMA_DELTA, Q


def filtered_velocity(spectral_filter: Callable[[Expr], Expr]) -> Expr:
    r"""\dot\sigma_i = -eta f(||j||^2) j_i sigma_Delta for the update \dot w = -eta f(H_+) g (A section 3.1).

    ``kernel_acts_on_modes`` shows why ||j||^2 is the eigenvalue at which the filter f is read.

    >>> filtered_velocity(lambda eigenvalue: 1 / eigenvalue) == -ETA * J_I * SIGMA_DELTA / NORM_J**2
    True
    """
    return -ETA * spectral_filter(NORM_J**2) * J_I * SIGMA_DELTA


def fractional_velocity(q: Expr | int = Q) -> Expr:
    r"""\dot\sigma_i = -eta sigma_Delta j_i ||j||^{-2/q}: qNGD on one active mode, q >= 1 (A eq. 14).

    q = 1 is natural gradient descent (A eq. 12), q -> oo gradient descent (A eq. 6).

    >>> fractional_velocity(2) == -ETA * J_I * SIGMA_DELTA / NORM_J
    True
    """
    return filtered_velocity(lambda eigenvalue: eigenvalue ** (-1 / sympify(q)))


def kernel_acts_on_modes() -> Decision:
    r"""A_i A_i^T X B_i^T B_i keeps X = Q_d D Q_0^T diagonal and multiplies its entries by j_i^2, in all sizes.

    With A_i = Q_d D_A Q_i^T and B_i = Q_{i-1} D_B Q_0^T, for one representative layer of any depth: summed over the
    layers, J J^T has the eigenvalue ||j||^2 on each mode (A supplement, S.I.10-14).
    """
    above = words.Letter("Q_d", "n_d", "n_d")
    here = words.Letter("Q_i", "n", "n", latex="Q_i")
    below = words.Letter("Q_h", "m", "m", latex="Q_{i-1}")
    entry = words.Letter("Q_0", "n_0", "n_0")
    upper = words.Letter("D_A", "n_d", "n")
    lower = words.Letter("D_B", "m", "n_0")
    value = words.Letter("D", "n_d", "n_0")
    left, right = above * upper * here.T, below * lower * entry.T
    rules = tuple(words.rule(basis.T * basis, words.identity(basis.rows)) for basis in (above, here, below, entry))
    acted = left * left.T * (above * value * entry.T) * right.T * right
    diagonal = above * (upper * upper.T * value * lower.T * lower) * entry.T
    back = left.T * (above * value * entry.T) * right.T
    diagonal_back = here * (upper.T * value * lower.T) * below.T
    return all_of(words.vanishes(acted - diagonal, rules), words.vanishes(back - diagonal_back, rules)).explain(
        step("One layer's term of $`J J^T`$ keeps a map diagonal that is diagonal in the outer bases:", diagonal),
        step("so does the step back to the weights:", diagonal_back),
        step("On mode entries the diagonal factors multiply: the term contributes", J_I**2),
    )


def follows_from_filter(formula: Expr, spectral_filter: Callable[[Expr], Expr]) -> Decision:
    """Whether a mode velocity is the one of the spectral filter: lemma on the kernel, then scalar powers."""
    expected = filtered_velocity(spectral_filter)
    return all_of(kernel_acts_on_modes(), equal(formula, expected)).explain(
        step("Summed over the layers the eigenvalue of $`J J^T`$ on the mode is", NORM_J**2),
        step("The update of one mode value is therefore", expected),
    )


def speed(velocity: Expr) -> Expr:
    r"""||\dot\sigma|| of a mode whose layers move like c j_i with one factor c for all: |c| ||j||, for any depth.

    Raises ValueError if the factor depends on the layer.

    >>> speed(-ETA * SIGMA_DELTA * J_I) == ETA * Abs(SIGMA_DELTA) * NORM_J
    True
    """
    common = velocity / J_I
    if common.has(J_I):
        raise ValueError(f"velocity: {velocity} given, allowed: j_i times a factor common to all layers")
    return Abs(common) * NORM_J


def fractional_speed(q: Expr | int = Q) -> Expr:
    r"""||\dot\sigma|| = eta |sigma_Delta| ||j||^{1-2/q}: qNGD on one active mode (A eq. 15; eqs. 8, 13, 16).

    >>> fractional_speed(2)
    eta*Abs(sigma_Delta)
    """
    return ETA * Abs(SIGMA_DELTA) * NORM_J ** (1 - 2 / sympify(q))


def natural_rate() -> dict[str, Expr]:
    r"""\sigma_\Lambda = sigma_Delta / ||j||^2 and \dot\sigma_i = -eta sigma_Delta j_i / ||j||^2 (A eq. 12, S.I.13-14).

    >>> natural_rate()["velocity"] == fractional_velocity(1)
    True
    """
    return {"velocity": -ETA * SIGMA_DELTA * J_I / NORM_J**2, "multiplier": SIGMA_DELTA / NORM_J**2}


def multiplier_residual(multiplier: Expr) -> Expr:
    r"""j_i (||j||^2 sigma_Lambda - sigma_Delta): the multiplier equation A eq. 11 on one mode, seen by layer i.

    >>> multiplier_residual(natural_rate()["multiplier"])
    0
    """
    return J_I * (NORM_J**2 * multiplier - SIGMA_DELTA)

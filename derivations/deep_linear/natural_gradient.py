r"""Natural gradient descent on a deep linear network: constraint, Lagrangian, multiplier, least length.

Every matrix identity is written for one representative layer w_i of W = A_i w_i B_i, any depth and any sizes; the
other layers enter through the change of the map alone. Lambda is the multiplier of the constraint read as a map, so
that the natural gradient is steepest descent with Lambda in place of Delta Sigma_x. Source: A section 3.1, eqs. 9-11,
footnote 4, and the supplement S.I.1.
"""

from __future__ import annotations

from derivations import words
from derivations.decide import Decision, step
from derivations.notation import ETA, N_0, N_D, M, N
from derivations.words import Expression, LayerSum, Letter, Trace

A = Letter("A", N_D, N, latex="A_i")
B = Letter("B", M, N_0, latex="B_i")
WEIGHT = Letter("w", N, M, latex="w_i")
UPDATE = Letter("dw", N, M, latex=r"\dot w_i")
NULL = Letter("null", N, M, latex="o_i")
DELTA = Letter("Delta", N_D, N_0, latex=r"\Delta")
DELTA_DOT = Letter("dDelta", N_D, N_0, latex=r"\dot\Delta")
LAMBDA = Letter("Lambda", N_D, N_0, latex=r"\Lambda")
SIGMA_X = Letter("Sigma_x", N_0, N_0, symmetric=True, latex=r"\Sigma_x")


def constraint() -> Expression:
    r"""H_+ \dot w + eta g on layer i: A_i^T (\dot\Delta + eta \Delta) Sigma_x B_i^T (A eq. 9).

    >>> words.vanishes(constraint() - pulled_back(DELTA_DOT) - ETA * pulled_back(DELTA)).outcome
    'proved'
    """
    return A.T * (DELTA_DOT + ETA * DELTA) * SIGMA_X * B.T


def pulled_back(change: Letter) -> Expression:
    r"""The gradient in layer i of tr(X Sigma_x X^T) / 2, where the layer moves X by A_i \dot w_i B_i.

    X = Delta is the loss, so this is g_i; X = \dot\Delta is half of \dot w^T H_+ \dot w, so this is (H_+ \dot w)_i.

    >>> str(pulled_back(DELTA))
    'A.T*Delta*Sigma_x*B.T'
    """
    energy = words.trace(change * SIGMA_X * change.T) / 2
    return words.gradient(words.differential(energy, {change: A * UPDATE * B}), UPDATE)


def stationarity() -> Expression:
    r"""Derivative in \dot w_i of |\dot w|^2 / 2 + tr(eta Lambda^T (\dot\Delta + eta \Delta)) (A S.I.2-3).

    >>> str(stationarity())
    'dw + (eta)*A.T*Lambda*B.T'
    """
    length = words.trace(UPDATE * UPDATE.T) / 2
    coupling = ETA * words.trace(LAMBDA.T * (DELTA_DOT + ETA * DELTA))
    moved = words.differential(coupling, {DELTA_DOT: A * UPDATE * B})
    return words.gradient(length + moved, UPDATE)


def multiplier_is_a_map() -> Decision:
    r"""One layer's multiplier mu_i acts through the map eta Lambda = sum_k A_k mu_k B_k Sigma_x only (A S.I.4-5)."""
    mu = Letter("mu", N, M, latex=r"\mu_i")
    tested = words.trace(mu.T * constraint())
    as_map = words.trace((A * mu * B * SIGMA_X).T * (DELTA_DOT + ETA * DELTA))
    return words.vanishes(tested - as_map).explain(
        step("The multiplier of one layer's constraint acts as a summand of a map:", as_map),
        step("All layers together need one map only, the multiplier", ETA * LAMBDA),
    )


def natural_update() -> Expression:
    r"""\dot w_i = -eta A_i^T Lambda B_i^T: steepest descent with Lambda for the displacement (A eq. 10).

    >>> words.vanishes(words.substitute(stationarity(), {UPDATE: natural_update()})).outcome
    'proved'
    """
    return -ETA * (A.T * LAMBDA * B.T)


def multiplier_image() -> LayerSum:
    r"""sum_i A_i A_i^T Lambda B_i^T B_i = -\dot\Delta / eta, the map's answer to the multiplier (A eq. 11).

    >>> moved = words.substitute(A * UPDATE * B, {UPDATE: natural_update()})
    >>> words.vanishes(moved + ETA * multiplier_image().summand).outcome
    'proved'
    """
    return words.layer_sum(A * A.T * LAMBDA * B.T * B)


def added_length() -> Trace:
    r"""tr(o_i o_i^T): what a null vector o of the Jacobian adds to |\dot w|^2, layer by layer (A footnote 4).

    >>> str(added_length())
    'tr(null*null.T)'
    """
    return words.trace(NULL * NULL.T)


def null_vector_is_orthogonal() -> Decision:
    r"""sum_i tr(\dot w_i o_i^T) = 0 for every update A_i^T Lambda B_i^T and every o with sum_i A_i o_i B_i = 0."""
    rest = -(A * NULL * B)
    here = words.trace(NULL.T * natural_update())
    elsewhere = -ETA * words.trace(LAMBDA.T * rest)
    return words.vanishes(here + elsewhere).explain(
        step("The inner product of one layer's update with its null part is a trace with the map that it moves:", here),
        step("A null vector leaves the map alone, so all other layers together move it by", rest),
        step("and contribute", elsewhere),
    )

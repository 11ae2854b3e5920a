r"""What correlated inputs change: a factor per mode where the covariance shares the modes' directions, else alignment.

With R = Sigma_x^{1/2} and M = (R kron 1) J the Hessian+ is M^T M and the gradient M^T vec(Delta R): a power of the one
acts on the other through the kernel M M^T, in which layer i maps X to A_i A_i^T X R B_i^T B_i R. Source: A section 2.
"""

from __future__ import annotations

from sympy import Expr, Symbol, sqrt, sympify

from derivations import words
from derivations.decide import Decision, all_of, equal, step
from derivations.notation import A_I, B_I, DELTA, ETA, J_I, LAMBDA_X, N_0, N_D, NORM_J, SIGMA_DELTA, M, N, Q
from derivations.word_algebra import Expression, Letter

MULTIPLIER = Letter("Lambda", N_D, N_0, latex=r"\Lambda")


def correlated_velocity(q: Expr | int = Q) -> Expr:
    r"""\dot\sigma_i = -eta lambda_x^{1 - 1/q} ||j||^{-2/q} j_i sigma_Delta, lambda_x the input variance of the mode.

    >>> correlated_velocity(1) == -ETA * J_I * SIGMA_DELTA / NORM_J**2
    True
    """
    order = sympify(q)
    return -ETA * LAMBDA_X ** (1 - 1 / order) * NORM_J ** (-2 / order) * J_I * SIGMA_DELTA


def kernel_keeps_modes() -> Decision:
    """Kernel, step back and weighted gap stay diagonal in the modes' bases if the covariance is diagonal there."""
    above, entry = Letter("Q_d", N_D, N_D), Letter("Q_0", N_0, N_0)
    here, below = Letter("Q_i", N, N), Letter("Q_h", M, M, latex="Q_{i-1}")
    upper, lower = Letter("D_A", N_D, N), Letter("D_B", M, N_0)
    value, deviation = Letter("D", N_D, N_0), Letter("D_x", N_0, N_0, symmetric=True, latex="D_x^{1/2}")
    orthogonal = [words.rule(basis.T * basis, words.identity(basis.rows)) for basis in (above, entry, here, below)]
    left, right, root = above * upper * here.T, below * lower * entry.T, entry * deviation * entry.T
    seen = above * value * entry.T
    kernel = above * (upper * upper.T * value * deviation * lower.T * lower * deviation) * entry.T
    back = here * (upper.T * value * deviation * lower.T) * below.T
    return all_of(
        words.vanishes(left * left.T * seen * root * right.T * right * root - kernel, orthogonal),
        words.vanishes(left.T * seen * root * right.T - back, orthogonal),
        words.vanishes(seen * root - above * (value * deviation) * entry.T, orthogonal),
    ).explain(
        step("If the covariance is diagonal in the modes' input basis, one layer's part of the kernel is too:", kernel),
        step("So is the step back to the weights of the layer:", back),
    )


def is_correlated_velocity(formula: Expr) -> Decision:
    """Whether a mode velocity is that of order q under the lemma: kernel eigenvalue, step back, weighted gap."""
    eigenvalue, back, gap = LAMBDA_X * NORM_J**2, sqrt(LAMBDA_X) * J_I, sqrt(LAMBDA_X) * SIGMA_DELTA
    expected = -ETA * back * eigenvalue ** (-1 / Q) * gap
    return all_of(kernel_keeps_modes(), equal(formula, expected)).explain(
        step("Summed over the layers, the kernel multiplies a mode by", eigenvalue),
        step("Step back and gap each contribute a root of the variance:", (back, gap)),
        step("Together, with the root of order q of the eigenvalue divided away:", formula),
    )


def natural_velocity() -> dict[str, Expression]:
    r"""Natural gradient descent with any covariance: \dot w_i = -eta A_i^T Lambda B_i^T and \dot W = -eta Delta.

    Lambda is the multiplier for white inputs, J J^T vec Lambda = vec Delta, which knows nothing of the covariance.

    >>> print(natural_velocity()[r"\dot W"])
    (-eta)*Delta
    """
    return {r"\dot w_i": -ETA * (A_I.T * MULTIPLIER * B_I.T), r"\dot W": -ETA * words.expression(DELTA)}


def solves_any_covariance(formula: dict[str, Expression]) -> Decision:
    """Whether the update solves H_+ v = -eta g for every covariance, moves W as said, and has no null part."""
    layer, whole = formula.values()
    trial = Letter("o_i", N, M)
    adjoint = words.trace(layer.T * trial) + ETA * words.trace(MULTIPLIER.T * (A_I * trial * B_I))
    parameters, maps = Symbol("P", integer=True, positive=True), N_0 * N_D
    jacobian, weight = Letter("J", maps, parameters), Letter("S", maps, maps, symmetric=True)
    gap, multiplier = Letter("delta", maps, 1, latex=r"\delta"), Letter("ell", maps, 1, latex=r"\ell")
    null = Letter("o", parameters, 1)
    known = (
        words.rule(jacobian * jacobian.T * multiplier, gap),
        words.rule(jacobian * null, words.zeros(maps, 1)),
    )
    velocity = -ETA * (jacobian.T * multiplier)
    pulled = jacobian.T * weight * jacobian * velocity
    return all_of(
        words.vanishes(adjoint),
        words.vanishes(whole + ETA * words.expression(DELTA)),
        words.vanishes(pulled + ETA * (jacobian.T * weight * gap), known),
        words.vanishes(jacobian * velocity + ETA * words.expression(gap), known),
        words.vanishes(null.T * velocity, known),
    ).explain(
        step("Layer by layer the update is the Jacobian transposed, applied to a map:", layer),
        step("Stacked into columns, and with the covariance as a weight S, the Hessian+ turns it into", pulled),
        step(
            "If the Jacobian reaches every map, the multiplier exists, and this is minus eta times the gradient:",
            -ETA * (jacobian.T * weight * gap),
        ),
        step("The covariance enters both sides alike. The map moves straight to the teacher:", whole),
        step("A definite covariance keeps the null space, and the update has no part in it:", null.T * velocity),
    )

r"""The Hessian+ of a deep linear network, A section 2: the Hessian of the loss with the curvature of the map left out.

A direction (v_1, ..., v_d) moves W by Wdot, and by Wddot / 2 to second order. The matrix is J^T (Sigma_x kron 1) J for
the Jacobian J of the map; for unit noise it is the Fisher matrix. Source: A eq. 3 and footnote 1.
"""

from __future__ import annotations

from sympy import Symbol

from derivations import words
from derivations.decide import Decision, all_of, step
from derivations.deep_linear.hessian import V_I, V_K, W_DDOT_UV, W_DOT_U, W_DOT_V, bilinear, pairs
from derivations.deep_linear.loss import ROOT, W_DOT
from derivations.notation import A_I, B_I, DELTA, K_SIZE, L_SIZE, N_0, N_D, SIGMA_X
from derivations.word_algebra import Expression, Letter, Trace

A_K, B_K = Letter("A_k", N_D, L_SIZE), Letter("B_k", K_SIZE, N_0)
W_DDOT = Letter("Wddot", N_D, N_0, latex=r"\ddot W")
NOISE = Symbol("s", positive=True)


def plus_action() -> Expression:
    r"""(H_+ v)_i = A_i^T Wdot Sigma_x B_i^T: the Hessian without its terms in the gap (A eq. 3).

    >>> print(plus_action())
    A_i.T*Wdot*Sigma_x*B_i.T
    """
    return A_I.T * W_DOT * SIGMA_X * B_I.T


def is_hessian_plus(formula: Expression) -> Decision:
    """Whether a formula is the derivative along v_i of 1/2 tr(Wdot Sigma_x Wdot^T), for every pair of layers."""
    found = []
    for pair in pairs():
        change = pair.moved(V_I, V_K)
        slope = words.gradient(words.substitute(plus_form(), {W_DOT: change}) / 2, V_I)
        spelled = words.substitute(formula, {W_DOT: change, A_I: pair.above, B_I: pair.below})
        found.append(words.vanishes(slope - spelled))
    return all_of(*found).explain(
        step("If the map were linear in the weights, a direction would cost", plus_form() / 2),
        step("A layer and a second one, above it or below, move the map by", change),
        step("The derivative of the cost along the first layer is", slope),
        step("that is, with the layers above and below collected,", formula),
    )


def blocks() -> dict[str, Expression]:
    """Block (i, k) of the Hessian+ is the Kronecker product of inputs B_i Sigma_x B_k^T and outputs A_i^T A_k.

    >>> print(blocks()["outputs"])
    A_i.T*A_k
    """
    return {"inputs": B_I * SIGMA_X * B_K.T, "outputs": A_I.T * A_K}


def are_blocks(formula: dict[str, Expression]) -> Decision:
    """Whether outputs v_k inputs^T is what layer i feels of the Hessian+ when layer k alone moves along v_k."""
    felt = words.substitute(plus_action(), {W_DOT: A_K * V_K * B_K})
    return words.vanishes(felt - formula["outputs"] * V_K * formula["inputs"].T).explain(
        step("When layer k alone moves, the map moves by", A_K * V_K * B_K),
        step("and layer i feels", felt),
        step("which is outputs times move times inputs transposed: a Kronecker product on stacked columns.", formula),
    )


def plus_form() -> Trace:
    """v . H_+ v = tr(Wdot Sigma_x Wdot^T), never negative (A section 2)."""
    return words.trace(W_DOT * SIGMA_X * W_DOT.T)


def is_plus_form(formula: Trace) -> Decision:
    """Whether a formula is v . H_+ v, and a square once the covariance has a root."""
    share, rest = A_I * V_I * B_I, Letter("rest", N_D, N_0, latex=r"\dot W_{\mathrm{rest}}")
    whole = share + rest
    layer = words.substitute(words.trace(V_I.T * plus_action()), {W_DOT: whole})
    others = words.trace(rest.T * whole * SIGMA_X)
    square = words.trace((W_DOT * ROOT) * (W_DOT * ROOT).T)
    return all_of(
        words.vanishes(words.substitute(formula, {W_DOT: whole}) - layer - others),
        words.vanishes(formula - square, [words.rule(SIGMA_X, ROOT * ROOT)]),
    ).explain(
        step("One layer contributes to the map the share", share),
        step("Paired with its part of the Hessian+ it gives", words.trace(share.T * W_DOT * SIGMA_X)),
        step("The shares of all layers add up to the change of the map, so the sum is", formula),
        step("With the root of the covariance this is the squared norm of", W_DOT * ROOT),
    )


def gap_form() -> Trace:
    """v . (H - H_+) v = tr(Wddot Sigma_x Delta^T), linear in the gap (A section 2)."""
    return words.trace(W_DDOT * SIGMA_X * DELTA.T)


def is_gap_form(formula: Trace) -> Decision:
    """Whether a formula is the difference of the two quadratic forms, and linear in the gap."""
    along = {W_DOT_U: W_DOT, W_DOT_V: W_DOT, W_DDOT_UV: W_DDOT}
    difference = words.substitute(bilinear(), {a: words.expression(b) for a, b in along.items()}) - plus_form()
    doubled = words.substitute(formula, {DELTA: 2 * DELTA})
    return all_of(words.vanishes(formula - difference), words.vanishes(doubled - 2 * formula)).explain(
        step("Along one direction twice, the Hessian gives", difference + plus_form()),
        step("and the Hessian+ takes away", plus_form()),
        step("What remains has the gap in every term, once:", formula),
    )


def fisher_action() -> Expression:
    r"""(F v)_i = A_i^T Wdot Sigma_x B_i^T / s^2 for outputs with Gaussian noise of variance s^2 (A footnote 1).

    >>> words.substitute(fisher_action(), {}) == plus_action() / NOISE**2
    True
    """
    return plus_action() / NOISE**2


def is_fisher(formula: Expression) -> Decision:
    """Whether a formula is E[score score^T] v, with labels that the model itself draws."""
    x, noise = Letter("x", N_0, 1), Letter("xi", N_D, 1, latex=r"\xi")
    score = A_I.T * noise * x.T * B_I.T / NOISE**2
    overlap = x.T * W_DOT.T * noise / NOISE**2
    drawn = (words.rule(noise * noise.T, NOISE**2 * words.identity(N_D)), words.rule(x * x.T, SIGMA_X))
    product = A_I.T * noise * (noise.T * W_DOT * x / NOISE**2) * x.T * B_I.T / NOISE**2
    return words.vanishes(product - formula, drawn).explain(
        step("For one input and one label with noise, the derivative of the log-likelihood along layer i is", score),
        step("Its overlap with a direction, summed over the layers, is the number", overlap),
        step("Their product is, before averaging,", product),
        step(
            "Noise and input are independent; their second moments, $`s^2`$ times one and the covariance, give", formula
        ),
    )

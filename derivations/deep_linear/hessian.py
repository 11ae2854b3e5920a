r"""The Hessian of the loss of a deep linear network: its action, its symmetry, its signs.

A direction (v_1, ..., v_d) moves W by Wdot, and by Wddot / 2 to second order. One layer of any depth reads
W = A_i w_i B_i; a pair of layers is one such layer with a second one above or below. Source: A section 2, eq. 2.
"""

from __future__ import annotations

from dataclasses import dataclass

from sympy import Expr, Symbol

from derivations import words
from derivations.decide import Decision, all_of, step
from derivations.deep_linear import loss
from derivations.deep_linear.loss import W_DOT, W_STAR
from derivations.notation import A_I, B_I, DELTA, K_SIZE, L_SIZE, N_0, N_D, SIGMA_X, W_I, M, N
from derivations.word_algebra import Expression, Letter, Trace

PARTNER = Letter("w_k", L_SIZE, K_SIZE)
V_I, V_K = Letter("v_i", N, M), Letter("v_k", L_SIZE, K_SIZE)
U_I, U_K = Letter("u_i", N, M), Letter("u_k", L_SIZE, K_SIZE)
A_DOT = Letter("Adot_i", N_D, N, latex=r"\dot A_i")
B_DOT = Letter("Bdot_i", M, N_0, latex=r"\dot B_i")
W_DOT_U = Letter("Wdot_u", N_D, N_0, latex=r"\dot W_u")
W_DOT_V = Letter("Wdot_v", N_D, N_0, latex=r"\dot W_v")
W_DDOT_UV = Letter("Wddot_uv", N_D, N_0, latex=r"\ddot W_{uv}")
SINGULAR = Symbol("s_k", positive=True)


@dataclass(frozen=True, slots=True)
class Pair:
    """Layer i and a second layer k: the map, and what lies above and below layer i."""

    product: Expression
    above: Expression
    below: Expression

    def moved(self, here: Letter, there: Letter) -> Expression:
        """The first-order change of the map when layer i moves along `here` and layer k along `there`."""
        return words.differential(self.product, {W_I: here, PARTNER: there})


def pairs() -> tuple[Pair, Pair]:
    """Layer i with its partner above, W = A w_k C w_i B, and below, W = A w_i C w_k B: every pair of every depth.

    >>> print(pairs()[0].product)
    A*w_k*C*w_i*B
    """
    top, between, low = Letter("A", N_D, L_SIZE), Letter("C", K_SIZE, N), Letter("B", M, N_0)
    upper = Pair(top * PARTNER * between * W_I * low, top * PARTNER * between, words.expression(low))
    top, between, low = Letter("A", N_D, N), Letter("C", M, L_SIZE), Letter("B", K_SIZE, N_0)
    lower = Pair(top * W_I * between * PARTNER * low, words.expression(top), between * PARTNER * low)
    return upper, lower


def action() -> Expression:
    r"""(H v)_i = A_i^T Wdot Sigma_x B_i^T + Adot_i^T Delta Sigma_x B_i^T + A_i^T Delta Sigma_x Bdot_i^T (A eq. 2).

    >>> len(action().terms)
    3
    """
    return A_I.T * W_DOT * SIGMA_X * B_I.T + A_DOT.T * DELTA * SIGMA_X * B_I.T + A_I.T * DELTA * SIGMA_X * B_DOT.T


def is_hessian(formula: Expression) -> Decision:
    """Whether a formula in A_i, B_i, Delta, Wdot, Adot_i, Bdot_i is the change of the gradient of layer i."""
    product, changes = A_I * W_I * B_I, {W_I: V_I, A_I: A_DOT, B_I: B_DOT}
    change = words.differential(product, changes)
    moved = words.differential(loss.layer_gradient(), changes)
    spelled = words.substitute(formula, {DELTA: product - W_STAR, W_DOT: change})
    return words.vanishes(moved - spelled).explain(
        step("The gradient of one layer of any depth is", loss.layer_gradient()),
        step("When all layers move, the map moves by", change),
        step("The Leibniz rule on the gradient, in terms of the gap and of the change of the map:", formula),
    )


def bilinear() -> Trace:
    """u . H v = tr(Wdot_u Sigma_x Wdot_v^T) + tr(Wddot_uv Sigma_x Delta^T): symmetric in u and v."""
    return words.trace(W_DOT_U * SIGMA_X * W_DOT_V.T) + words.trace(W_DDOT_UV * SIGMA_X * DELTA.T)


def is_second_derivative(formula: Trace) -> Decision:
    """Whether a formula is the derivative of the loss along u and then v, and does not care which comes first."""
    found = []
    for pair in pairs():
        gap = words.substitute(loss.excess(), {DELTA: pair.product - W_STAR})
        twice = words.differential(words.differential(gap, {W_I: U_I, PARTNER: U_K}), {W_I: V_I, PARTNER: V_K})
        first, second = pair.moved(U_I, U_K), pair.moved(V_I, V_K)
        curved = words.differential(first, {W_I: V_I, PARTNER: V_K})
        spell = {DELTA: pair.product - W_STAR, W_DDOT_UV: curved}
        straight = words.substitute(formula, {**spell, W_DOT_U: first, W_DOT_V: second})
        crossed = words.substitute(formula, {**spell, W_DOT_U: second, W_DOT_V: first})
        found += [words.vanishes(twice - straight), words.vanishes(twice - crossed)]
    return all_of(*found).explain(
        step("Two layers of any depth move the map to second order by", curved),
        step("Differentiating the loss along one direction and then along another gives", formula),
        step("Exchanging the two directions changes nothing."),
    )


def saddle_curvatures() -> tuple[Expr, Expr]:
    """The curvatures +s_k, -s_k of a two-layer network at zero weights, s_k a singular value of W^* Sigma_x.

    >>> saddle_curvatures()
    (s_k, -s_k)
    """
    return SINGULAR, -SINGULAR


def at_zero_weights(upper: Expression, lower: Expression) -> tuple[Expression, Expression]:
    """(H v)_1 and (H v)_2 of a two-layer network at zero weights, along v_1 = lower and v_2 = upper."""
    second, first = Letter("w_2", N_D, N), Letter("w_1", N, N_0)
    whole = words.substitute(loss.excess(), {DELTA: second * first - W_STAR})
    nothing = {first: words.zeros(*first.shape), second: words.zeros(*second.shape)}
    slopes = (words.gradient(whole, first), words.gradient(whole, second))
    moved = [words.differential(slope, {first: lower, second: upper}) for slope in slopes]
    return words.substitute(moved[0], nothing), words.substitute(moved[1], nothing)


def are_saddle_curvatures(formula: tuple[Expr, Expr]) -> Decision:
    """Whether both numbers are eigenvalues of the Hessian at zero weights, with explicit eigenvectors."""
    h, u, r = Letter("h", N, 1), Letter("u_k", N_D, 1), Letter("r_k", N_0, 1)
    singular = (
        words.rule(W_STAR * SIGMA_X * r, SINGULAR * u),
        words.rule(SIGMA_X * W_STAR.T * u, SINGULAR * r),
    )
    found = []
    for curvature, sign in zip(formula, (-1, 1), strict=True):
        lower, upper = h * r.T, sign * (u * h.T)
        image = at_zero_weights(upper, lower)
        found += [words.vanishes(a - curvature * b, singular) for a, b in zip(image, (lower, upper), strict=True)]
    return all_of(*found).explain(
        step("For singular vectors u, r of W* times the covariance and any hidden h, move along", (lower, upper)),
        step("At zero weights the Hessian turns it into", image),
        step("which is minus the singular value times it; with the other sign of the upper layer, plus.", formula),
    )

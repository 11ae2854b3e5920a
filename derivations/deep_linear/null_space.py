r"""The null space of the Hessian+: what a deep linear network can change without changing its map.

One hidden layer of a network of any depth is enough: W = A_{i+1} w_{i+1} w_i B_i, where A_{i+1} and B_i stand for all
layers above and below. Shapes: w_i n x m, w_{i+1} k x n, A_{i+1} n_d x k, B_i m x n_0. Source: A section 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from sympy import Matrix, Rational, S, diag, randMatrix

from derivations import words
from derivations.decide import Decision, all_of, step
from derivations.notation import A_I, B_I, DELTA, K_SIZE, N_0, N_D, SIGMA_X, W_I, W_NEXT, M, N
from derivations.word_algebra import collect
from derivations.words import Expression, Letter, Trace, trace

A_NEXT = Letter("A_next", N_D, K_SIZE, latex="A_{i+1}")
CHANGE = Letter("m_i", N, N)
CHANGE_BELOW = Letter("m_below", M, M, latex="m_{i-1}")
INVERSE = Letter("m_i_inverse", N, N, latex="m_i^{-1}")
DIRECTION = Letter("v_i", N, M, latex=r"\dot{w}_i")
TEACHER = Letter("Wstar", N_D, N_0, latex="W^*")


def end_to_end() -> Expression:
    """W = A_{i+1} w_{i+1} w_i B_i, seen from the hidden layer i.

    >>> str(end_to_end())
    'A_next*w_next*w_i*B_i'
    """
    return A_NEXT * W_NEXT * W_I * B_I


def symmetry() -> dict[str, Expression]:
    """w_i -> m_i w_i and w_{i+1} -> w_{i+1} m_i^{-1} for an invertible m_i at the hidden layer i (A section 2).

    >>> keeps_the_map(symmetry()).outcome
    'proved'
    """
    return {"w_i": CHANGE * W_I, "w_{i+1}": W_NEXT * INVERSE}


def keeps_the_map(changed: Mapping[str, Expression]) -> Decision:
    """Whether W stays the same, for every invertible m_i, when the two layers are replaced."""
    rules = (words.rule(INVERSE * CHANGE, 1), words.rule(CHANGE * INVERSE, 1))
    replaced = {W_I: changed["w_i"], W_NEXT: changed["w_{i+1}"]}
    after = words.substitute(end_to_end(), replaced)
    return words.vanishes(after - end_to_end(), rules, _invertible_change).explain(
        step("The map of the changed layers:", after),
        step("The change and its inverse meet in the middle and cancel:", words.normal(after, rules)),
    )


def _invertible_change(draw: Random) -> dict[Letter, Any]:
    shapes = {A_NEXT: (2, 4), W_NEXT: (4, 3), W_I: (3, 3), B_I: (3, 2)}
    change = Matrix([[1, 2, 0], [0, 1, 3], [1, 1, 1]])
    free = {x: randMatrix(*shape, min=-3, max=3, prng=draw) for x, shape in shapes.items()}
    return {**free, CHANGE: change, INVERSE: change.inv()}


def generator() -> Expression:
    r"""\dot w_i = m_i w_i - w_i m_{i-1}, with m_0 = m_d = 0: all symmetries at once, to first order (A section 2).

    >>> str(generator())
    'm_i*w_i + (-1)*w_i*m_below'
    """
    return CHANGE * W_I - W_I * CHANGE_BELOW


def telescopes(formula: Expression) -> Decision:
    r"""Whether moves \dot w_i given by one formula for every layer leave the map of any depth unchanged.

    The move must be the sum of a part linear in m_i and one linear in m_{i-1}; then it is enough that the part of
    layer i in m_i cancels the part of layer i+1 in the same m_i. The outermost m vanish.
    """
    own = relabelled(formula, {CHANGE_BELOW: None})
    inherited = relabelled(formula, {CHANGE: None, W_I: W_NEXT, CHANGE_BELOW: CHANGE}, shape=W_NEXT.shape)
    moved = A_NEXT * W_NEXT * own * B_I + A_NEXT * inherited * W_I * B_I
    linear = [_degree(word, (CHANGE, CHANGE_BELOW)) == 1 for _, word in formula.terms]
    mixed = Decision("proved", "every term holds one generator") if all(linear) else _not_linear(formula)
    return all_of(mixed, words.vanishes(moved)).explain(
        step("What the generator of the hidden layer i does to the map through layer i:", A_NEXT * W_NEXT * own * B_I),
        step("and through layer i+1:", A_NEXT * inherited * W_I * B_I),
        step("The two cancel, so the sum over all layers telescopes to the ends, where the generators vanish:", moved),
    )


def _degree(word: Sequence[tuple[Letter, bool]], wanted: tuple[Letter, ...]) -> int:
    return sum(letter in wanted for letter, _ in word)


def _not_linear(formula: Expression) -> Decision:
    wrong = [(c, w) for c, w in formula.terms if _degree(w, (CHANGE, CHANGE_BELOW)) != 1]
    found = words.vanishes(collect(wrong, *formula.shape))
    return Decision(found.outcome, "a move that is not linear in the generators", found.witness)


def relabelled(
    formula: Expression, names: Mapping[Letter, Letter | None], shape: tuple[Any, Any] | None = None
) -> Expression:
    """The same words in other letters, for the same formula at a neighbouring layer; None deletes the words with it."""
    kept = [
        (c, tuple((names.get(x, x) or x, flipped) for x, flipped in word))
        for c, word in formula.terms
        if all(names.get(x, x) is not None for x, _ in word)
    ]
    result = words.zeros(*(shape or formula.shape))
    for c, word in kept:
        factors = [x.T if flipped else words.expression(x) for x, flipped in word]
        product = factors[0]
        for factor in factors[1:]:
            product = product * factor
        result = result + c * product
    return result


def slope_along() -> Trace:
    r"""One layer's share tr(A_i \dot w_i B_i Sigma_x Delta^T) of \dot w . g, for any direction (A section 2).

    >>> is_slope_of_loss(slope_along()).outcome
    'proved'
    """
    return trace(A_I * DIRECTION * B_I * SIGMA_X * DELTA.T)


def is_slope_of_loss(summand: Trace) -> Decision:
    r"""Whether a summand is the derivative of the loss along \dot w_i, and sees of it only A_i \dot w_i B_i.

    Summed over the layers A_i \dot w_i B_i is \dot W, which vanishes on the null space.
    """
    error = A_I * W_I * B_I - TEACHER
    loss = trace(error * SIGMA_X * error.T) / 2
    slope = words.differential(loss, {W_I: DIRECTION})
    stated = words.substitute(summand, {DELTA: error})
    share = Letter("dotW_i", "n_d", "n_0", latex=r"\dot{W}_i")
    # the rule of a definition has no model of its own: only the first part can refute
    seen = words.normal(summand, [words.rule(A_I * DIRECTION * B_I, share)])
    through = words.vanishes(seen - trace(share * SIGMA_X * DELTA.T))
    return all_of(words.vanishes(stated - slope), through).explain(
        step("The loss in terms of one layer:", loss),
        step("Its derivative along a direction:", summand),
        step("depends on the direction only through its share of the change of the map:", seen),
        step("The shares add up to the change of the map, which is zero on the null space, and so is the slope."),
    )


FRAME = Letter("V", "P", "s")
FILTER = Letter("Phi", "s", "s", symmetric=True, latex=r"\Phi")
GRADIENT = Letter("g", "P", 1)
NULL = Letter("v", "P", 1, latex=r"\dot{w}_{\mathrm{null}}")


def spectral_update() -> Expression:
    r"""f(H_+) g = V f(S^2) V^T g, with M = U S V^T the singular value decomposition without zeros of H_+ = M^T M.

    M = (Sigma_x^{1/2} (x) 1) J; the gradient is M^T applied to the error, so whatever f does on the null space
    takes no part (A section 2).

    >>> no_null_component(spectral_update()).outcome
    'proved'
    """
    return FRAME * FILTER * FRAME.T * GRADIENT


def no_null_component(update: Expression) -> Decision:
    r"""Whether an update is orthogonal to every direction with M \dot w = 0, where g = M^T e = V S U^T e."""
    core = Letter("c", "s", 1)
    rules = (words.rule(FRAME.T * NULL, words.zeros("s", 1)), words.rule(FRAME.T * FRAME, 1))
    inside = words.substitute(update, {GRADIENT: FRAME * core})
    product = NULL.T * inside
    return words.vanishes(product, rules, _two_scalar_layers).explain(
        step("The gradient lies in the span of the right singular vectors:", FRAME * core),
        step("On a null direction all singular values vanish, hence", FRAME.T * NULL),
        step("The product with the update is zero whatever the filter does:", product),
    )


def _two_scalar_layers(draw: Random) -> dict[Letter, Any]:
    """Two layers of width 1 with weights (4, 3): J = (3, 4), null direction (4, -3); other letters are its blocks."""
    core = Letter("c", "s", 1)
    values: dict[Letter, Any] = {FRAME: Matrix([Rational(3, 5), Rational(4, 5)]), NULL: Matrix([4, -3])}
    values |= {FILTER: Matrix([[Rational(1, 25)]]), core: Matrix([[S(5)]])}
    return values | {BLOCKS: diag(Rational(1, 9), Rational(1, 16)), DIAGONAL: diag(Rational(1, 3), Rational(1, 4))}


BLOCKS = Letter("D", "P", "P", symmetric=True)
DIAGONAL = Letter("E", "P", "P", symmetric=True)


def block_update() -> Expression:
    r"""D g with D the pseudo-inverse of the layers' diagonal blocks of H_+: not orthogonal to the null space."""
    return BLOCKS * GRADIENT


def coordinate_update() -> Expression:
    """E g with E a diagonal matrix, one factor a weight: not orthogonal to the null space."""
    return DIAGONAL * GRADIENT

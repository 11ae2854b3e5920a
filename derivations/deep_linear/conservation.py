r"""What an update that ignores the null space conserves: the balance C_i = w_i w_i^T - w_{i+1}^T w_{i+1} of neighbours.

One hidden layer of a network of any depth, W = A_{i+1} w_{i+1} w_i B_i. An update orthogonal to the null space has the
form \dot w_i = A_i^T Lambda B_i^T with one matrix Lambda for all layers. Source: A section 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from sympy import Expr, Matrix, Sum, Symbol, binomial, expand_func, randMatrix

from derivations import words
from derivations.decide import Decision, all_of, step, zero
from derivations.deep_linear.null_dimension import INDEX, RANK, at_depth
from derivations.deep_linear.null_space import A_NEXT, CHANGE, CHANGE_BELOW, generator, relabelled
from derivations.notation import B_I, DEPTH, ETA, K_SIZE, N_0, N_D, W_I, W_NEXT, M, N
from derivations.words import Expression, LayerSum, Letter, Trace, trace

V_HERE = Letter("v_i", N, M, latex=r"\dot{w}_i")
V_NEXT = Letter("v_next", K_SIZE, N, latex=r"\dot{w}_{i+1}")
DUAL = Letter("Lambda", N_D, N_0, latex=r"\Lambda")
STEP = Symbol("h", positive=True)
FRICTION = Symbol("gamma", positive=True)
Pair = tuple[Expression, Expression]


def balance() -> Expression:
    """C_i = w_i w_i^T - w_{i+1}^T w_{i+1} (A eq. 4).

    >>> str(balance())
    'w_i*w_i.T + (-1)*w_next.T*w_next'
    """
    return W_I * W_I.T - W_NEXT.T * W_NEXT


def rate(quantity: Expression, here: Expression | Letter = V_HERE, above: Expression | Letter = V_NEXT) -> Expression:
    """The time derivative of a function of the two layers that move with the given velocities."""
    return words.differential(quantity, {W_I: here, W_NEXT: above})


def dual_update(dual: Expression | Letter = DUAL) -> Pair:
    r"""The update \dot w_i = A_i^T Lambda B_i^T of two neighbours, where A_i = A_{i+1} w_{i+1} and B_{i+1} = w_i B_i.

    These are the range of J^T, all directions without a null component. Gradient, natural, fractional, damped, clipped
    and minibatch updates differ in Lambda alone.
    """
    return (A_NEXT * W_NEXT).T * dual * B_I.T, A_NEXT.T * dual * (W_I * B_I).T


def conserved(quantity: Expression) -> Decision:
    """Whether a function of two neighbouring layers stands still under every update A_i^T Lambda B_i^T.

    >>> conserved(balance()).outcome, conserved(W_I * W_I.T + W_NEXT.T * W_NEXT).outcome
    ('proved', 'refuted')
    """
    here, above = dual_update()
    moved = rate(quantity, here, above)
    return words.vanishes(moved).explain(
        step("Both layers feel the same matrix, the lower one through", here),
        step("and the upper one through", above),
        step("The change of the first square,", rate(W_I * W_I.T, here, above)),
        step("is the change of the second, for every update, size and depth; what remains is", moved),
    )


def orbit_product() -> LayerSum:
    r"""\dot w . \dot w_null = sum_i tr[(\dot w_i w_i^T - w_{i+1}^T \dot w_{i+1}) m_i^T], i = 1..d-1 (A theorem 1).

    >>> is_orbit_product(orbit_product()).outcome
    'proved'
    """
    return words.layer_sum(trace(strong_form() * CHANGE.T))


def orbit_product_as_printed() -> LayerSum:
    """The summand as printed, with m_i where m_i^T belongs (A theorem 1)."""
    return words.layer_sum(trace(strong_form() * CHANGE))


def is_orbit_product(formula: LayerSum) -> Decision:
    r"""Whether the summand pairs a velocity with the moves of m_i, and vanishes for all m_i only if its matrix does.

    The moves of m_i are \dot w_i = m_i w_i and \dot w_{i+1} = - w_{i+1} m_i; the sum over hidden layers is all of them.
    """
    own = relabelled(generator(), {CHANGE_BELOW: None})
    above = -(W_NEXT * CHANGE)
    product = trace(V_HERE.T * own) + trace(V_NEXT.T * above)
    summand = formula.summand
    assert isinstance(summand, Trace)
    inside = words.gradient(summand, CHANGE)
    return all_of(words.vanishes(summand - product), words.vanishes(inside - strong_form())).explain(
        step("The moves of one generator, paired with a velocity:", product),
        step("Collected around the generator:", summand),
        step("The product is linear in the generator. Zero for every generator means that its matrix is zero:", inside),
    )


def is_orbit_sum(limit: Expr, formula: LayerSum) -> Decision:
    """Whether the layers 1..limit with this summand are all there are: generators exist at the layers 1..d-1.

    >>> is_orbit_sum(DEPTH, orbit_product()).outcome
    'refuted'
    """
    return all_of(is_orbit_product(formula), zero(limit - (DEPTH - 1))).explain(
        step("A generator acts between two layers: the sum ends at", DEPTH - 1)
    )


def strong_form() -> Expression:
    r"""\dot w_i w_i^T - w_{i+1}^T \dot w_{i+1}, which vanishes, not only its symmetric part \dot C_i (A section 2).

    >>> vanishes_on_updates(strong_form()).outcome
    'proved'
    """
    return V_HERE * W_I.T - W_NEXT.T * V_NEXT


def vanishes_on_updates(quantity: Expression) -> Decision:
    """Whether a combination of velocities and weights is zero for every update A_i^T Lambda B_i^T."""
    here, above = dual_update()
    inserted = words.substitute(quantity, {V_HERE: here, V_NEXT: above})
    common = V_HERE * W_I.T
    return words.vanishes(inserted).explain(
        step("Insert an update that is orthogonal to the null space:", here),
        step("Both products are the same matrix,", words.substitute(common, {V_HERE: here})),
        step("so the difference vanishes; its symmetric part is the change of the balance:", inserted),
    )


def turning_rate() -> Expression:
    r"""\dot C_i = m_i C_i - C_i m_i along the null direction of an antisymmetric m_i.

    It vanishes where m_i commutes with C_i, so a conserved balance does not make an update
    orthogonal to the null space.
    """
    return CHANGE * balance() - balance() * CHANGE


def is_turning_rate(formula: Expression) -> Decision:
    """Whether a formula is the rate of C_i along the move of m_i = a - a^T, for every a; C_{i-1}, C_{i+1} stay."""
    half = Letter("a", N, N)
    turn = half - half.T
    found = rate(balance(), turn * W_I, -(W_NEXT * turn))
    stated = words.substitute(formula, {CHANGE: turn})
    below = words.differential(W_I.T * W_I, {W_I: turn * W_I})
    above = words.differential(W_NEXT * W_NEXT.T, {W_NEXT: -(W_NEXT * turn)})
    return all_of(words.vanishes(found - stated), words.vanishes(below), words.vanishes(above)).explain(
        step("Write an antisymmetric generator as", turn),
        step("Along its null direction the balance changes by", found),
        step("which is the commutator of generator and balance:", formula),
        step("The balances of the neighbouring layers see only this, which is zero:", below),
    )


def euler_drift() -> Expression:
    r"""C_i(w + h \dot w) - C_i(w) = h^2 (\dot w_i \dot w_i^T - \dot w_{i+1}^T \dot w_{i+1}), exactly.

    >>> is_euler_drift(euler_drift()).outcome
    'proved'
    """
    return (V_HERE * V_HERE.T - V_NEXT.T * V_NEXT) * STEP**2


def is_euler_drift(formula: Expression) -> Decision:
    """Whether a formula is the change of C_i in one step w + h v along an update v = A_i^T Lambda B_i^T."""
    here, above = dual_update()
    moved = {W_I: W_I + here * STEP, W_NEXT: W_NEXT + above * STEP}
    change = words.substitute(balance(), moved) - balance()
    stated = words.substitute(formula, {V_HERE: here, V_NEXT: above})
    linear = rate(balance(), here, above)
    return words.vanishes(change - stated).explain(
        step("The balance is quadratic: one step changes it by a linear term, which is zero,", linear),
        step("and by a quadratic one, which remains:", formula),
    )


def momentum_drift() -> Expression:
    r"""d^2 C_i / dt^2 + gamma d C_i / dt = 2 (\dot w_i \dot w_i^T - \dot w_{i+1}^T \dot w_{i+1}) for the heavy ball.

    The heavy ball obeys d^2 w / dt^2 = - gamma \dot w - g.

    >>> is_momentum_drift(momentum_drift()).outcome
    'proved'
    """
    return (V_HERE * V_HERE.T - V_NEXT.T * V_NEXT) * 2


def is_momentum_drift(formula: Expression) -> Decision:
    """Whether a formula is C'' + gamma C' for layers that accelerate by - gamma v + A_i^T Lambda B_i^T."""
    here, above = dual_update()
    first = rate(balance())
    accelerations = {V_HERE: here - V_HERE * FRICTION, V_NEXT: above - V_NEXT * FRICTION}
    second = words.differential(first, {W_I: V_HERE, W_NEXT: V_NEXT, **accelerations})
    return words.vanishes(second + first * FRICTION - formula).explain(
        step("The rate of the balance:", first),
        step("In its second derivative the gradients cancel, as they do without momentum. Velocities remain:", formula),
    )


INVERSE_NEXT = Letter("w_next_inverse", N, K_SIZE, latex="w_{i+1}^{-1}")
INVERSE_HERE = Letter("w_i_inverse", M, N, latex="w_i^{-1}")
PULLED = Letter("Y", K_SIZE, M)


def block_natural_rate() -> Expression:
    r"""-\dot C_i d / eta for block-diagonal natural gradient, square invertible layers, Y = A^{-1} Delta B^{-1}.

    \dot w_i = -(eta / d) A_i^{-1} Delta B_i^{-1} = -(eta / d) w_{i+1}^{-1} Y: the two layers no longer cancel.

    >>> is_block_natural_rate(block_natural_rate()).outcome
    'proved'
    """
    first, second = INVERSE_NEXT * PULLED * W_I.T, W_NEXT.T * PULLED * INVERSE_HERE
    return (first + first.T - second - second.T) * (-ETA / DEPTH)


def is_block_natural_rate(formula: Expression) -> Decision:
    r"""Whether a formula is the rate of C_i when each layer by itself solves A_i \dot w_i B_i = -(eta / d) Delta."""
    here, above = INVERSE_NEXT * PULLED, PULLED * INVERSE_HERE
    rules = (words.rule(W_NEXT * INVERSE_NEXT, 1), words.rule(INVERSE_HERE * W_I, 1))
    solved = [words.vanishes(one - PULLED, rules, _square_layers) for one in (W_NEXT * here, above * W_I)]
    moved = rate(balance(), here, above) * (-ETA / DEPTH)
    return all_of(*solved, words.vanishes(moved - formula)).explain(
        step("What is left of the error between the two layers is Y. The lower layer alone removes it by", here),
        step("and the upper one alone by", above),
        step("In the rate of the balance nothing cancels:", moved),
    )


def _square_layers(draw: Random) -> Mapping[Letter, Any]:
    upper, lower = Matrix([[2, 1], [1, 1]]), Matrix([[1, 2], [1, 3]])
    values: dict[Letter, Any] = {W_NEXT: upper, INVERSE_NEXT: upper.inv()}
    values |= {W_I: lower, INVERSE_HERE: lower.inv()}
    return values | {PULLED: randMatrix(2, 2, min=-3, max=3, prng=draw)}


def count_equations(formula: Mapping[str, Expr], largest: int = 5) -> Decision:
    """Whether formulas count the equations on velocities, d = 1..largest, where every generator moves a weight.

    Orthogonality to the moves has one equation for each entry of each generator. The equations of conserved balances
    are moves too, those of symmetric generators: one for each free entry of a symmetric matrix.
    """
    symmetric = Letter("s_i", N, N, symmetric=True)
    equation = words.gradient(trace(symmetric * rate(balance())), V_HERE)
    move = relabelled(generator(), {CHANGE: symmetric, CHANGE_BELOW: None})
    width = RANK[INDEX, INDEX]
    entries = {"orthogonal to all moves": width**2, "conserved balances": expand_func(binomial(width + 1, 2))}
    expected = {name: Sum(entry, (INDEX, 1, DEPTH - 1)) for name, entry in entries.items()}
    counts = [
        zero(at_depth(formula[name], depth) - at_depth(expected[name], depth))
        for name in expected
        for depth in range(1, largest + 1)
    ]
    return all_of(words.vanishes(equation - move * 2), *counts).explain(
        step("The equations that a conserved balance puts on one layer:", equation),
        step("are twice the move of a symmetric generator:", move),
        step("Moves of different generators are different, so the free entries count:", tuple(expected.values())),
    )

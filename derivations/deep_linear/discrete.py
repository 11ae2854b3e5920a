r"""The balance C_i = w_i w_i^T - w_{i+1}^T w_{i+1} in discrete time: Runge-Kutta steps, midpoint, weight decay.

Velocities k_r of the stages are updates A_i^T Lambda B_i^T at the weights of their stage, so that at every stage
k_r u_r^T = U_r^T K_r with the stage's own weights u_r, U_r of two neighbouring layers. Source: A section 2, theorem 1.
"""

from __future__ import annotations

from collections.abc import Mapping

from sympy import Expr, Rational, Symbol, sqrt

from derivations import words
from derivations.decide import Decision, all_of, step
from derivations.deep_linear.conservation import STEP, V_HERE, V_NEXT, balance, dual_update, rate, strong_form
from derivations.notation import K_SIZE, W_I, W_NEXT, M, N
from derivations.word_algebra import collect
from derivations.words import Expression, Letter

V_R = Letter("v_r", N, M, latex=r"\dot{w}_i^{(r)}")
V_L = Letter("v_l", N, M, latex=r"\dot{w}_i^{(l)}")
V_NEXT_R = Letter("v_next_r", K_SIZE, N, latex=r"\dot{w}_{i+1}^{(r)}")
V_NEXT_L = Letter("v_next_l", K_SIZE, N, latex=r"\dot{w}_{i+1}^{(l)}")
V_1, V_2 = (Letter(f"v_{k}", N, M, latex=rf"\dot{{w}}_i^{{({k})}}") for k in (1, 2))
V_NEXT_1, V_NEXT_2 = (Letter(f"v_next_{k}", K_SIZE, N, latex=rf"\dot{{w}}_{{i+1}}^{{({k})}}") for k in (1, 2))
A_RL, A_LR, B_R, B_L = (Symbol(name, real=True) for name in ("a_rl", "a_lr", "b_r", "b_l"))
DECAY = Symbol("lambda", positive=True)
_EXCHANGE = {V_R: V_L, V_L: V_R, V_NEXT_R: V_NEXT_L, V_NEXT_L: V_NEXT_R}
Stages = tuple[tuple[Expr | int, ...], ...]


def pair_product() -> Expression:
    r"""P_rl = k_r k_l^T - K_r^T K_l, the balance of the velocities of two stages.

    >>> str(pair_product())
    '(-1)*v_next_r.T*v_next_l + v_r*v_l.T'
    """
    return V_R * V_L.T - V_NEXT_R.T * V_NEXT_L


def runge_kutta_drift() -> Expression:
    r"""h^2 (b_r b_l - b_r a_rl - b_l a_lr) P_rl: share of the stages r, l in C_i(w') - C_i(w), summed over all r, l.

    The bracket is what symplectic methods set to zero.

    >>> is_runge_kutta_drift(runge_kutta_drift()).outcome
    'proved'
    """
    return pair_product() * ((B_R * B_L - B_R * A_RL - B_L * A_LR) * STEP**2)


def exchanged(formula: Expression) -> Expression:
    """The same formula with the stages r and l exchanged."""
    swap = {A_RL: A_LR, A_LR: A_RL, B_R: B_L, B_L: B_R}
    renamed = words.substitute(formula, {old: words.expression(new) for old, new in _EXCHANGE.items()})
    return collect([(c.xreplace(swap), word) for c, word in renamed.terms], *renamed.shape)


def is_runge_kutta_drift(formula: Expression) -> Decision:
    """Whether a formula, summed over ordered pairs of stages, is the change of the balance in one step.

    One representative pair: the terms of second order of the step, less what the strong form at the weights of a stage
    makes of the linear term.
    """
    share = stage_share()
    stated, found = formula + exchanged(formula), share + exchanged(share)
    return words.vanishes(found - stated).explain(
        step("At the weights of stage r the strong form replaces the linear term of stage r by", coupled()),
        step("With the products of velocities, an ordered pair of stages moves the balance by", share),
        step("Both orders of two stages together:", found),
    )


def coupled() -> Expression:
    r"""What stage l adds to the linear term of stage r: - h a_rl (P_rl + P_lr), from the strong form at stage r.

    >>> str(coupled() + (pair_product() + pair_product().T) * (STEP * A_RL))
    '0'
    """
    stage = {W_I: W_I + V_L * (STEP * A_RL), W_NEXT: W_NEXT + V_NEXT_L * (STEP * A_RL)}
    own = {V_HERE: words.expression(V_R), V_NEXT: words.expression(V_NEXT_R)}
    identity = words.substitute(words.substitute(strong_form(), own), stage)
    linear = rate(balance(), V_R, V_NEXT_R)
    return linear - identity - identity.T


def stage_share() -> Expression:
    """h^2 (b_r b_l / 2 - b_r a_rl) (P_rl + P_lr): what one ordered pair of stages does to the balance."""
    moved = {W_I: W_I + (V_R * B_R + V_L * B_L) * STEP, W_NEXT: W_NEXT + (V_NEXT_R * B_R + V_NEXT_L * B_L) * STEP}
    both = words.substitute(balance(), moved) - balance()
    linear = [rate(balance(), v, x) * (STEP * b) for v, x, b in ((V_R, V_NEXT_R, B_R), (V_L, V_NEXT_L, B_L))]
    squares = [
        (words.substitute(balance(), {W_I: v * 1, W_NEXT: x * 1})) * (STEP * b) ** 2
        for v, x, b in ((V_R, V_NEXT_R, B_R), (V_L, V_NEXT_L, B_L))
    ]
    cross = (both - linear[0] - linear[1] - squares[0] - squares[1]) / 2
    return cross + coupled() * (STEP * B_R)


def summed(formula: Expression, a: Stages, b: tuple[Expr | int, ...]) -> Expression:
    """A pair formula summed over the stages of a method of one or two stages, in the letters v_1, v_2."""
    here, above = (V_1, V_2), (V_NEXT_1, V_NEXT_2)
    total = words.zeros(N, N)
    for r in range(len(b)):
        for el in range(len(b)):
            values = {A_RL: a[r][el], A_LR: a[el][r], B_R: b[r], B_L: b[el]}
            named = {V_R: here[r] * 1, V_L: here[el] * 1, V_NEXT_R: above[r] * 1, V_NEXT_L: above[el] * 1}
            one = words.substitute(formula, named)
            total = total + collect([(c.subs(values), word) for c, word in one.terms], N, N)
    return total


HEUN: tuple[Stages, tuple[Expr | int, ...]] = (((0, 0), (1, 0)), (Rational(1, 2), Rational(1, 2)))
MIDPOINT: tuple[Stages, tuple[Expr | int, ...]] = (((Rational(1, 2),),), (1,))
GAUSS: tuple[Stages, tuple[Expr | int, ...]] = (
    ((Rational(1, 4), Rational(1, 4) - sqrt(3) / 6), (Rational(1, 4) + sqrt(3) / 6, Rational(1, 4))),
    (Rational(1, 2), Rational(1, 2)),
)


def heun_drift() -> Expression:
    r"""h^2 / 4 (D D^T - E^T E) with D = k_1 - k_2 and E = K_1 - K_2: the drift of one step of Heun's method.

    k_1 - k_2 is of the order of h, so the drift of a step is of fourth order, over a given time of third.

    >>> is_heun_drift(heun_drift()).outcome
    'proved'
    """
    here, above = V_1 - V_2, V_NEXT_1 - V_NEXT_2
    return (here * here.T - above.T * above) * (STEP**2 / 4)


def is_heun_drift(formula: Expression) -> Decision:
    """Whether a formula is the drift of the method with stages at w and w + h k_1 and equal weights."""
    found = summed(runge_kutta_drift(), *HEUN)
    return words.vanishes(found - formula).explain(
        step("The coefficients of the method, put into the drift of pairs of stages:", found),
        step("It is the balance of a difference of velocities:", formula),
    )


def is_kept_by_midpoint(quantity: Expression) -> Decision:
    """Whether a function of two layers is the same at u - h v / 2 and u + h v / 2, for v = A^T Lambda B^T at u.

    >>> is_kept_by_midpoint(balance()).outcome, is_kept_by_midpoint(W_I * W_I.T).outcome
    ('proved', 'refuted')
    """
    here, above = dual_update()
    ends = [
        words.substitute(quantity, {W_I: W_I + here * half, W_NEXT: W_NEXT + above * half})
        for half in (STEP / 2, -STEP / 2)
    ]
    gauss = [words.vanishes(summed(runge_kutta_drift(), *method)) for method in (MIDPOINT, GAUSS)]
    return all_of(words.vanishes(ends[0] - ends[1]), *gauss).explain(
        step("Start and end lie at equal distances on either side of the weights where the velocity is taken:", here),
        step("A quadratic function differs there by the linear term alone, which is zero:", ends[0] - ends[1]),
    )


def decayed_balance() -> Expression:
    r"""C_i(w') = (1 - h lambda)^2 C_i + h^2 (k k^T - K^T K) for w' = (1 - h lambda) w + h k.

    >>> is_decayed_balance(decayed_balance()).outcome
    'proved'
    """
    return balance() * (1 - STEP * DECAY) ** 2 + (V_HERE * V_HERE.T - V_NEXT.T * V_NEXT) * STEP**2


def is_decayed_balance(formula: Expression) -> Decision:
    """Whether a formula is the balance after a step with weights that shrink by the factor 1 - h lambda."""
    here, above = dual_update()
    kept = 1 - STEP * DECAY
    after = words.substitute(balance(), {W_I: W_I * kept + here * STEP, W_NEXT: W_NEXT * kept + above * STEP})
    stated = words.substitute(formula, {V_HERE: here, V_NEXT: above})
    mixed = rate(balance(), here, above) * (kept * STEP)
    return words.vanishes(after - stated).explain(
        step("Shrunken weights and velocity meet in the term", mixed),
        step("which vanishes. The balance shrinks with the square of the factor:", formula),
    )


def training_orders() -> Mapping[str, int]:
    """Powers of the step with which the drift of the balance over a given time vanishes, rule by rule (A figure S2)."""
    return {"gradient": 1, "natural": 1, "square root": 1, "block natural": 0, "block square root": 0}

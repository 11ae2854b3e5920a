r"""Signal and noise in what a deep linear network learns: speeds of modes, the solution, and the noise in it.

A mode sigma of the map is balanced if all layers share it, sigma_i = sigma^{1/d} > 0. Two modes a, b of the data,
goals sigma^*_a and sigma^*_b, start at the same fraction of their goals. Source: A section 4 and figure 3.
"""

from __future__ import annotations

from functools import lru_cache
from random import Random
from typing import Any

from sympy import Expr, Function, Matrix, Min, Symbol, diag, gamma, randMatrix, sqrt, symbols, sympify

from derivations import words
from derivations.decide import Decision, all_of, equal, positive, step
from derivations.deep_linear import modes
from derivations.notation import A_I, B_I, DELTA, DEPTH, ETA, J_I, N_0, N_D, NORM_J, SIGMA_DELTA, SIGMA_X, M, N, Q
from derivations.words import Expression, Letter

VALUE = Symbol("sigma", positive=True)
GOAL_A, GOAL_B = Symbol("sigma_a^*", positive=True), Symbol("sigma_b^*", positive=True)
LIMIT, SPEED = Symbol("c", positive=True), Symbol("v", positive=True)
INPUTS, EXTRA = Symbol("N", positive=True), Symbol("D", positive=True)

TEACHER = Letter("Wstar", N_D, N_0, latex="W^*")
SPAN = Letter("Pi", N_0, N_0, symmetric=True, latex=r"\Pi")


def exponent(q: Expr | int = Q) -> Expr:
    """p = 2 (1 - 1/d) (1 - 1/q) (A eq. 21).

    >>> exponent(1), exponent(2).subs(DEPTH, 2)
    (0, 1/2)
    """
    order = sympify(q)
    return 2 * (1 - 1 / DEPTH) * (1 - 1 / order)


def learning_speed(q: Expr | int = Q) -> Expr:
    r"""-\dot\sigma / sigma_Delta = eta d^{1-1/q} sigma^p of a balanced mode: it grows with the mode (A eq. 21).

    >>> learning_speed(1)
    eta
    """
    return ETA * DEPTH ** (1 - 1 / sympify(q)) * VALUE ** exponent(q)


def learning_speed_as_printed() -> Expr:
    """The same with sigma^{-p} (A section 4)."""
    return ETA * DEPTH ** (1 - 1 / Q) * VALUE ** (-exponent())


def is_learning_speed(formula: Expr) -> Decision:
    r"""Whether a formula is sum_i j_i \dot\sigma_i / (-sigma_Delta) when all layers are equal."""
    coupling = VALUE ** (1 - 1 / DEPTH)
    values = {J_I: coupling, NORM_J: sqrt(DEPTH) * coupling}
    moved = DEPTH * coupling * modes.fractional_velocity().subs(values, simultaneous=True) / (-SIGMA_DELTA)
    return equal(moved, formula).explain(
        step("Every layer of a balanced mode has the coupling", coupling),
        step("The d layers together move the map, for each unit of the gap, by", moved),
        step("that is", formula),
    )


def time_ratio(q: Expr | int = Q) -> Expr:
    """t_b / t_a = (sigma^*_a / sigma^*_b)^p, the times at which two modes reach the same fraction of their goals.

    >>> time_ratio(1)
    1
    """
    return (GOAL_A / GOAL_B) ** exponent(q)


def is_time_ratio(formula: Expr) -> Decision:
    """Whether the second mode, with time stretched by the formula, solves the equation of the first.

    Fractions x = sigma / sigma^* obey x' = eta d^{1-1/q} sigma^*^p x^p (1 - x): goals enter through the rate alone.
    """
    fraction, goal = symbols("x g", positive=True)
    rate = learning_speed().subs(VALUE, fraction * goal) * (1 - fraction)
    first, second = (rate.subs(goal, one) for one in (GOAL_A, GOAL_B))
    return equal(second * formula, first).explain(
        step("The fraction of its goal that a mode has learned grows at the rate", rate),
        step("The ratio of two such rates at equal fractions is a number:", first / second),
        step("so the slower mode repeats the course of the faster, stretched by", formula),
    )


def clipped_decay() -> Expr:
    r"""\dot L / L = -2 eta min(1, c / ||v||) for natural gradients v clipped to the norm c.

    >>> clipped_decay().subs({LIMIT: 1, SPEED: 4})
    -eta/2
    """
    return -2 * ETA * Min(1, LIMIT / SPEED)


def is_clipped_decay(formula: Expr) -> Decision:
    r"""Whether a formula is the decay of the quadratic loss when \dot\Delta = -eta s Delta, s from clipping."""
    factor, excess = symbols("s r", positive=True)
    rate = words.differential(words.trace(DELTA * SIGMA_X * DELTA.T) / 2, {DELTA: DELTA * (-ETA * factor)})
    matched = words.vanishes(rate + words.trace(DELTA * SIGMA_X * DELTA.T) * (ETA * factor))
    free = equal(formula.subs(SPEED, LIMIT / (1 + excess)).doit(), -2 * ETA)
    clipped = equal(formula.subs(SPEED, LIMIT * (1 + excess)).doit(), -2 * ETA / (1 + excess))
    return all_of(matched, free, clipped).explain(
        step(
            "A natural gradient moves the map straight to the teacher, slowed by the clipping factor s. The loss loses",
            rate,
        ),
        step("which is twice the loss itself times eta s. Clipping starts where the speed exceeds its limit:", formula),
    )


def solution() -> Expression:
    """W = W^*: where any rule comes to rest with A_i, B_i of full rank and definite inputs (A section 4).

    >>> is_solution(solution()).outcome
    'proved'
    """
    return words.expression(TEACHER)


def is_solution(formula: Expression) -> Decision:
    """Whether a vanishing gradient forces the map to be the formula.

    f(H_+) g = 0 with f positive on the range of the Hessian+ means g = 0, for one block and for all of it.
    """
    upper, lower = Letter("Ap", N, N_D, latex="A_i^{+}"), Letter("Bp", N_0, M, latex="B_i^{+}")
    inverse = Letter("T", N_0, N_0, symmetric=True, latex=r"\Sigma_x^{-1}")
    known = (
        words.rule(upper.T * A_I.T, words.identity(N_D)),
        words.rule(B_I.T * lower.T, words.identity(N_0)),
        words.rule(SIGMA_X * inverse, words.identity(N_0)),
    )
    gradient = A_I.T * (formula - solution()) * SIGMA_X * B_I.T
    pulled = words.normal(upper.T * gradient * lower.T * inverse, known)
    return all_of(words.vanishes(pulled - (formula - solution())), words.vanishes(pulled)).explain(
        step("At rest the gradient of every layer vanishes:", A_I.T * DELTA * SIGMA_X * B_I.T),
        step("Inverses of what surrounds the gap, where they exist, leave the gap alone. The map at rest is", formula),
    )


def seen_gap() -> Expression:
    r"""(W - W^*) \Pi = 0 at rest, \Pi the projection on the span of the inputs: all that data of rank P < N decide.

    >>> is_seen_gap(seen_gap()).outcome
    'proved'
    """
    return DELTA * SPAN


def is_seen_gap(formula: Expression) -> Decision:
    """Whether a word vanishes wherever Delta Sigma_x does, with the projection Sigma_x Sigma_x^+ on the span."""
    inverse = Letter("T", N_0, N_0, symmetric=True, latex=r"\Sigma_x^{+}")
    rest = words.rule(DELTA * SIGMA_X, words.zeros(N_D, N_0))
    projection = words.rule(SPAN, SIGMA_X * inverse)

    def model(draw: Random) -> dict[Any, Any]:
        left = randMatrix(2, 1, min=1, max=3, prng=draw)
        return {DELTA: left * Matrix([[0, 1]]), SIGMA_X: diag(2, 0), inverse: diag(1, 0) / 2, SPAN: diag(1, 0)}

    return words.vanishes(formula, (rest, projection), model).explain(
        step("At rest, with full rank on both sides of every layer, what vanishes is", DELTA * SIGMA_X),
        step(
            "The inputs span the range of their covariance. There the gap vanishes, and nowhere else need it:", formula
        ),
    )


def noise_gain() -> Expr:
    r"""E tr (X X^T)^+ = m / (|P - N| - 1), m = min(N, P), D = |P - N| >= 2, X an N x P matrix of standard normals.

    Labels with unit noise put n_d times this into the squared norm of the solution (whitened in N = m only).

    >>> is_noise_gain(noise_gain()).outcome
    'proved'
    """
    return INPUTS / (EXTRA - 1)


@lru_cache(maxsize=1)
def _inverse_chi_squared(freedom: Expr) -> Expr:
    """E 1 / chi^2_n: the normalisations of the densities of n - 2 and of n degrees of freedom, x^{-1} joins them."""
    density = [2 ** (n / 2) * gamma(n / 2) for n in (freedom, freedom - 2)]
    return density[1] / density[0]


def is_noise_gain(formula: Expr) -> Decision:
    """Whether a formula is m E 1 / chi^2_n, n = |P - N| + 1, the Schur complement of one row against the others."""
    freedom, short = EXTRA + 1, Symbol("y", positive=True)
    mean = INPUTS * _inverse_chi_squared(freedom)
    # gamma(y + 1) = y gamma(y) at y = (n - 2) / 2
    unified = mean.subs(EXTRA, 2 * short + 1)
    reduced = unified.replace(
        gamma, lambda z: short * Function("Gamma")(short) if z == short + 1 else Function("Gamma")(z)
    )
    return all_of(equal(reduced, formula.subs(EXTRA, 2 * short + 1)), positive(short)).explain(
        step("A diagonal entry of the inverse is one over the squared distance of a row from the span of the others,"),
        step("which is chi-squared with as many degrees of freedom as there are dimensions left:", freedom),
        step("The mean of its inverse, summed over the diagonal, is", formula),
    )


def whitened_noise_gain() -> Expr:
    """N / P for inputs whitened exactly, X X^T = P: no peak anywhere.

    >>> whitened_noise_gain().subs({INPUTS: 4, EXTRA: 4})
    1/2
    """
    return INPUTS / (INPUTS + EXTRA)

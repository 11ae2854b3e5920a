r"""Implicit biases of an update rule: which balance of the layers it keeps, and which zeros of the map it cannot pass.

Mode values of two layers are sigma_i, sigma_k > 0, R is the product of all other layers of the mode, so that
j_i = R sigma_k and j_k = R sigma_i. Weights start at the scale alpha: sigma_i(0) = alpha c_i. Source: A section 4.
"""

from __future__ import annotations

from functools import lru_cache

from sympy import Abs, Expr, Integer, Symbol, log, sign, sqrt, symbols, sympify

from derivations import words
from derivations.decide import Decision, all_of, equal, nonnegative, positive, step
from derivations.deep_linear import conservation, layerwise, modes
from derivations.notation import (
    DEPTH,
    ETA,
    J_I,
    NORM_J,
    SIGMA,
    SIGMA_0,
    SIGMA_DELTA,
    SIGMA_STAR,
    W_I,
    W_NEXT,
    Q,
)
from derivations.words import Trace, trace

SCALE = Symbol("alpha", positive=True)
_FIRST, _SECOND, _REST = symbols("s_i s_k R", positive=True)
_C_I, _C_K = symbols("c_i c_k", positive=True)


def norm_difference() -> Trace:
    """|w_i|^2 - |w_{i+1}|^2 in the Frobenius norm: the trace of the balance matrix (A section 4).

    >>> norm_is_conserved(norm_difference()).outcome
    'proved'
    """
    return trace(conservation.balance())


def norm_is_conserved(quantity: Trace) -> Decision:
    """Whether a number made of two neighbouring layers stands still under every update A_i^T Lambda B_i^T."""
    here, above = conservation.dual_update()
    moved = words.differential(quantity, {W_I: here, W_NEXT: above})
    return words.vanishes(moved).explain(
        step("The lower layer moves by", here),
        step("the upper one by", above),
        step("Under the trace both contribute the same number, the slope of the loss along a rescaling:", moved),
    )


def imbalance_exponents(q: Expr | int = Q) -> dict[str, Expr]:
    r"""Exponents of alpha in the relative imbalance (sigma_i^2 - sigma_k^2) / sigma_i^2 after learning.

    2 for updates with the full curvature, 2 - 2/q for one curvature a layer; q = 1 leaves the ratio as it was.

    >>> imbalance_exponents(1)["block"], imbalance_exponents(2)["block"]
    (0, 1)
    """
    return {"full": Integer(2), "block": 2 - 2 / sympify(q)}


def _pair_rate(quantity: Expr, velocity: Expr) -> Expr:
    """The rate of a function of two layers of one mode whose velocity is given for a coupling."""
    parts = ((_FIRST, _REST * _SECOND), (_SECOND, _REST * _FIRST))
    return sum((quantity.diff(x) * velocity.subs(J_I, j) for x, j in parts), start=Integer(0))


def are_imbalance_exponents(formula: dict[str, Expr]) -> Decision:
    """Whether powers of two layers have a conserved difference, and carry the stated power of the initial scale.

    A conserved difference of e-th powers starts at alpha^e times a number and stays there while the powers themselves
    become those of the learned map. For q = 1 the difference is empty, and the ratio is conserved.
    """
    shown = [step(f"With {name} curvature two layers of a mode keep", _difference(e)) for name, e in formula.items()]
    closing = step(
        "For order one with a curvature for each layer this is empty, and what is kept is", log(_FIRST / _SECOND)
    )
    carried = [_carries(name, exponent) for name, exponent in formula.items()]
    return all_of(*carried, _ratio_is_kept(), equal(formula["block"].subs(Q, 1), 0)).explain(*shown, closing)


def _difference(exponent: Expr) -> Expr:
    return _FIRST**exponent - _SECOND**exponent


@lru_cache(maxsize=256)
def _carries(name: str, exponent: Expr) -> Decision:
    """A difference of powers is conserved, scales with the stated power of the start, and is not empty for q > 1."""
    rule = {"full": modes.fractional_velocity, "block": layerwise.fractional_velocity}[name]()
    difference = _difference(exponent)
    started = difference.subs({_FIRST: SCALE * _C_I, _SECOND: SCALE * _C_K}, simultaneous=True)
    carried = SCALE**exponent * difference.subs({_FIRST: _C_I, _SECOND: _C_K}, simultaneous=True)
    return all_of(equal(_pair_rate(difference, rule), 0), equal(started, carried), _is_not_empty(exponent))


@lru_cache(maxsize=1)
def _ratio_is_kept() -> Decision:
    return equal(_pair_rate(log(_FIRST) - log(_SECOND), layerwise.fractional_velocity(1)), 0)


def _is_not_empty(exponent: Expr) -> Decision:
    """An exponent zero would make any difference of powers vanish."""
    return positive(exponent.subs(Q, 1 + Symbol("x", positive=True)))


def crossing_exponent(q: Expr | int = Q) -> Expr:
    r"""The exponent of |sigma| in the parameter speed of a balanced mode near sigma = 0: (1 - 1/d) (1 - 2/q).

    >>> crossing_exponent(1).subs(DEPTH, 2)
    -1/2
    """
    return (1 - 1 / DEPTH) * (1 - 2 / sympify(q))


def is_crossing_exponent(formula: Expr) -> Decision:
    """Whether the speed of a mode, over the power, is free of the mode value when all layers are equal."""
    value, gap = Symbol("s", positive=True), Symbol("g", positive=True)
    coupling = sqrt(DEPTH) * value ** (1 - 1 / DEPTH)
    speed = modes.fractional_speed().subs({NORM_J: coupling, SIGMA_DELTA: gap}, simultaneous=True)
    logarithmic = value * speed.diff(value) / speed
    return equal(logarithmic, formula).explain(
        step("In a balanced mode the norm of the couplings is", coupling),
        step("The speed of order q becomes", speed),
        step("whose logarithmic slope in the mode value, at a given gap, is", logarithmic),
    )


def resting_value() -> Expr:
    r"""lim sigma(t) = (sigma^* + sign(sigma_0) |sigma^*|) / 2 for a balanced mode under gradient descent, d >= 2.

    The teacher's value if the signs agree, else zero: a saddle.

    >>> resting_value().subs({SIGMA_STAR: 2, SIGMA_0: -1})
    0
    """
    return (SIGMA_STAR + sign(SIGMA_0) * Abs(SIGMA_STAR)) / 2


def is_resting_value(formula: Expr) -> Decision:
    """Whether a balanced mode moves towards the stated value from everywhere on its side of zero, and cannot cross.

    The rate is -eta d |sigma|^p (sigma - sigma^*) with p = 2 - 2/d >= 1, so zero is an equilibrium that no solution
    reaches in finite time.
    """
    start, goal, rest = symbols("s g r", positive=True)
    layers = Symbol("n", integer=True, nonnegative=True) + 2
    rate = -ETA * layers * Abs(SIGMA) ** (2 - 2 / layers) * (SIGMA - SIGMA_STAR)
    agree = [
        equal(formula.subs({SIGMA_0: s * start, SIGMA_STAR: s * goal}, simultaneous=True), s * goal) for s in (1, -1)
    ]
    oppose = [equal(formula.subs({SIGMA_0: s * start, SIGMA_STAR: -s * goal}, simultaneous=True), 0) for s in (1, -1)]
    inside = positive(rate.subs({SIGMA: goal / (1 + rest), SIGMA_STAR: goal}, simultaneous=True))
    outside = positive(-rate.subs({SIGMA: goal * (1 + rest), SIGMA_STAR: goal}, simultaneous=True))
    trapped = positive(-rate.subs({SIGMA: start, SIGMA_STAR: -goal}, simultaneous=True))
    barrier = nonnegative(2 - 2 / layers - 1)
    return all_of(*agree, *oppose, inside, outside, trapped, barrier).explain(
        step(
            "A balanced mode of d layers moves at the rate",
            -ETA * DEPTH * Abs(SIGMA) ** (2 - 2 / DEPTH) * (SIGMA - SIGMA_STAR),
        ),
        step("For two or more layers the power is at least one: zero is never crossed, nor reached in finite time."),
        step("On either side of zero the mode moves towards", formula),
    )

r"""Networks with homogeneous activations: rescaling of single neurons, and what it makes every update conserve.

One hidden layer of a network of any depth: n neurons with incoming weights w (n x m), biases b (n x 1) and outgoing
weights u (k x n) see y (m x 1), have pre-activations z = w y + b and send u phi(z). The activation is homogeneous of
degree k: phi(c z) = c^k phi(z) for c > 0, so phi(z) = alpha |z|^k with one alpha for each sign; ReLU has k = 1.
Whatever lies above returns one vector lambda (k x 1) a sample. Source: A section 4 (weight balance).
"""

from __future__ import annotations

from random import Random
from typing import Any

from sympy import Expr, Matrix, Symbol, diag, randMatrix

from derivations import words
from derivations.decide import Decision, all_of, equal, step
from derivations.notation import K_SIZE, M, N
from derivations.words import Expression, Letter, Trace, trace

DEGREE = Symbol("k", positive=True)
FACTOR = Symbol("c", positive=True)
ABOVE = Symbol("m", integer=True, nonnegative=True)
REACH = Symbol("r", integer=True, positive=True)

INCOMING = Letter("w", N, M)
BIAS = Letter("b", N, 1)
OUTGOING = Letter("u", K_SIZE, N)
SEEN = Letter("y", M, 1)
SENT = Letter("phi", N, 1, latex=r"\phi")
SLOPE = Letter("D", N, N, symmetric=True)
BACK = Letter("lambda", K_SIZE, 1, latex=r"\lambda")

GATE_H, GATE_K = (Symbol(f"D_{name}", real=True) for name in "hk")
FORCE_H, FORCE_K = (Symbol(f"e_{name}", real=True) for name in "hk")
PRE_H, PRE_K = (Symbol(f"z_{name}", real=True) for name in "hk")


def rescaling(degree: Expr | int = DEGREE) -> dict[str, Expr]:
    """Factors that leave the outputs unchanged: lower weights, biases m layers above them, weights r layers above.

    >>> list(rescaling(1).values())
    [c, c, 1/c]
    """
    return {"w": FACTOR, "b": FACTOR ** (degree**ABOVE), "u": FACTOR ** (-(degree**REACH))}


def keeps_outputs(factors: dict[str, Expr]) -> Decision:
    """Whether factors c, f(m), g(r) of the lower weights, the biases and the upper weights leave outputs unchanged.

    By induction over layers: pre-activations and biases need one factor, which the activation raises to the k.
    """
    bias, upper = factors["b"], factors["u"]
    start = equal(bias.subs(ABOVE, 0), factors["w"])
    onward = equal(bias.subs(ABOVE, ABOVE + 1), bias**DEGREE)
    closing = equal(upper * bias.subs(ABOVE, REACH - 1) ** DEGREE, 1)
    return all_of(start, onward, closing).explain(
        step("Scaled weights and biases scale the pre-activations of their layer by", factors["w"]),
        step("Each activation raises the factor to its degree, so that m layers above it is", bias),
        step("The upper weights divide by what arrives at them, and their layer notices nothing:", upper),
    )


def neuron_balance(degree: Expr | int = DEGREE) -> Trace:
    """|w|^2 + |b|^2 - k |u|^2 for any group of neurons of one layer, from a single neuron to the whole layer.

    >>> conserved(neuron_balance()).outcome, conserved(neuron_balance(1)).outcome
    ('proved', 'refuted')
    """
    return trace(INCOMING * INCOMING.T) + trace(BIAS * BIAS.T) - degree * trace(OUTGOING.T * OUTGOING)


def update() -> dict[Letter, Expression]:
    """The part of one sample in any update without null component: J_x^T lambda, layer by layer.

    Gradient, natural, fractional and damped updates differ in the lambda of the samples alone.
    """
    force = SLOPE * OUTGOING.T * BACK
    return {INCOMING: -(force * SEEN.T), BIAS: -force, OUTGOING: -(BACK * SENT.T)}


def euler_identity() -> Decision:
    """z phi'(z) = k phi(z) on both sides of zero, the derivative of phi(c z) = c^k phi(z) at c = 1."""
    size, value = Symbol("r", positive=True), Symbol("alpha", real=True)
    sides = []
    for sign in (1, -1):
        sent = value * (sign * Symbol("z", real=True)) ** DEGREE
        slope = sent.diff(Symbol("z", real=True)).subs(Symbol("z", real=True), sign * size)
        sides.append(equal(sign * size * slope, DEGREE * value * size**DEGREE))
    return all_of(*sides)


def conserved(quantity: Trace) -> Decision:
    """Whether a function of the weights of a group of neurons stands still under every update J_x^T lambda."""
    moved = words.differential(quantity, update())
    known = (words.rule(SLOPE * INCOMING * SEEN, DEGREE * SENT - SLOPE * BIAS),)
    return all_of(euler_identity(), words.vanishes(moved, known, _relu_squared)).explain(
        step("One sample moves the incoming weights by", update()[INCOMING]),
        step("the biases by", update()[BIAS]),
        step("and the outgoing weights by", update()[OUTGOING]),
        step("The quantity then changes at the rate", moved),
        step("Euler's identity for homogeneous functions replaces the slopes times the pre-activations:", known[0].rhs),
        step("and what remains is", words.normal(moved, known)),
    )


def _relu_squared(draw: Random) -> dict[Any, Any]:
    """Three neurons with the activation max(z, 0)^2, exactly."""
    incoming, shift = randMatrix(3, 2, min=-3, max=3, prng=draw), randMatrix(3, 1, min=-3, max=3, prng=draw)
    outgoing, back = randMatrix(2, 3, min=-3, max=3, prng=draw), randMatrix(2, 1, min=-3, max=3, prng=draw)
    seen = randMatrix(2, 1, min=1, max=3, prng=draw)
    active = [max(z, 0) for z in incoming * seen + shift]
    values: dict[Any, Any] = {INCOMING: incoming, BIAS: shift, OUTGOING: outgoing, BACK: back, SEEN: seen, DEGREE: 2}
    return values | {SENT: Matrix([z**2 for z in active]), SLOPE: diag(*[2 * z for z in active])}


def pair_drift() -> Expr:
    r"""[\dot C]_{hk} = -(D_h - D_k)(e_h z_k - e_k z_h) of one sample, C = w w^T - u^T u, for degree 1 without biases.

    D are the slopes of two neurons of a layer, z their pre-activations, e the loss derivatives at their activations.

    >>> pair_drift().subs(GATE_K, GATE_H)
    0
    """
    return -(GATE_H - GATE_K) * (FORCE_H * PRE_K - FORCE_K * PRE_H)


def is_pair_drift(formula: Expr) -> Decision:
    """Whether a formula is the rate of the balance between two neurons, from the updates of their weights."""
    # w_h . w_k moves through the inner product of input and weights, which is z; u_h . u_k through phi = D z
    below = -GATE_H * FORCE_H * PRE_K - GATE_K * FORCE_K * PRE_H
    above = -GATE_H * PRE_H * FORCE_K - GATE_K * PRE_K * FORCE_H
    return equal(below - above, formula).explain(
        step("The incoming weights of two neurons meet the same input. Their product changes at the rate", below),
        step("and the product of the outgoing ones, whose updates carry the activations, at", above),
        step("Two neurons in the same state cancel, as in a linear network. Others do not:", formula),
    )

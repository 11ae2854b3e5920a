r"""Lemma 3 as printed against what holds, with exact witnesses: a few networks of one unit per layer.

The printed bounds replace the mean of a largest singular value by the largest singular value of a mean, and the mean
of a product by the product of means. All means are over networks and inputs. Source: B eqs. 13-17 and 24-38.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sympy import Expr, Rational, S, Symbol, sqrt, sympify

from derivations.decide import Decision, all_of, equal, step
from derivations.information.norm_bounds import INPUT_A, INPUT_B, S_A, S_B, S_H, block_norm, is_block_norm

BELOW = Symbol("N", integer=True, positive=True)  # width of the layer below beta
PHI = Symbol("phi_mean", nonnegative=True)  # |E phi(h)|
MEAN_INPUT = Symbol("x_mean", nonnegative=True)  # |E x^0|
FIRST, LAYER, LINK = (Symbol(name, nonnegative=True) for name in ("s_1", "s_beta", "s_H"))  # means of s_max
SECOND = Symbol("lambda_xx", nonnegative=True)  # largest eigenvalue of E[x^0 x^0T]
COVARIANCE = Symbol("lambda_cov", nonnegative=True)
JOINT = {
    kind: Symbol(f"m_{kind}", nonnegative=True) for kind in ("WW", "Wb", "bW", "bb")
}  # mean of |x^0| |x^{beta-1}| s_max(J_1) s_max(H) s_max(J_beta), without the lengths for biases
STEEPEST = Symbol("m_J", nonnegative=True)  # largest s_max(H^{1/2} J_1)^2 of all inputs
SQUARED = Symbol("m_bb1", nonnegative=True)  # mean of s_max(H) s_max(J_1)^2
LENGTHS = Symbol("m_x", nonnegative=True)  # mean of |phi| |x^0|


def printed(kind: str) -> Expr:
    """The printed bound on s_max(G_{1,beta}); kind WW, Wb, bW, bb: weights or bias of layer 1, then of layer beta.

    >>> printed("Wb")
    s_1*s_H*s_beta*x_mean
    """
    means = FIRST * LINK * LAYER
    table = {"WW": sqrt(BELOW) * PHI * MEAN_INPUT * means, "Wb": MEAN_INPUT * means, "bW": PHI * means, "bb": means}
    return table[_known(kind)]


def corrected(kind: str) -> Expr:
    """The mean of the product of all norms, which holds for every network and so on average.

    >>> corrected("bb")
    m_bb
    """
    return JOINT[_known(kind)]


def _known(kind: str) -> str:
    if kind not in JOINT:
        raise ValueError(f"kind: {kind!r} given, allowed: {', '.join(JOINT)}")
    return kind


@dataclass(frozen=True, slots=True)
class UnitNetwork:
    """A ReLU network with one unit in each of two layers, x^l = max(w_l x^{l-1} + b_l, 0), and one linear output."""

    w_1: int
    b_1: int
    w_2: int
    b_2: int
    readout: int

    def norms(self, x: int) -> dict[str, Expr]:
        """What enters both layers, and the derivatives of the output with respect to their pre-activations."""
        h_1 = self.w_1 * x + self.b_1
        y = max(h_1, 0)
        h_2 = self.w_2 * y + self.b_2
        j_2 = sympify(self.readout * (h_2 > 0))
        return {"x": sympify(x), "y": sympify(y), "j_2": j_2, "j_1": j_2 * self.w_2 * (h_1 > 0)}


def measured(kind: str, networks: Sequence[UnitNetwork], inputs: Sequence[int]) -> Expr:
    """The mean over networks of s_max(G_{1,beta}) for beta = 2, by definition.

    >>> measured("WW", [UnitNetwork(1, 0, 1, 1, 1)], [1, -1])
    1/2
    """
    sizes = []
    for net in networks:
        found = [net.norms(x) for x in inputs]
        entries = [_entry(kind, one) for one in found]
        sizes.append(abs(sum(entries, S.Zero)) / len(inputs))
    return sum(sizes, S.Zero) / len(networks)


def _entry(kind: str, one: dict[str, Expr]) -> Expr:
    left = one["x"] if _known(kind)[0] == "W" else S.One
    right = one["y"] if kind[1] == "W" else S.One
    return left * right * one["j_1"] * one["j_2"]


def statistics(networks: Sequence[UnitNetwork], inputs: Sequence[int]) -> dict[Symbol, Expr]:
    """The exact values of all means that the bounds of an off-diagonal block are made of."""
    found = [net.norms(x) for net in networks for x in inputs]

    def mean(values: Sequence[Expr]) -> Expr:
        return sum(values, S.Zero) / len(found)

    joint = {JOINT[kind]: mean([abs(_entry(kind, one)) for one in found]) for kind in JOINT}
    return {
        BELOW: S.One,
        PHI: abs(mean([one["y"] for one in found])),
        MEAN_INPUT: abs(mean([one["x"] for one in found])),
        FIRST: mean([abs(one["j_1"]) for one in found]),
        LAYER: mean([abs(one["j_2"]) for one in found]),
        LINK: S.One,
        LENGTHS: mean([abs(one["x"] * one["y"]) for one in found]),
        **joint,
    }


# two inputs of opposite sign, two networks of opposite sign, two networks of different gain
SIGNED_INPUTS = ((UnitNetwork(1, 0, 1, 1, 1),), (1, -1))
SIGNED_WEIGHTS = ((UnitNetwork(1, 0, 1, 1, 1), UnitNetwork(-1, 0, 1, 1, 1)), (1,))
GAINS = ((UnitNetwork(1, 0, 1, 1, 1), UnitNetwork(1, 0, 1, 1, 3)), (1,))
SINGLE = ((UnitNetwork(1, 0, 1, 1, 1),), (1,))
WITNESSES = {"WW": SIGNED_INPUTS, "Wb": SIGNED_INPUTS, "bW": SIGNED_WEIGHTS, "bb": GAINS}


def against_witness(formula: Expr, kind: str) -> Decision:
    """Refuted where the exact ensemble of this kind exceeds the bound; undecided otherwise, never proved.

    >>> [against_witness(printed(kind), kind).outcome for kind in JOINT]
    ['refuted', 'refuted', 'refuted', 'refuted']
    >>> [against_witness(corrected(kind), kind).outcome for kind in JOINT]
    ['undecided', 'undecided', 'undecided', 'undecided']
    """
    networks, inputs = WITNESSES[_known(kind)]
    left = measured(kind, networks, inputs)
    right = sympify(formula).xreplace(statistics(networks, inputs))
    steps = (
        step("Networks of one ReLU unit per layer, all exact. The mean norm of the block is", left),
        step("and the bound gives", right),
    )
    if not right.is_Rational or right >= left:
        return Decision("undecided", "the exact networks do not exceed the bound").explain(*steps)
    witness = {"networks": str([_text(net) for net in networks]), "inputs": str(list(inputs))}
    values = {"mean norm of the block": str(left), "bound": str(right)}
    return Decision("refuted", "exact networks whose block exceeds the bound", {**witness, **values}).explain(*steps)


def _text(net: UnitNetwork) -> str:
    return f"w1={net.w_1} b1={net.b_1} w2={net.w_2} b2={net.b_2} wg={net.readout}"


def is_product_of_norms(formula: Expr) -> Decision:
    """Whether a formula is the block norm of a single network, for norms that are the same for all networks.

    >>> is_product_of_norms(printed("bb")).outcome, is_product_of_norms(LINK * LAYER).outcome
    ('proved', 'refuted')
    """
    one = block_norm().xreplace({INPUT_A: S.One, INPUT_B: S.One, S_A: FIRST, S_B: LAYER, S_H: LINK})
    return all_of(is_block_norm(block_norm()), equal(sympify(formula), one)).explain(
        step(
            "For two biases the bound of a single network has no lengths; with constant norms it is its own mean:", one
        )
    )


def printed_diagonal() -> dict[str, Expr]:
    r"""E[s_max H] E[s_max J_1]^2 for the first bias, times lambda_max(Cov) for the first weights (B eqs. 36, 38)."""
    square = LINK * FIRST**2
    return {"bias": square, "weights": COVARIANCE * square}


def corrected_diagonal() -> dict[str, Expr]:
    r"""E[s_max H s_max(J_1)^2] for the bias; lambda_max(E[x x^T]) max s_max(H^{1/2} J_1)^2 for the weights."""
    return {"bias": SQUARED, "weights": SECOND * STEEPEST}


def diagonal_witness(formula: dict[str, Expr]) -> Decision:
    """Refuted by two networks of gains 1 and 3 on the input 1 (bias), or by one network on the input 1 (weights).

    >>> diagonal_witness(printed_diagonal()).outcome, diagonal_witness(corrected_diagonal()).outcome
    ('refuted', 'undecided')
    """
    gains, ((single,), (x,)) = statistics(*GAINS), SINGLE
    found_there = single.norms(x)
    square, length = found_there["j_1"] ** 2, found_there["x"] ** 2
    one_input = {LINK: S.One, FIRST: abs(found_there["j_1"]), SECOND: length, COVARIANCE: S.Zero, STEEPEST: square}
    cases = {
        "bias": (measured("bb", *GAINS), {**gains, SQUARED: gains[JOINT["bb"]]}),
        "weights": (length * square, one_input),
    }
    found = [_exceeds(name, formula[name], left, values) for name, (left, values) in cases.items()]
    return all_of(*found)


def _exceeds(name: str, formula: Expr, left: Expr, values: dict[Symbol, Expr]) -> Decision:
    right = sympify(formula).xreplace(values)
    shown = step(f"An exact block of the first {name} has the mean norm {left}; the bound gives", right)
    if right.is_Rational and right < left:
        witness = {f"block of the first {name}": str(left), "bound": str(Rational(right))}
        return Decision("refuted", "exact networks whose block exceeds the bound", witness).explain(shown)
    return Decision("undecided", "the exact networks do not exceed the bound").explain(shown)


def step_witness(formula: Expr) -> Decision:
    r"""Refuted where E s_max(phi x^{0T}) = E|phi||x^0| differs from a formula, on two exact inputs of opposite sign.

    >>> step_witness(sqrt(BELOW) * PHI * MEAN_INPUT).outcome, step_witness(LENGTHS).outcome
    ('refuted', 'undecided')
    """
    values = statistics(*SIGNED_INPUTS)
    left, right = values[LENGTHS], sympify(formula).xreplace(values)
    shown = step("On exact networks of one unit per layer the mean of the norms is", left)
    if right.is_Rational and right != left:
        witness = {"mean of the norms": str(left), "the formula": str(right)}
        return Decision("refuted", "exact networks where both sides differ", witness).explain(shown)
    return Decision("undecided", "the exact networks do not separate the sides").explain(shown)


def criterion_witness(formula: Expr) -> Decision:
    r"""Refuted if the criterion says other than |x|^2 > 1 on the exact inputs 2 and -2 of a linear network.

    There s_max(G_{W^1 W^1}) = 4 J^2 and s_max(G_{b^1 b^1}) = J^2, while the mean input is 0.

    >>> criterion_witness(MEAN_INPUT).outcome, criterion_witness(SECOND).outcome
    ('refuted', 'undecided')
    """
    inputs = (S(2), S(-2))
    values = {MEAN_INPUT: abs(sum(inputs)) / 2, SECOND: sum(x**2 for x in inputs) / 2, COVARIANCE: S(4)}
    right = sympify(formula).xreplace(values)
    shown = step("On the inputs 2 and -2 the first weights dominate by the factor 4; the criterion is", right)
    if right.is_Rational and right <= 1:
        return Decision("refuted", "inputs of mean zero", {"inputs": "[2, -2]", "criterion": str(right)}).explain(shown)
    return Decision("undecided", "the inputs do not contradict the criterion").explain(shown)

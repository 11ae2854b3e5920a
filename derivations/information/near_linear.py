r"""Extreme eigenvalues of the tangent kernel of a linear network with short inputs, x = sqrt(q) z.

Up to depth and readout the kernel is K = q Z^T Z + 1 1^T with biases and q Z^T Z without, for at least two samples.
a and b are the extreme eigenvalues of Z^T Z, both positive. Critical networks with an odd activation tend to this for
q^* -> 0. Source: B section 4, after lemma 4, and abstract.
"""

from __future__ import annotations

from sympy import Expr, Integer, Symbol, expand_log, limit, log, oo

from derivations import words
from derivations.decide import Decision, all_of, equal, step
from derivations.information.layer_kernel import INPUTS, ONES
from derivations.notation import SAMPLES
from derivations.words import Letter

SHORT = Symbol("q", positive=True)
LEAST, MOST = Symbol("a", positive=True), Symbol("b", positive=True)
Z, MIXTURE = Letter("Z", INPUTS, SAMPLES), Letter("v", SAMPLES, 1)
SMALLEST, CONDITION, ALONE = "smallest eigenvalue", "condition number", "condition number, weights alone"


def exponents() -> dict[str, Expr]:
    """Powers of q: the smallest eigenvalue like q, the condition number like 1/q, and like 1 without biases.

    >>> exponents()["condition number"]
    -1
    """
    return {SMALLEST: Integer(1), CONDITION: Integer(-1), ALONE: Integer(0)}


def brackets() -> dict[str, tuple[Expr, Expr]]:
    r"""Smallest and largest value of each quantity: q a <= lambda_min <= q b and D <= lambda_max <= D + q b.

    >>> brackets()["smallest eigenvalue"]
    (a*q, b*q)
    """
    low, high = SHORT * LEAST, SHORT * MOST
    return {
        SMALLEST: (low, high),
        CONDITION: (SAMPLES / high, (SAMPLES + high) / low),
        ALONE: (Integer(1), high / low),
    }


def power(value: Expr) -> Expr:
    """The limit of log(value) / log(q) for q -> 0.

    >>> power(SHORT * MOST)
    1
    """
    # log(1/q) as the variable: SymPy's limits of logarithms are safe at infinity
    far = Symbol("y", positive=True)
    return limit(expand_log(log(value.subs(SHORT, 1 / far))) / -log(far), far, oo)


def are_exponents(formula: dict[str, Expr]) -> Decision:
    """Whether both ends of every bracket have the exponent; the brackets from two quadratic forms of K."""
    kernel = SHORT * (Z.T * Z) + ONES * ONES.T
    across = words.rule(ONES.T * MIXTURE, 0)
    inside = words.vanishes(MIXTURE.T * (kernel - SHORT * (Z.T * Z)) * MIXTURE, (across,))
    counted = words.rule(ONES.T * ONES, words.identity(1) * SAMPLES)
    along = words.vanishes(
        ONES.T * kernel * ONES - SHORT * (ONES.T * Z.T * Z * ONES) - words.identity(1) * SAMPLES**2, (counted,)
    )
    ends = [equal(power(end), formula[name]) for name, pair in brackets().items() for end in pair]
    return all_of(inside, along, *ends).explain(
        step("On mixtures of samples that add up to zero the biases cancel, and the kernel is", SHORT * (Z.T * Z)),
        step("which brackets the smallest eigenvalue; on the mean of all samples the biases alone give D:", brackets()),
        step("Both ends of each bracket have one power of q:", formula),
    )

r"""The printed bounds on the largest Fisher eigenvalue, and the networks that decide them.

Layer 1 is written apart: a bound is its share "first" and the share "later" of each layer beta > 1 (B section 3). The
deciding networks have orthogonal layers without nonlinearity and a unit readout: the paper's ideal of isometry, where
both sides are known in every depth.
"""

from __future__ import annotations

from collections.abc import Mapping

from sympy import Expr, Integer, Rational, Symbol, expand, sqrt

from derivations import words
from derivations.decide import Decision, all_of, equal, nonnegative, positive, step
from derivations.information.curvature_bound import ROWS
from derivations.notation import DEPTH, SAMPLES, WIDTH, M, N
from derivations.words import Letter

S_1 = Symbol("s_1", positive=True)
S_B = Symbol("s_beta", positive=True)
CURVED = Symbol("h", positive=True)
MEAN = Symbol("m", nonnegative=True)
MOMENT_0 = Symbol("Lambda_0", nonnegative=True)
MOMENT_B = Symbol("Lambda_beta", nonnegative=True)
TILT = Symbol("f", nonnegative=True)
KAPPA_1 = Symbol("kappa_1", positive=True)
KAPPA_2 = Symbol("kappa_2", real=True)
FROBENIUS = Symbol("F_1", positive=True)
FROBENIUS_LATER = Symbol("F_later", nonnegative=True)
S_INPUT = Symbol("s_J", positive=True)
BIASED_MOMENT = Symbol("Lambda_01", positive=True)

Bound = dict[str, Expr]
_MORE = Symbol("n", integer=True, nonnegative=True)
_EXCESS = Symbol("t", positive=True)


def case_one() -> Bound:
    r"""h s_1^2 (1 + m), and h s_1 s_beta (1 + f) for later layers: b^1 dominates, |E x^0| <= 1 (B section 3).

    s are mean spectral norms of d h^g / d h^beta, h of the likelihood's Hessian, m = |E x^0|, f = sqrt(N) |E phi(h)|.
    """
    return {"first": CURVED * S_1**2 * (1 + MEAN), "later": CURVED * S_1 * S_B * (1 + TILT)}


def case_two() -> Bound:
    r"""h s_1^2 (lambda_0 + m), and h s_1 s_beta m (1 + f) for later layers: W^1 dominates (B section 3).

    lambda_0 is the largest eigenvalue of the inputs' second moments, which the block of W^1 needs.
    """
    return {"first": CURVED * S_1**2 * (MOMENT_0 + MEAN), "later": CURVED * S_1 * S_B * MEAN * (1 + TILT)}


def corrected() -> Bound:
    r"""h s_1^2 (1 + lambda_0), and h s_beta^2 (1 + lambda_beta): the proved bound in the same letters."""
    return {"first": CURVED * S_1**2 * (1 + MOMENT_0), "later": CURVED * S_B**2 * (1 + MOMENT_B)}


def printed() -> Bound:
    """The shares of both printed bounds under one name each."""
    cases = {"small mean": case_one(), "large mean": case_two()}
    return {f"{name}, {layer}": share for name, case in cases.items() for layer, share in case.items()}


def total(formula: Mapping[str, Expr], depth: Expr = DEPTH) -> Expr:
    """The bound of a network whose later layers are all alike.

    >>> total(case_one()).subs({S_1: 1, S_B: 1, CURVED: 1, MEAN: 0, TILT: 0})
    d
    """
    return formula["first"] + (depth - 1) * formula["later"]


def isometric(moment: Expr, mean: Expr) -> dict[Symbol, Expr]:
    """Letters of orthogonal layers without nonlinearity, unit readout and unit likelihood; depth stays free."""
    one = Integer(1)
    return {S_1: one, S_B: one, CURVED: one, TILT: Integer(0), MEAN: mean, MOMENT_0: moment, MOMENT_B: moment}


def violated_by_pair(formula: Mapping[str, Expr]) -> Decision:
    r"""Two opposite inputs of squared length lambda > 1: mean 0, but lambda_max(G) = d lambda.

    >>> violated_by_pair(case_one()).outcome, violated_by_pair(corrected()).outcome
    ('refuted', 'undecided')
    """
    moment = 1 + _EXCESS
    bound = total(formula).subs(isometric(moment, Integer(0)))
    return _violated(bound, DEPTH * moment).explain(
        step("Orthogonal layers without nonlinearity, two opposite inputs: the mean is zero, the bound is", bound),
        step("while all layers have the same kernel, so that the largest eigenvalue is", DEPTH * moment),
    )


def violated_by_one(formula: Mapping[str, Expr]) -> Decision:
    r"""One input of length m > 1: lambda_max(G) = d (1 + m^2).

    >>> violated_by_one(case_two()).outcome, violated_by_one(corrected()).outcome
    ('refuted', 'undecided')
    """
    length = 1 + _EXCESS
    bound = expand(total(formula).subs(isometric(length**2, length)))
    actual = DEPTH * (1 + length**2)
    return _violated(bound, actual).explain(
        step("Orthogonal layers without nonlinearity and one input of length 1 + t: the bound is", bound),
        step("while all layers have the same kernel, so that the largest eigenvalue is", actual),
    )


def _violated(bound: Expr, actual: Expr) -> Decision:
    """Refuted where the bound is below the value in every depth from 2; an unviolated bound is no proof."""
    gap = expand((actual - bound).subs(DEPTH, 2 + _MORE))
    if not positive(gap).proved:
        return Decision("undecided", "these networks do not violate it")
    point = {DEPTH: Integer(2), _MORE: Integer(0), _EXCESS: Integer(1)}
    numbers = {"d": "2", "t": "1", "bound": str(bound.subs(point)), "lambda_max": str(actual.subs(point))}
    return Decision("refuted", "violated in every depth from 2 by this family of networks", numbers)


def common_factor(formula: Mapping[str, Expr]) -> Decision:
    """Whether every share contains s_1: the bounds vanish with it, to first order at least.

    >>> common_factor(printed()).outcome, common_factor(corrected()).outcome
    ('proved', 'refuted')
    """
    shares = [part.subs(S_1, 0) for part in formula.values()]
    return all_of(*(equal(share, Integer(0)) for share in shares)).explain(
        step("Without the first layer's Jacobian all that is left of the shares is", sum(shares, Integer(0)))
    )


def quadratic() -> Expr:
    r"""h s_1^2 (1 + f), what bounds the share h s_1 s_beta (1 + f) of a later layer where s_beta <= s_1."""
    return CURVED * S_1**2 * (1 + TILT)


def is_quadratic(formula: Expr) -> Decision:
    """Whether the formula is the printed share of a layer at s_beta = s_1, and not below it for smaller s_beta."""
    later, drop = case_one()["later"], Symbol("delta", nonnegative=True)
    gap = (formula - later).subs(S_1, S_B + drop)
    return all_of(equal(formula, later.subs(S_B, S_1)), nonnegative(gap)).explain(
        step("The share of a later layer is bilinear:", later),
        step("If no later Jacobian exceeds the first by its spectral norm, it is at most", formula),
    )


def frobenius_variant() -> Expr:
    r"""F_1^2 (lambda_0 + m) + F_1 m (1 + f) sum_beta F_beta: the printed bound with Frobenius norms."""
    return FROBENIUS**2 * (MOMENT_0 + MEAN) + FROBENIUS * MEAN * (1 + TILT) * FROBENIUS_LATER


def frobenius_of_kernel() -> Expr:
    r"""sqrt((kappa_1^2 + (D - 1) kappa_2^2) / D) = |G|_F, with the mean squares of the kernel's two kinds of entries.

    >>> frobenius_of_kernel().subs(SAMPLES, 1)
    kappa_1
    """
    return sqrt((KAPPA_1**2 + (SAMPLES - 1) * KAPPA_2**2) / SAMPLES)


def is_frobenius_of_kernel(formula: Expr) -> Decision:
    r"""Whether |G|_F^2 = |Theta|_F^2 / D^2 is D entries kappa_1^2 and D (D - 1) entries kappa_2^2."""
    squares = (SAMPLES * KAPPA_1**2 + SAMPLES * (SAMPLES - 1) * KAPPA_2**2) / SAMPLES**2
    return all_of(equal(formula**2, squares), nonnegative(formula)).explain(
        step("Fisher matrix and kernel share their non-zero spectrum, hence the squared Frobenius norm", squares)
    )


def refuted_by_one_input(formula: Expr) -> Decision:
    r"""Isometric networks with one output and one input of length 2: |G|_F = kappa_1 = 5 d."""
    letters = {MOMENT_0: 4, MEAN: 2, TILT: 0, FROBENIUS: 1, FROBENIUS_LATER: DEPTH - 1}
    value = 5 * DEPTH
    bound = formula.subs({**letters, KAPPA_1: value, SAMPLES: 1})
    gap = positive(expand((value - bound).subs(DEPTH, 2 + _MORE)))
    if not gap.proved:
        return Decision("undecided", "these networks do not separate it from the Frobenius norm")
    numbers = {"d": "2", "formula": str(bound.subs(DEPTH, 2)), "Frobenius norm": str(value.subs(DEPTH, 2))}
    return Decision("refuted", "isometric networks with one input", numbers).explain(
        step("With one output spectral and Frobenius norms are one; an input of length 2 gives", bound),
        step("while the Fisher matrix has rank one and the Frobenius norm", value),
    )


def proportional() -> Expr:
    r"""lambda s^2 s_J: proportional to s_J = s_max(d x^L / d x^0), the constant taken from a single layer."""
    return MOMENT_0 * S_1**2 * S_INPUT


def depth_law() -> Expr:
    r"""d lambda s^2, the value for orthogonal layers without nonlinearity; lambda counts the bias as an input."""
    return DEPTH * MOMENT_0 * S_1**2


def refuted_by_depth(formula: Expr) -> Decision:
    """Isometric networks have s_J = 1 at every depth, but every layer adds the same share."""
    found = formula.subs({S_INPUT: 1})
    law = depth_law()
    if equal(found, law).proved:
        return Decision("undecided", "agrees with isometric networks")
    if not equal(found.subs(DEPTH, 1), law.subs(DEPTH, 1)).proved:
        return Decision("undecided", "not calibrated on a single layer")
    point = {DEPTH: 2, MOMENT_0: 1, S_1: 1}
    numbers = {"d": "2", "formula": str(found.subs(point)), "lambda_max": str(law.subs(point))}
    if positive(law.subs(point) - Rational(found.subs(point))).proved:
        return Decision("refuted", "isometric networks of two layers", numbers).explain(
            step(
                "Orthogonal layers without nonlinearity keep the spectral norm of the Jacobian at 1; the formula is",
                found,
            ),
            step("while every layer adds the same kernel, so that the eigenvalue is", law),
        )
    return Decision("undecided", "two layers do not separate it")


def averaged_largest() -> Expr:
    r"""lambda_max(E[(x^0, 1)(x^0, 1)^T]) E |J_1|_F^2 / N, for the average over weights.

    For odd activations and weights that do not change in law under signs, blocks of different neurons average to zero;
    inputs of one length give all samples the same mean square of a Jacobian's entry.
    """
    return BIASED_MOMENT * FROBENIUS**2 / WIDTH


def is_averaged_largest(formula: Expr) -> Decision:
    r"""Whether the averaged matrix has this quotient along a p^T, with p the top eigenvector of the inputs and bias.

    Signs and permutations of neurons leave weights alike in law, so E J_1^T J_1 is a multiple of the identity.
    """
    jacobian = Letter("J_1", ROWS, N, latex="J_1")
    inputs, neuron, along = Letter("X", M, M, symmetric=True), Letter("a", N, 1), Letter("p", M, 1)
    form = words.trace(jacobian * neuron * along.T * inputs * along * neuron.T * jacobian.T)
    rules = (
        words.rule(jacobian.T * jacobian, words.identity(N) * FROBENIUS**2 / WIDTH),
        words.rule(inputs * along, along * BIASED_MOMENT),
        words.rule(along.T * along, 1),
        words.rule(neuron.T * neuron, 1),
    )
    found = sum(coefficient for coefficient, _ in words.normal(form, rules).terms)
    return equal(formula, found).explain(
        step("The quadratic form of the first layer's block along one neuron and one direction of the inputs is", form),
        step("where X is the mean of (x, 1)(x, 1)^T. Averaged over weights, along its top eigenvector, it is", found),
        step("Later layers and other directions have smaller second moments, and signs cancel between layers."),
    )

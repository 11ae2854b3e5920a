r"""The Fisher information matrix of a network, B section 3: score products, second derivatives, divergence.

A log-likelihood log p(y | h) is read through the outputs h of a network with parameters theta. The means over labels
are means over the labels that the model itself draws. Directions u, v in parameter space stand for all entries.
"""

from __future__ import annotations

import sympy
from sympy import Derivative, Expr, Function, Integer, Rational, S, Symbol, diff, factorial, hessian, log, symbols

from derivations import words
from derivations.decide import Decision, all_of, step, zero
from derivations.word_algebra import Expression, Letter, Matrix

OUTPUTS = Symbol("N_g", integer=True, positive=True)
PARAMETERS = Symbol("P", integer=True, positive=True)

JACOBIAN = Letter("J", OUTPUTS, PARAMETERS)
OUTPUT_HESSIAN = Letter("H_g", OUTPUTS, OUTPUTS, symmetric=True)
OUTPUT_SCORE = Letter("r", OUTPUTS, 1)
SLOPE = Letter("g", OUTPUTS, 1)
BEND = Letter("huv", OUTPUTS, 1, latex=r"\partial_{uv} h")
HESSIAN = Letter("H", PARAMETERS, PARAMETERS, symmetric=True)
U, V = Letter("u", PARAMETERS, 1), Letter("v", PARAMETERS, 1)

SCORE_A, SCORE_B = Symbol("ell_a", real=True), Symbol("ell_b", real=True)
SECOND = Symbol("ell_ab", real=True)
SPEED = Symbol("F", nonnegative=True)
MIXED, CUBE = Symbol("M_12", real=True), Symbol("M_111", real=True)


def gauss_newton() -> Expression:
    r"""u^T J^T L''(h) J v = u^T H v - sum_k L'(h)_k d_uv h_k, H the Hessian of the loss L(h(theta)) (B eq. 7).

    >>> print(gauss_newton())
    (-1)*g.T*huv + u.T*H*v
    """
    return U.T * HESSIAN * V - SLOPE.T * BEND


def _part(expression: Expression, of: Expr) -> Expression:
    """The terms of an expression whose coefficient is a multiple of a monomial, that monomial taken out."""
    terms = tuple((c / of, word) for c, word in expression.terms if (c / of).is_Rational)
    return Expression(terms, expression.rows, expression.cols)


def is_gauss_newton(formula: Matrix) -> Decision:
    """Whether a formula in u^T H v is the curvature of the loss along the outputs, for free 2-jets of h and L."""
    s, t = symbols("s t", real=True)
    moved = JACOBIAN * U * s + JACOBIAN * V * t + BEND * (s * t)
    loss = SLOPE.T * moved + (moved.T * OUTPUT_HESSIAN * moved) / 2
    hessian = _part(loss, s * t)
    spelled = words.normal(formula, [words.rule(U.T * HESSIAN * V, hessian)])
    target = U.T * JACOBIAN.T * OUTPUT_HESSIAN * JACOBIAN * V
    return words.vanishes(words.trace(spelled) - words.trace(target)).explain(
        step("Parameters that move by $`s u + t v`$ move the outputs, to second order in each, by", moved),
        step("and the loss by its slope and its curvature at the outputs. The factor of $`s t`$ is", hessian),
        step("which is the Hessian of the loss along the two directions. The quadratic form of Jacobians is", formula),
    )


def score_products() -> Expression:
    r"""E_y[score score^T] = J^T H_g J for one input, labels y drawn by the model (B eqs. 6, 8).

    >>> print(score_products())
    J.T*H_g*J
    """
    return JACOBIAN.T * OUTPUT_HESSIAN * JACOBIAN


def is_score_product(formula: Matrix) -> Decision:
    """Whether a formula is the mean of score times score, H_g the second moment of the outputs' score."""
    score = JACOBIAN.T * OUTPUT_SCORE
    drawn = words.rule(OUTPUT_SCORE * OUTPUT_SCORE.T, OUTPUT_HESSIAN)
    averaged = words.normal(score * score.T, [drawn])
    return words.vanishes(averaged - formula).explain(
        step("The score of the parameters is the score of the outputs, pulled back:", score),
        step("For labels of the model the second moment of the outputs' score is", OUTPUT_HESSIAN),
        step("so the mean of score times score is", formula),
    )


def data_label_excess() -> Expression:
    r"""score score^T - G = J^T (r r^T - H_g) J for a label of the data, r = d log p(y|h) / dh (B section 3.1).

    >>> print(data_label_excess())
    (-1)*J.T*H_g*J + J.T*r*r.T*J
    """
    return JACOBIAN.T * OUTPUT_SCORE * OUTPUT_SCORE.T * JACOBIAN - score_products()


def is_data_label_excess(formula: Matrix) -> Decision:
    """Whether a formula is the difference of the two matrices, and has mean zero over labels of the model."""
    score = JACOBIAN.T * OUTPUT_SCORE
    drawn = words.rule(OUTPUT_SCORE * OUTPUT_SCORE.T, OUTPUT_HESSIAN)
    return all_of(
        words.vanishes(score * score.T - score_products() - formula),
        words.vanishes(words.normal(formula, [drawn])),
    ).explain(
        step("With the label of the data the outer product of the score is", score * score.T),
        step("Less the Fisher matrix this is", formula),
        step("whose mean vanishes for labels of the model, and for no other label in general."),
    )


def negative_second() -> Expr:
    """E[l_a l_b] = E[-l_ab], where l is the log-likelihood and a, b are derivatives (B eq. 7, sign of H_g).

    >>> negative_second()
    -ell_ab
    """
    return -SECOND


def is_score_moment(formula: Expr) -> Decision:
    """Whether the model's mean of a formula in l_a, l_b, l_ab is E[l_a l_b], for labels of any kind."""
    a, b = symbols("a b", real=True)
    p = Function("p", positive=True)(a, b)
    own = {SCORE_A: diff(log(p), a), SCORE_B: diff(log(p), b), SECOND: diff(log(p), a, b)}
    gap, own_form = formula - SCORE_A * SCORE_B, Symbol("p", positive=True) * (SECOND + SCORE_A * SCORE_B)
    mean = S.Zero
    for weight, (pa, pb, pab) in _three_labels(("a", "b", "ab")):
        one = {SCORE_A: pa / weight, SCORE_B: pb / weight, SECOND: (pab - pa * pb / weight) / weight}
        mean += weight * gap.xreplace(one)
    return _for_any_labels(mean, p * gap.xreplace(own) + Derivative(p, a, b)).explain(
        step("A label of probability p has, in derivatives of its logarithm, the second derivative", own_form),
        step(
            "The probabilities of all labels sum to one, so their second derivatives sum to zero. Hence, in the mean,"
        ),
        step(r"$`\ell_a \ell_b`$ equals", formula),
    )


def divergence() -> tuple[Expr, Expr]:
    """Coefficients of t^2 and t^3 of KL(p_theta | p_{theta + t v}): F/2 and (3 E[l' l''] + E[l'^3])/6 (B section 3).

    >>> divergence()
    (F/2, M_111/6 + M_12/2)
    """
    return SPEED / 2, (3 * MIXED + CUBE) / 6


def is_divergence(formula: tuple[Expr, Expr]) -> Decision:
    """Whether a pair is the expansion of the divergence, F, M_12, M_111 the means of l'^2, l' l'', l'^3."""
    t = Symbol("t", real=True)
    p = Function("p", positive=True)(t)
    first, second, third = (diff(log(p), t, k) for k in (1, 2, 3))
    own = {SPEED: first**2, MIXED: first * second, CUBE: first**3}
    labels = [(w, _log_jet(w, *jet)) for w, jet in _three_labels((1, 2, 3))]
    means = {
        SPEED: sum(w * one**2 for w, (one, _, _) in labels),
        MIXED: sum(w * one * two for w, (one, two, _) in labels),
        CUBE: sum(w * one**3 for w, (one, _, _) in labels),
    }
    found = []
    for given, k, slope in zip(formula, (2, 3), (second, third), strict=True):
        truth = -slope / factorial(k)
        excess = p * (given.xreplace(own) - truth) - Derivative(p, (t, k)) / factorial(k)
        mean = given.xreplace(means) + sum(w * jet[k - 1] for w, jet in labels) / factorial(k)
        found.append(_for_any_labels(mean, excess))
    return all_of(*found).explain(
        step("The divergence is minus the mean change of the log-likelihood, whose slope has mean zero."),
        step("Its factors of $`t^2`$ and $`t^3`$ are minus the means of a half and a sixth of its next derivatives."),
        step(
            "The derivatives of all probabilities sum to zero; those of order two and three leave, in the mean,",
            formula,
        ),
    )


def _for_any_labels(mean: Expr, one_label: Expr) -> Decision:
    """Refuted by the mean in a model with three labels, proved label by label."""
    three = zero(mean)
    return three if three.refuted else all_of(three, zero(one_label))


def _three_labels(orders: tuple) -> list[tuple[Expr, tuple[Expr, ...]]]:
    """Three labels with free derivatives of their probabilities: pairs of a probability and its derivatives."""
    weights = (Rational(1, 2), Rational(1, 3), Rational(1, 6))
    jets = {k: symbols(f"p_1^{k} p_2^{k}", real=True) for k in orders}
    rows = {k: (*jet, -sum(jet)) for k, jet in jets.items()}
    return [(weight, tuple(rows[k][label] for k in orders)) for label, weight in enumerate(weights)]


def _log_jet(p: Expr, first: Expr, second: Expr, third: Expr) -> tuple[Expr, Expr, Expr]:
    """The first three derivatives of log p from those of p."""
    one = first / p
    two = second / p - one**2
    return one, two, third / p - 3 * one * two - one**3


def sample_sum() -> Expr:
    """The weight of each input in sum_i J_i^T J_i as printed in B eq. 48; B eq. 6 has the mean, 1/D.

    >>> sample_sum()
    1
    """
    return Integer(1)


def remainder_signs() -> tuple[Integer, Integer]:
    """Signs of the smallest and largest eigenvalue of H - G, the term of second derivatives in B eq. 7.

    >>> remainder_signs()
    (-1, 1)
    """
    return Integer(-1), Integer(1)


def are_remainder_signs(formula: tuple[Expr, Expr]) -> Decision:
    """Whether the signs are those of two weights on one path, and so of all weights, units straight or input single."""
    first, second, before, above, slope = symbols("w_1 w_2 x a g", real=True, nonzero=True)
    outputs = above * second * first * before
    bend = hessian(slope * outputs, (first, second))
    c = Symbol("c", positive=True)
    low, high = sorted(sympy.Matrix([[0, c], [c, 0]]).eigenvals(), key=lambda value: value.subs(c, 1))
    t, move, speed, arc, rise, bent = symbols("t v p r f_1 f_2", real=True, nonzero=True)
    upper = sympy.expand((second + move * t) * (speed * t + arc * t**2) - second * speed * t)
    along = (rise * upper + bent * upper**2 / 2).expand().coeff(t, 2)
    reached = [along.subs(move, (sign / rise - second * arc) / speed) - sign for sign in formula]
    return all_of(
        zero(bend[0, 0]),
        zero(bend[1, 1]),
        zero(formula[0] - low / c),
        zero(formula[1] - high / c),
        *(zero(gap) for gap in reached),
    ).explain(
        step("Outputs are linear in each weight by itself, and bilinear in two of different layers,", outputs),
        step("so the term of second derivatives has no diagonal; for two weights of one path it is", bend),
        step("with one negative and one positive eigenvalue. Those of the whole matrix lie outside them:", formula),
        step("Bent units: at a single input the upper bias can keep the pre-activation as it is to first order. While"),
        step("the unit below moves by $`p t + r t^2`$ and the upper weight by $`v t`$, it then moves by", upper),
        step("The bend does not matter to second order. By its slope $`f_1`$ the unit moves at $`t^2`$ by", along),
        step("which is linear in v: it takes both signs."),
    )

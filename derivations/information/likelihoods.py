r"""Curvature of the likelihood at the outputs, B section 3 and appendix B.2: links, the softmax and its eigenvalues.

A natural exponential family has log p(y | h) = y . eta - A(eta) + c(y). The link is canonical when the outputs h are
the natural parameters eta. For the softmax A = log sum exp h and H = diag(p) - p p^T for the probabilities p.
"""

from __future__ import annotations

from sympy import (
    Derivative,
    Expr,
    Function,
    Integer,
    Matrix,
    Rational,
    S,
    Symbol,
    diff,
    exp,
    integrate,
    log,
    oo,
    sqrt,
    symbols,
)

from derivations import words
from derivations.decide import Decision, all_of, equal, nonnegative, step, zero
from derivations.information.fisher import JACOBIAN, OUTPUT_HESSIAN, OUTPUTS, PARAMETERS
from derivations.words import Letter

BENT = Symbol("A_uv", real=True)
LINK_SLOPE, LINK_BEND = symbols("eta_z eta_zz", real=True)
VARIANCE_OF_LABEL, SURPRISE = Symbol("v_y", positive=True), Symbol("epsilon_y", real=True)
P_I, P_J, P_K = symbols("p_i p_j p_k", positive=True)
EIGENVALUE = Symbol("lambda", real=True)
CLASSES = Symbol("K", integer=True, positive=True)
LARGEST = Symbol("M_K", positive=True)
SPREAD = Symbol("V", positive=True)


def canonical_curvature() -> Expr:
    """- d_uv log p(y | h) = d_uv A(h) for a canonical link: no label in it (B section 3).

    >>> canonical_curvature()
    A_uv
    """
    return BENT


def is_canonical_curvature(formula: Expr) -> Decision:
    """Whether a formula is minus the second derivative along two directions, for any A and every label."""
    s, t, yu, yv = symbols("s t y_u y_v", real=True)
    potential = Function("A", real=True)(s, t)
    log_p = yu * s + yv * t - potential
    bent = diff(potential, s, t)
    return zero(-diff(log_p, s, t) - formula.xreplace({BENT: bent})).explain(
        step("Along outputs $`h + s u + t v`$ the log-likelihood is, up to what does not depend on them,", log_p),
        step("The label stands in a linear term, which second derivatives do not see:", -diff(log_p, s, t)),
    )


def link_curvature() -> Expr:
    r"""- d^2 log p / dz^2 = eta'^2 A'' - (y - A') eta'' for an output z with natural parameter eta(z).

    >>> link_curvature()
    -epsilon_y*eta_zz + eta_z**2*v_y
    """
    return LINK_SLOPE**2 * VARIANCE_OF_LABEL - SURPRISE * LINK_BEND


def is_link_curvature(formula: Expr) -> Decision:
    """Whether a formula is minus the second derivative for any family and link, the surprise being y - E[y]."""
    z, y, w = symbols("z y w", real=True)
    link, potential = Function("eta", real=True)(z), Function("A", real=True)
    log_p = y * link - potential(link)
    at = {w: link}
    means = {
        LINK_SLOPE: diff(link, z),
        LINK_BEND: diff(link, z, 2),
        VARIANCE_OF_LABEL: diff(potential(w), w, 2).subs(at),
        SURPRISE: y - diff(potential(w), w).subs(at),
    }
    numbers = _numbers(z, link, potential, w)
    curved = -diff(log_p, z, 2).doit()
    return zero(_plain(curved, numbers) - _plain(formula.xreplace(means), numbers)).explain(
        step("An output reaches the likelihood through the natural parameter:", log_p),
        step("Minus the second derivative has a part with the label, as far as the link is bent:", formula),
    )


def _numbers(z: Symbol, link: Expr, potential: Function, w: Symbol) -> list[tuple[Expr, Symbol]]:
    """Free numbers for the derivatives of link and log-partition: highest first."""
    names = symbols("A_2 A_1 eta_2 eta_1", real=True)
    at = {w: link}
    parts = [diff(potential(w), w, 2).subs(at), diff(potential(w), w).subs(at), diff(link, z, 2), diff(link, z)]
    return list(zip(parts, names, strict=True))


def _plain(expr: Expr, numbers: list[tuple[Expr, Symbol]]) -> Expr:
    for part, name in numbers:
        expr = expr.subs(part, name)
    return expr


def output_hessians() -> dict[str, Expr]:
    """Entries of H for softmax and identity link: p_i (1 - p_i), -p_i p_j, and 1, 0 (B section 3).

    >>> output_hessians()["softmax, classes i and j"]
    -p_i*p_j
    """
    return {
        "softmax, class i": P_I * (1 - P_I),
        "softmax, classes i and j": -P_I * P_J,
        "identity, output i": Integer(1),
        "identity, outputs i and j": Integer(0),
    }


def are_output_hessians(formula: dict[str, Expr]) -> Decision:
    """Whether the entries are the second derivatives of the log-partition functions, for any number of outputs."""
    a, b = symbols("h_i h_j", real=True)
    rest = Symbol("R", nonnegative=True)
    total = exp(a) + exp(b) + rest
    own = {P_I: exp(a) / total, P_J: exp(b) / total}
    softmax, gauss = log(total), (a**2 + b**2) / 2
    truths = (diff(softmax, a, 2), diff(softmax, a, b), diff(gauss, a, 2), diff(gauss, a, b))
    found = [zero(given.xreplace(own) - truth) for given, truth in zip(formula.values(), truths, strict=True)]
    return all_of(*found).explain(
        step("For the softmax, the other classes in one number, the log-partition function is", softmax),
        step("Its second derivatives are, in terms of the probabilities of the two classes,", formula),
        step("For Gaussian labels it is half the squared length, with the unit matrix as Hessian."),
    )


def secular_term() -> Expr:
    """Sum over the classes of p^2 / (p - lambda) = 1 for every eigenvalue of diag(p) - p p^T that is no p (B.2).

    >>> secular_term()
    p_i**2/(-lambda + p_i)
    """
    return P_I**2 / (P_I - EIGENVALUE)


def is_secular_term(formula: Expr) -> Decision:
    """Whether the sum of a formula over the classes is one exactly at the eigenvalues, for any number of classes."""
    entry, overlap = P_I / (P_I - EIGENVALUE), Symbol("s", real=True)
    row = P_I * entry - P_I * overlap - EIGENVALUE * entry
    return all_of(zero(row - P_I * (1 - overlap)), zero(formula - P_I * entry)).explain(
        step("In an eigenvector every component is a common factor, the overlap with $`p`$, times", entry),
        step("Row i of $`(\\mathrm{diag}(p) - p p^{\\mathsf T} - \\lambda) v`$ is then, s the overlap,", row),
        step("which vanishes for every class if and only if the overlap is one. It is the sum of", formula),
    )


def softmax_ceiling() -> Expr:
    """The largest lambda_max(diag(p) - p p^T) over all probabilities: 1/2, at two classes with one half each (B.2).

    >>> softmax_ceiling()
    1/2
    """
    return Rational(1, 2)


def is_softmax_ceiling(formula: Expr) -> Decision:
    """Whether a number is the largest variance of components of a unit vector, which is what v^T H v is."""
    low, above, below = symbols("m a b", nonnegative=True)
    value, high = low + above, low + above + below
    middle = (low + high) / 2
    m, top = symbols("m M", real=True)
    half = Rational(1, 2)
    two = Matrix([half, half])
    attained = max((Matrix.diag(*two) - two * two.T).eigenvals())
    return all_of(
        nonnegative(((high - low) / 2) ** 2 - (value - middle) ** 2),
        nonnegative((m**2 + top**2) / 2 - ((top - m) / 2) ** 2, squares=[(Rational(1, 4), m + top)]),
        equal(formula, attained),
    ).explain(
        step(
            "For a unit vector, $`v^{\\mathsf T} H v`$ is the variance of its components under $`p`$, at most the mean"
        ),
        step(
            "square distance from the middle of their range, at most a quarter of the range squared,",
            ((top - m) / 2) ** 2,
        ),
        step("which is at most half of", m**2 + top**2),
        step("that is, of the squared length. Two classes with one half each have the eigenvalue", attained),
    )


def is_softmax_share(formula: Expr) -> Decision:
    """Whether a number is the largest lambda_max(J^T H J) / lambda_max(J^T J), for any network and mean over inputs."""
    ceiling = softmax_ceiling()
    root, v = Letter("S", OUTPUTS, OUTPUTS), Letter("v", PARAMETERS, 1)
    below = words.rule(OUTPUT_HESSIAN, ceiling * words.identity(OUTPUTS) - root * root.T)
    form = v.T * JACOBIAN.T * OUTPUT_HESSIAN * JACOBIAN * v
    missing = root.T * JACOBIAN * v
    gap = ceiling * (v.T * JACOBIAN.T * JACOBIAN * v) - words.normal(form, [below])
    half, slope = Rational(1, 2), Symbol("j", positive=True)
    opposite, two = Matrix([slope, -slope]), Matrix([half, half])
    tied = (opposite.T * (Matrix.diag(*two) - two * two.T) * opposite)[0] / (opposite.T * opposite)[0]
    return all_of(is_softmax_ceiling(ceiling), words.vanishes(gap - missing.T * missing), equal(formula, tied)).explain(
        step("A matrix with no eigenvalue above it lies below half the unit matrix by a square,", root * root.T),
        step(
            "so along any direction, and for the mean over inputs, the identity link has more by a square of", missing
        ),
        step("Opposite outputs at a tie of two classes have, with a Jacobian of rows", opposite),
        step("the ratio", tied),
    )


def wide_spread() -> Expr:
    r"""E lambda_max(H) -> M_K / sqrt(V) for K independent normal outputs of large variance V, M_K = E max (B.2).

    >>> wide_spread()
    M_K/sqrt(V)
    """
    return LARGEST / sqrt(SPREAD)


def is_wide_spread(formula: Expr) -> Decision:
    """Whether a formula is the eigenvalue of two leading classes, averaged over their gap near a tie."""
    x, gap = Symbol("x", real=True), Symbol("g", positive=True)
    density, total = Function("phi", positive=True)(x), Function("Phi", positive=True)(x)
    odds = 1 / (1 + exp(-gap))
    two = Matrix([odds, 1 - odds])
    leading = (Matrix.diag(*two) - two * two.T).trace()
    shape = integrate(exp(-gap) / (1 + exp(-gap)) ** 2 * 2, (gap, 0, oo))
    normal = {Derivative(density, x): -x * density, Derivative(total, x): density}
    edge = diff(density * total ** (CLASSES - 1), x).doit().subs(normal)
    ties = (CLASSES - 1) * density**2 * total ** (CLASSES - 2)
    largest = x * density * total ** (CLASSES - 1)
    return all_of(
        zero(leading - 2 * odds * (1 - odds)),
        equal(shape, S.One),
        zero(edge - ties + largest),
        equal(formula, LARGEST / sqrt(SPREAD) * shape),
    ).explain(
        step("At large variance all but the two leading classes have no probability. With a gap g between these,", two),
        step("the only eigenvalue is the trace", 2 * odds * (1 - odds)),
        step("It is felt only where the gap is of order one, where its density is that of ties over the standard"),
        step("deviation. The integral over the gap is", shape),
        step("The density of ties, $`K`$ times the integral of", ties),
        step("is by parts the mean of the largest of K standard normal numbers, $`K`$ times the integral of", largest),
        step("so the mean eigenvalue is", formula),
    )

r"""Where the spectrum of a deep Jacobian ends: closed edges, growth with depth, and how small q^* must be.

The squared singular values end at the least value of the curve x(m) of `free_products`. v = mu_2 / mu_1^2 - 1 + g is
the relative variance that one layer adds. Source: B section 2.2, beyond B.
"""

from __future__ import annotations

from functools import cache

from sympy import (
    E,
    Expr,
    Integer,
    Max,
    Rational,
    Symbol,
    binomial,
    cancel,
    cosh,
    exp,
    expand,
    expand_log,
    factorial2,
    log,
    pi,
    series,
    sinh,
    sqrt,
    tanh,
)

from derivations.decide import Decision, all_of, equal, positive, step, zero
from derivations.information.free_products import G, M, U, edge_curve, relative_variance, s_transform
from derivations.notation import LAYERS, QSTAR, SIGMA_W

V = Symbol("v", positive=True)
X = Symbol("x", positive=True)
SPREAD = Symbol("sigma_0", positive=True)
POWER = Symbol("a", positive=True)


def growth() -> Expr:
    r"""Edge of many layers at chi = 1 and fixed q^*: e (mu_2 / mu_1^2 - 1 + g) L to leading order.

    >>> from derivations.notation import MU_1, MU_2
    >>> growth().subs({MU_1: 1, MU_2: 1, G: 1})
    E*L
    """
    return E * relative_variance()


def is_growth(formula: Expr) -> Decision:
    r"""Whether the formula is the limit of the smallest x(m) at m = x/L, for 1/S = 1 + v m + r m^2 + ... of one layer.

    v > 0 is the relative variance of a layer, r anything: it drops out in the limit.
    """
    small, rest = Symbol("epsilon", positive=True), Symbol("r", real=True)
    layer = series(log(1 + V * M + rest * M**2), M, 0, 3).removeO()
    curve = log(1 + X * small) - log(X) + expand(layer.subs(M, X * small) / small)
    limit = expand(curve).subs(small, 0)
    at = 1 / V
    value = E * V * LAYERS
    return all_of(
        zero(limit.diff(X).subs(X, at)),
        positive(limit.diff(X, 2).subs(X, at)),
        equal(expand_log(log(value / LAYERS)), limit.subs(X, at)),
        equal(formula, value.subs(V, relative_variance() / LAYERS)),
    ).explain(
        step("With m = x/L the logarithm of the curve, less log L, tends to", limit),
        step("Its minimum is at x = 1/v, so the edge grows like", value),
        step("The relative variance v of one layer is", relative_variance() / LAYERS),
    )


def smooth_limit() -> Expr:
    r"""Edge when L times the relative variance of a layer tends to sigma_0^2 while the layers become linear.

    >>> smooth_limit().subs(SPREAD, 0)
    1
    """
    root = sqrt(SPREAD**2 + 4)
    return Rational(1, 2) * (2 + SPREAD * (SPREAD + root)) * exp(SPREAD * (root - SPREAD) / 2)


@cache
def nearly_constant() -> tuple[Symbol, Expr]:
    r"""delta, and log S to second order in it, of slopes 1 + delta b, E b = 0, E b^2 = 1, any third moment."""
    delta, third = Symbol("delta", positive=True), Symbol("beta_3", real=True)
    of_b = (Integer(1), Integer(0), Integer(1), third)
    moments = [expand(sum(binomial(n, k) * delta**k * of_b[k] for k in range(n + 1))) for n in (1, 2, 3)]
    return delta, series(log(s_transform(moments)), delta, 0, 3).removeO()


def is_smooth_limit(formula: Expr) -> Decision:
    r"""Whether the formula is the least (1 + m)/m e^{sigma_0^2 m}, the curve of slopes 1 + delta b, L delta^2 fixed.

    Moments of b beyond the second enter log S at order delta^3 and drop out of L log S.
    """
    deviation, leading = nearly_constant()
    curve = log((1 + M) / M) + SPREAD**2 * M
    at = (sqrt(1 + 4 / SPREAD**2) - 1) / 2
    return all_of(
        equal(leading, -(deviation**2) * M),
        zero(curve.diff(M).subs(M, at)),
        positive(curve.diff(M, 2)),
        equal(formula, (1 + at) / at * exp(SPREAD**2 * at)),
    ).explain(
        step("Slopes close to a constant have the transform", leading),
        step("to second order in their deviation, so that the curve of L layers tends to", exp(curve)),
        step("Its minimum is at", at),
        step("and has the value", smooth_limit()),
    )


def gaussian_edge() -> Expr:
    r"""Edge of linear Gaussian networks of variance 1: (L + 1)^{L + 1} / L^L.

    >>> [gaussian_edge().subs(LAYERS, depth) for depth in (1, 2, 3)]
    [4, 27/4, 256/27]
    """
    return (LAYERS + 1) ** (LAYERS + 1) / LAYERS**LAYERS


def is_gaussian_edge(formula: Expr) -> Decision:
    """Whether the formula is the minimum of the curve of constant slopes and Gaussian weights."""
    curve = edge_curve().subs({G: 1, SIGMA_W: 1, U: (1 + M) / M})
    plain = (1 + M) ** (LAYERS + 1) / M
    logarithm = (LAYERS + 1) * log(1 + M) - log(M)
    return all_of(
        zero(expand_log(log(curve), force=True) - logarithm),
        zero(logarithm.diff(M).subs(M, 1 / LAYERS)),
        equal(logarithm.diff(M) * M * (1 + M), LAYERS * M - 1),
        equal(expand_log(log(formula), force=True), (LAYERS + 1) * log(LAYERS + 1) - LAYERS * log(LAYERS)),
    ).explain(
        step("Constant slopes have u = (1 + m)/m, and the curve is", plain),
        step("It falls until m = 1/L and rises from there; its minimum is", gaussian_edge()),
    )


def curvature_variance(activation: str) -> Expr:
    r"""v = mu_2 / mu_1^2 - 1 to order q^2 from phi'^2 = 1 - kappa h^2 + ...: 2 kappa^2 q^2.

    >>> curvature_variance("tanh"), curvature_variance("erf")
    (8*q^***2, pi**2*q^***2/2)
    """
    slopes = {"tanh": (1 - tanh(X) ** 2) ** 2, "erf": exp(-pi * X**2 / 2), "linear": Integer(1)}
    if activation not in slopes:
        raise ValueError(f"activation: {activation!r} given, allowed: {', '.join(slopes)}")
    taylor = series(slopes[activation], X, 0, 6).removeO()
    first, second = (expand(_gaussian_moments(expand(taylor**k))) for k in (1, 2))
    return series(second / first**2 - 1, QSTAR, 0, 3).removeO()


def _gaussian_moments(polynomial: Expr) -> Expr:
    """The mean of a polynomial in x = sqrt(q) h, h standard normal."""
    terms = expand(polynomial).as_poly(X).terms()
    return sum(c * QSTAR ** Rational(n, 2) * (0 if n % 2 else factorial2(n - 1)) for (n,), c in terms)


def threshold() -> Expr:
    r"""Power of L with which the edge grows for q^* = c L^{-a}: max(0, 1 - 2 a), any smooth non-linear phi, chi = 1.

    >>> threshold().subs(POWER, Rational(1, 4))
    1/2
    """
    return Max(0, 1 - 2 * POWER)


def is_threshold(formula: Expr) -> Decision:
    r"""Whether the power of L follows from L v with v = 2 kappa^2 q^2: the edge is e L v if this grows, else bounded.

    The two regimes join: with sigma_0^2 = 1/(m (1 + m)) the smooth limit is sigma_0^2 (1 + m)^2 e^{1/(1+m)}, and m -> 0
    gives e sigma_0^2.
    """
    below, kappa, scale = Symbol("b", positive=True), Symbol("kappa", positive=True), Symbol("c", positive=True)
    total = LAYERS * 2 * kappa**2 * (scale * LAYERS**-POWER) ** 2
    power = expand(LAYERS * log(total).diff(LAYERS))
    square = 1 / (M * (1 + M))
    joined = cancel((1 + M) / M / square) * exp(cancel(square * M))
    return all_of(
        is_smooth_limit(smooth_limit()),
        equal(joined.subs(M, 0), E),
        equal(formula.subs(POWER, Rational(1, 2) - below / 2), power.subs(POWER, Rational(1, 2) - below / 2)),
        equal(formula.subs(POWER, Rational(1, 2) + below), Integer(0)),
        equal(formula.subs(POWER, Rational(1, 2)), Integer(0)),
    ).explain(
        step("The relative variance that all layers add grows like", total),
        step("whose power of L is", power),
        step("While it grows the edge is e times it; once it stays bounded the edge tends to", smooth_limit()),
    )


def elasticity(activation: str) -> Expr:
    r"""x d/dx log phi'(x)^2 for x > 0: how fast the slope falls, per relative change of x.

    >>> elasticity("erf")
    -pi*x**2
    """
    logarithms = {"tanh": -4 * log(cosh(X)), "erf": -pi * X**2 / 2}
    if activation not in logarithms:
        raise ValueError(f"activation: {activation!r} given, allowed: {', '.join(logarithms)}")
    return X * logarithms[activation].diff(X)


def rises_with_length(activation: str) -> Decision:
    r"""Whether the edge of critical networks rises strictly with q^*, for every depth and both ensembles.

    a_q = phi'(sqrt(q) h)^2 / mu_1 has mean 1. For q' > q the ratio a_q' / a_q falls with |h| iff the elasticity falls
    with x, so that a_q' exceeds a_q exactly where a_q is large: a_q' is larger in convex order. a / (u - a) is convex,
    so u(m), the curve and its minimum rise.
    """
    a, room = Symbol("alpha", positive=True), Symbol("w", positive=True)
    convex = (a / (U - a)).diff(a, 2).subs(U, a + room)
    fall = {"tanh": 4 * (X + sinh(X) * cosh(X)) / cosh(X) ** 2, "erf": 2 * pi * X}[activation]
    same = (elasticity(activation).diff(X) + fall).rewrite(exp)
    return all_of(positive(convex), zero(same), positive(fall)).explain(
        step("The slopes fall with the size of the pre-activation, per relative change by", elasticity(activation)),
        step("the faster the larger it is, since the derivative is minus", fall),
        step("Divided by their mean, slopes at a larger length are therefore more spread, in convex order."),
        step("The moment function at a fixed u is the mean of a convex function of them,", a / (U - a)),
        step("with the second derivative, at u = alpha + w,", convex),
        step("so every point of the curve rises, and its least value with it:", edge_curve()),
    )


def rises_with_depth() -> Decision:
    r"""Whether the edge at chi = 1 rises with every layer unless the slopes are constant and the weights orthogonal.

    One more layer multiplies the curve by 1/S(m), S of mean 1. a / (u - a) lies above its tangent at a = 1, so
    m >= 1/(u - 1), that is u m / (1 + m) >= 1, with equality for a = 1 only; (1 + m)^g >= 1.
    """
    a = Symbol("alpha", positive=True)
    gap = a / (U - a) - 1 / (U - 1) - U * (a - 1) / (U - 1) ** 2
    square = U * (a - 1) ** 2 / ((U - 1) ** 2 * (U - a))
    return all_of(equal(gap, square), equal((M * U / (1 + M)).subs(M, 1 / (U - 1)), Integer(1))).explain(
        step("The moment function of slopes lies above its value for constant slopes by the mean of", square),
        step("which is positive unless all slopes are alike. One more layer multiplies the curve by", M * U / (1 + M)),
        step(
            "and this is 1 for constant slopes and larger otherwise, at every m; Gaussian weights add the factor", 1 + M
        ),
    )

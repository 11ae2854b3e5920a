r"""Single directions in a deep Jacobian: typical gains at finite width, the input's own direction, and wordings.

Source: B sections 1 and 2.2, beyond B.
"""

from __future__ import annotations

from functools import cache

from sympy import (
    Expr,
    Integer,
    Matrix,
    Rational,
    Symbol,
    cos,
    digamma,
    eye,
    factor,
    gamma,
    gammasimp,
    integrate,
    limit,
    log,
    oo,
    pi,
    series,
    sin,
    sqrt,
)

from derivations.decide import Decision, all_of, equal, nonnegative, step, zero
from derivations.information.free_products import M, U
from derivations.notation import LAYERS, SIGMA_W, WIDTH

SINGULAR = Symbol("s", real=True)
ORDER = Symbol("t", real=True)
ANGLE = Symbol("theta", real=True)
RADIUS = Symbol("rho", positive=True)
NORM = Symbol("s_max", positive=True)
SLOPE_MIN = Symbol("varphi_min", positive=True)
TAU = Symbol("tau", positive=True)
MAP_SLOPE = Symbol("lambda", positive=True)
OUTPUTS_SHARE = Symbol("c", positive=True)
GAIN = Symbol("gamma", positive=True)
TOTAL = Symbol("v", positive=True)


def typical_rate() -> Expr:
    r"""E log |J v|^2 / L of linear Gaussian networks of variance 1: digamma(N/2) - log(N/2), about -1/N.

    >>> typical_rate().subs(WIDTH, 2)
    -EulerGamma
    """
    return digamma(WIDTH / Integer(2)) - log(WIDTH / Integer(2))


def stretch_moments() -> Expr:
    r"""E (chi^2_N / N)^t = (2/N)^t Gamma(N/2 + t) / Gamma(N/2), for t > -N/2.

    >>> stretch_moments().subs(ORDER, 1).simplify()
    1
    """
    return (Integer(2) / WIDTH) ** ORDER * gamma(WIDTH / Integer(2) + ORDER) / gamma(WIDTH / Integer(2))


def is_typical_rate(formula: Expr) -> Decision:
    r"""Whether the formula is the mean logarithm of chi^2_N / N, the factor of one Gaussian layer in any direction.

    It is the derivative of the moments at t = 0.
    """
    found = stretch_moments().diff(ORDER).subs(ORDER, 0)
    instances = [equal(formula.subs(WIDTH, n), found.subs(WIDTH, n)) for n in (2, 4, 6)]
    return all_of(*instances, equal(formula, found.expand())).explain(
        step("A Gaussian layer stretches every direction by an independent factor with the moments", stretch_moments()),
        step("Its mean is 1, its mean logarithm", found),
    )


def slowest_rate() -> Expr:
    r"""A lower bound 1 - E[1/y] of the mean logarithm of y = chi^2_N / N for N > 2, from log y >= 1 - 1/y.

    >>> slowest_rate()
    -2/(N - 2)
    """
    return factor(1 - gammasimp(stretch_moments().subs(ORDER, -1)))


def is_wide_rate(formula: Expr) -> Decision:
    r"""Whether the formula is the limit of the mean logarithm for N -> infinity, squeezed by Jensen's inequality."""
    y = Symbol("y", positive=True)
    gap = log(y) - 1 + 1 / y
    return all_of(
        equal(gap.diff(y), (y - 1) / y**2),
        zero(gap.subs(y, 1)),
        equal(gammasimp(stretch_moments().subs(ORDER, 1)), Integer(1)),
        equal(limit(slowest_rate(), WIDTH, oo), formula),
        equal(Integer(0), formula),
    ).explain(
        step("A Gaussian layer stretches every direction by an independent factor with the moments", stretch_moments()),
        step("The mean is 1, so that by Jensen's inequality the mean logarithm is at most", Integer(0)),
        step("A logarithm is at least 1 less the inverse, so the mean logarithm is at least", slowest_rate()),
        step("Both bounds meet at", Integer(0)),
    )


def mean_singular_value() -> Expr:
    r"""The mean singular value of one square Gaussian layer of variance 1: 8 / (3 pi), not 1."""
    return Integer(8) / (3 * pi)


@cache
def quarter_circle_moments() -> tuple[Expr, ...]:
    r"""The moments of orders 0 to 4 of the density sqrt(4 - s^2)/pi on [0, 2].

    >>> quarter_circle_moments()
    (1, 8/(3*pi), 1, 64/(15*pi), 2)
    """
    # s = 2 sin(angle): SymPy integrates trigonometric polynomials at once, roots not
    return tuple(integrate((2 * sin(ANGLE)) ** k * 4 / pi * cos(ANGLE) ** 2, (ANGLE, 0, pi / 2)) for k in range(5))


def is_mean_singular_value(formula: Expr) -> Decision:
    r"""Whether the formula is the mean of the quarter-circle law, whose even moments are the Catalan numbers."""
    density = sqrt(4 - SINGULAR**2) / pi
    moments = quarter_circle_moments()
    mean = moments[1]
    return all_of(*(equal(a, b) for a, b in zip(moments[::2], (1, 1, 2), strict=True)), equal(formula, mean)).explain(
        step("The singular values of a square Gaussian layer have the density", density),
        step("Mass, mean square and mean fourth power are 1, 1 and 2; the mean itself is", mean),
    )


def is_largest_gain(formula: Expr) -> Decision:
    r"""Whether the formula, in the spectral radius and the spectral norm, is max |J v| / |v| for J = [[1, 1], [0, 1]].

    Two linear layers make such a Jacobian; its eigenvalues are 1, its largest gain is (1 + sqrt 5)/2.
    """
    shear = Matrix([[1, 1], [0, 1]])
    golden = (1 + sqrt(5)) / 2
    squared_gain = (shear.T * shear - golden**2 * eye(2)).det()
    return all_of(zero(squared_gain.expand()), equal(formula.subs({RADIUS: 1, NORM: golden}), golden)).explain(
        step("A Jacobian with both eigenvalues equal to 1,", shear), step("stretches one direction by", golden)
    )


def least_step() -> Expr:
    r"""s_max(J_a) / s_max(J_{a+1}) >= sigma_w min phi' for J_a = J_{a+1} W D with orthogonal weights."""
    return SIGMA_W * SLOPE_MIN


def bounds_step(formula: Expr) -> Decision:
    r"""Whether the formula bounds the step from below with one neuron a layer, where the step is |w phi'|."""
    return nonnegative(SIGMA_W * SLOPE_MIN - formula).explain(
        step("With one neuron a layer the step back through a layer is exactly", SIGMA_W * SLOPE_MIN),
        step("In general W D D W^T is at least the square of this times the identity, and so is the step squared."),
    )


def backward_curve() -> Expr:
    r"""The curve for the Jacobian from a layer to the outputs through L slopes: c = N_g/N, orthogonal readout.

    >>> backward_curve().subs({OUTPUTS_SHARE: 1, LAYERS: 1})
    u
    """
    return (OUTPUTS_SHARE + M) / M * (M * U / (1 + M)) ** LAYERS * SIGMA_W ** (2 * LAYERS - 2)


def is_backward_curve(formula: Expr) -> Decision:
    r"""Whether the formula is (1 + m)/(m S(m)) with S the transforms of slopes, weights and a projection of trace c.

    A projection has psi = c t / (1 - t), so S = (1 + m) / (c + m).
    """
    projection = (1 + M) / (OUTPUTS_SHARE + M)
    point = M * projection / (1 + M)
    slopes = ((1 + M) / (M * U)) ** LAYERS * SIGMA_W ** (2 - 2 * LAYERS)
    return all_of(
        equal(OUTPUTS_SHARE * point / (1 - point), M), zero(formula * slopes * projection - (1 + M) / M)
    ).explain(
        step("The readout projects on a share c of the directions; a projection has the transform", projection),
        step("Together with those of the layers this gives the curve", backward_curve()),
        step("Each layer multiplies it by a factor that is at least 1 at chi = 1:", SIGMA_W**2 * M * U / (1 + M)),
    )


def input_gain() -> Expr:
    r"""E |J x|^2 / |x|^2 at the fixed point: 1 - (1 - tau)(1 - lambda^{2L})/(1 - lambda^2).

    tau = sigma_w^2 E[phi'^2 h^2]/q, lambda = sigma_w^2 E[phi phi' h]/q the slope of the length map.

    >>> input_gain().subs(LAYERS, 1)
    tau
    """
    return 1 - (1 - TAU) * (1 - MAP_SLOPE ** (2 * LAYERS)) / (1 - MAP_SLOPE**2)


def is_input_gain(formula: Expr) -> Decision:
    r"""Whether the formula solves p' = p + (tau - 1) a^2, a' = lambda a from p = a = 1.

    The tangent g = a h + r, r independent of h with variance p - a^2 (units of q): E[phi'^2 g^2] sigma_w^2 is
    a^2 tau + (p - a^2) at chi = 1; the part along the activation shrinks by the slope of the map.
    """
    n = Symbol("n", integer=True, nonnegative=True)
    before, after = formula.subs(LAYERS, n), formula.subs(LAYERS, n + 1)
    return all_of(
        equal(formula.subs(LAYERS, 0), Integer(1)), equal(after - before, (TAU - 1) * MAP_SLOPE ** (2 * n))
    ).explain(
        step(
            "What a layer adds to the squared length of the tangent along the input:", (TAU - 1) * MAP_SLOPE ** (2 * n)
        ),
        step("summed over the layers:", input_gain()),
        step("For tanh the two factors at small lengths q are", small_length_gain()),
        step("so that the gain is e^{-4 q L}: one singular value leaves the rest of the spectrum."),
    )


def variance_excess() -> Expr:
    r"""Relative variance over the free one, v, with one value gamma of N outside: 1 + (1 - gamma)^2 / (N v).

    >>> variance_excess().subs(GAIN, 1)
    1
    """
    return 1 + (1 - GAIN) ** 2 / (WIDTH * TOTAL)


def is_variance_excess(formula: Expr) -> Decision:
    r"""Whether the formula is the variance of N values over v: one gamma, the others of mean 1 and variance v.

    The mean is 1 + (gamma - 1)/N, which moves the variance by (gamma - 1)^2/N^2 only; that term is left out.
    """
    rest = WIDTH - 1
    mean = (GAIN + rest) / WIDTH
    exact = ((GAIN - mean) ** 2 + rest * (TOTAL + (1 - mean) ** 2)) / WIDTH / TOTAL
    left_out = (1 - GAIN) ** 2 / (WIDTH**2 * TOTAL) + 1 / WIDTH
    return zero(exact + left_out - formula).explain(
        step("The exact variance of such a set, over that of the rest:", exact),
        step("For many neurons this is", variance_excess()),
    )


def small_length_gain() -> tuple[Expr, Expr]:
    r"""tau and lambda of tanh to first order in q: 1 - 4 q and 1 - 2 q, so that the gain is lambda^{2L}.

    >>> small_length_gain()
    (1 - 4*q, 1 - 2*q)
    """
    q = Symbol("q", positive=True)
    weight = 1 + 2 * q
    tau = weight * (1 - 2 * 3 * q)
    slope = weight * (1 - Rational(4, 3) * 3 * q)
    return tuple(series(one, q, 0, 2).removeO() for one in (tau, slope))

r"""Free products: the spectrum of a Jacobian of independent layers from the spectrum of one layer.

J = D^L W^L ... D^1 W^1 with freely independent factors. For a positive variable a with psi(t) = sum_k E[a^k] t^k and
psi(chi(m)) = m, S(m) = (1 + m) chi(m) / m is multiplicative. With u = 1/chi this is m = E[a / (u - a)]. The squared
singular values of J end at the smallest x = (1 + m) / (m S(m)) over m > 0. Weights carry G = 0 (orthogonal) or
G = 1 (Gaussian). Source: B section 2.2 (after Pennington et al.), beyond B.
"""

from __future__ import annotations

from collections.abc import Sequence

from sympy import Expr, Symbol, cancel, exp, expand, expand_log, log, simplify

from derivations.decide import Decision, all_of, equal, step, zero
from derivations.notation import LAYERS, MU_1, MU_2, SIGMA_W

M = Symbol("m", positive=True)
U = Symbol("u", positive=True)
G = Symbol("g", nonnegative=True)
ENSEMBLES = {"orthogonal": 0, "gaussian": 1}


def inverse_moments(moments: Sequence[Expr]) -> Expr:
    r"""chi(m) with psi(chi(m)) = m to the order of the given moments m_1, m_2, ..., as a polynomial in m.

    >>> a, b = Symbol("a", positive=True), Symbol("b", positive=True)
    >>> inverse_moments([a, b])
    m/a - b*m**2/a**3
    """
    if not moments:
        raise ValueError("moments: none given, allowed: at least m_1")
    found, unknown = M / moments[0], Symbol("c")
    for order in range(2, len(moments) + 1):
        trial = found + unknown * M**order
        value = expand(sum(moment * trial**k for k, moment in enumerate(moments[:order], start=1))).coeff(M, order)
        found -= cancel(value.subs(unknown, 0) / value.diff(unknown)) * M**order
    return found


def s_transform(moments: Sequence[Expr]) -> Expr:
    r"""S(m) = (1 + m) chi(m) / m to the order that the moments determine.

    >>> s_transform([1, 2, 5])
    m**2 - m + 1
    """
    exact = expand((1 + M) * inverse_moments(moments) / M)
    return sum(exact.coeff(M, k) * M**k for k in range(len(moments)))


def weight_transform() -> Expr:
    r"""S of W^T W: sigma_w^{-2} (1 + m)^{-g}, constant for orthogonal and 1/(1 + m) for Gaussian weights.

    >>> weight_transform().subs(G, 0)
    sigma_w**(-2)
    """
    return SIGMA_W**-2 * (1 + M) ** -G


def slope_transform() -> Expr:
    r"""S of D^2 in terms of the point u with m = E[phi'^2 / (u - phi'^2)]: (1 + m) / (m u)."""
    return (1 + M) / (M * U)


def is_weight_transform(formula: Expr) -> Decision:
    r"""Whether S belongs to W^T W: (sigma_w^2) t (1 + psi)^{1 + g} = psi holds for both ensembles.

    Orthogonal weights have W^T W = sigma_w^2, psi = sigma_w^2 t / (1 - sigma_w^2 t). Gaussian ones have the Catalan
    numbers as moments, psi = sigma_w^2 t (1 + psi)^2.
    """
    found = []
    for value in ENSEMBLES.values():
        point = M * formula.subs(G, value) / (1 + M)
        found.append(equal(SIGMA_W**2 * point * (1 + M) ** (1 + value), M))
    return all_of(*found)


def edge_curve() -> Expr:
    r"""x(m) = (m/(1+m))^{L-1} (sigma_w^2 u)^L (1+m)^{gL}, the squared singular value where psi_J(1/x) = m.

    >>> edge_curve().subs({G: 0, LAYERS: 1})
    sigma_w**2*u
    """
    return (M / (1 + M)) ** (LAYERS - 1) * (SIGMA_W**2 * U) ** LAYERS * (1 + M) ** (G * LAYERS)


def is_edge_curve(formula: Expr) -> Decision:
    r"""Whether the formula is (1 + m) / (m S_J(m)) with S_J the product over layers of both transforms."""
    layer = weight_transform() * slope_transform()
    whole = expand_log(log((1 + M) / M) - LAYERS * log(layer), force=True)
    return all_of(
        is_weight_transform(weight_transform()),
        zero(expand_log(log(formula), force=True) - whole),
    ).explain(
        step(
            "S of the weights of one layer, g = 0 for orthogonal and g = 1 for Gaussian ones:",
            weight_transform(),
        ),
        step("S of the slopes, with u the point where the moment function is m:", slope_transform()),
        step(
            "Free factors multiply their transforms; the squared singular value that belongs to m is",
            edge_curve(),
        ),
        step("As m grows from 0 it falls from infinity until the spectrum begins: its minimum is the edge."),
    )


def mean_square() -> Expr:
    r"""The mean squared singular value (sigma_w^2 mu_1)^L of the Jacobian.

    >>> mean_square().subs({MU_1: 1, LAYERS: 2})
    sigma_w**4
    """
    return (SIGMA_W**2 * MU_1) ** LAYERS


def relative_variance() -> Expr:
    r"""Variance over squared mean of the squared singular values: L (mu_2 / mu_1^2 - 1 + g).

    >>> relative_variance().subs({MU_1: 1, MU_2: 1, G: 1})
    L
    """
    return LAYERS * (MU_2 / MU_1**2 - 1 + G)


def layer_series() -> Expr:
    r"""log S of one layer to first order in m, from the two moments of its factors."""
    slopes = s_transform([MU_1, MU_2])
    value, slope = slopes.subs(M, 0), slopes.diff(M).subs(M, 0)
    return log(value) + slope / value * M + log(SIGMA_W**-2) - G * M


def moments_of_product() -> tuple[Expr, Expr]:
    r"""Mean and relative variance of the product of L layers, from S = (1/m_1) (1 - v m + ...).

    That -S'/S at 0 is the relative variance is read off the transform of two generic moments.
    """
    a, b = Symbol("a", positive=True), Symbol("b", positive=True)
    generic = s_transform([a, b])
    variance = simplify(-generic.diff(M).subs(M, 0) / generic.subs(M, 0))
    if variance != simplify(b / a**2 - 1):
        raise ArithmeticError("the first two terms of the transform do not give the relative variance")
    product = LAYERS * layer_series()
    return exp(-product.subs(M, 0)), -product.diff(M)


def is_mean_square(formula: Expr) -> Decision:
    """Whether the formula is the mean of the free product."""
    found = moments_of_product()[0]
    return equal(expand_log(log(formula), force=True), expand_log(log(found), force=True)).explain(
        step("The transform at 0 is the inverse mean; the layers multiply, so the mean is", mean_square()),
    )


def is_relative_variance(formula: Expr) -> Decision:
    """Whether the formula is the relative variance of the free product."""
    return equal(formula, moments_of_product()[1]).explain(
        step("The transform of slopes with moments mu_1, mu_2 to first order:", s_transform([MU_1, MU_2])),
        step("One layer, both factors, logarithm:", layer_series()),
        step(
            "Relative variances of free factors add, layer by layer and factor by factor:",
            relative_variance(),
        ),
    )

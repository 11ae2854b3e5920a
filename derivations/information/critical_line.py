r"""The critical line: weight and bias variances with a given fixed length q^* and mean squared singular value 1.

With h normal of variance q^*, sigma_w^2 mu_1 = 1 and q^* = sigma_w^2 E phi(h)^2 + sigma_b^2, where
mu_k = E phi'(h)^{2k} (B eqs. 4, 5). Closed forms where there are, else a quadrature in ball arithmetic: every number
comes with a proved enclosure.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import flint
from flint import acb, arb, fmpq
from sympy import Expr, Integer, Rational, asin, erfc, exp, expand, pi, sqrt

from derivations.balls import ball
from derivations.notation import QSTAR

ACTIVATIONS = ("linear", "relu", "erf", "hard-tanh", "tanh")
_DIGITS = 30
_MOST = 480


@dataclass(frozen=True, slots=True)
class CriticalPoint:
    """A point of the critical line in double precision; ``mu`` holds mu_1, mu_2, mu_3."""

    q: float
    sigma_w: float
    sigma_b: float
    mu: tuple[float, ...]
    second_moment: float


@dataclass(frozen=True, slots=True)
class CriticalBalls:
    """A point of the critical line as balls that contain it."""

    q: arb
    sigma_w: arb
    sigma_b: arb
    mu: tuple[arb, ...]
    second_moment: arb


def second_moment(activation: str, q: Expr = QSTAR) -> Expr:
    r"""E phi(h)^2 for h normal of variance q, where there is a closed form (B eq. 3); ValueError for tanh.

    erf means erf(sqrt(pi) x / 2), hard-tanh the identity clipped at -1 and 1.

    >>> second_moment("erf")
    2*asin(pi*q^*/(pi*q^* + 2))/pi
    """
    edge = 1 / sqrt(2 * q)
    forms = {
        "linear": q,
        "relu": q / 2,
        "erf": 2 / pi * asin(pi * q / (2 + pi * q)),
        "hard-tanh": q * (1 - erfc(edge) - 2 * edge / sqrt(pi) * exp(-(edge**2))) + erfc(edge),
    }
    return _of(forms, activation)


def slope_moment(activation: str, k: int | Expr = 1, q: Expr = QSTAR) -> Expr:
    r"""mu_k = E phi'(h)^{2k} for h normal of variance q, where there is a closed form; ValueError for tanh.

    >>> slope_moment("erf", 2)
    1/sqrt(2*pi*q^* + 1)
    """
    forms = {
        "linear": Integer(1),
        "relu": Rational(1, 2),
        "erf": 1 / sqrt(1 + pi * k * q),
        "hard-tanh": 1 - erfc(1 / sqrt(2 * q)),
    }
    return _of(forms, activation)


def _of(forms: dict[str, Expr], activation: str) -> Expr:
    if activation not in forms:
        raise ValueError(f"activation: {activation!r} given, allowed: {', '.join(forms)}")
    return forms[activation]


def bias_variance(activation: str, q: Expr = QSTAR) -> Expr:
    r"""sigma_b^2 = q - E phi^2 / mu_1 on the critical line, where there is a closed form; ValueError for tanh.

    >>> bias_variance("relu")
    0
    """
    slope = slope_moment(activation, 1, q)
    return expand(q * slope - second_moment(activation, q)) / slope


@contextmanager
def precision(digits: int) -> Iterator[None]:
    """Ball arithmetic at this many decimal digits inside the block."""
    before = flint.ctx.prec
    flint.ctx.prec = int(3.33 * digits) + 20
    try:
        yield
    finally:
        flint.ctx.prec = before


def exact_ball(q: Any) -> arb:
    """A number of Python, SymPy or flint as a ball of the current precision; ValueError unless positive."""
    if isinstance(q, arb):
        value = q
    else:
        number = Rational(q)
        value = arb(fmpq(int(number.p), int(number.q)))
    if not value > 0:
        raise ValueError(f"q: {q} given, allowed: q > 0")
    return value


def gaussian_mean(integrand: Any, digits: int) -> arb:
    r"""A ball around E f(|t|), t standard normal, for f analytic near the half axis with values in [0, 1].

    ``integrand`` maps complex balls to complex balls. The integral is rigorous on [0, R]; beyond, it is at most
    P(|t| > R).

    >>> with precision(20):
    ...     print(gaussian_mean(lambda t: (-(t * t) / 2).exp(), 20).mid().str(15, radius=False))
    0.707106781186548
    """
    end = (2 * (digits + 3) * arb(10).log()).sqrt()

    def weighted(t: acb, _: bool) -> acb:
        return integrand(t) * (-(t * t) / 2).exp()

    body = acb.integral(weighted, 0, acb(end), eval_limit=10**6).real * (arb(2) / arb.pi()).sqrt()
    tail = (end / arb(2).sqrt()).erfc()
    return body + arb(0).union(tail)


@lru_cache(maxsize=512)
def tanh_moment(kind: str, k: int, q: Any, digits: int = _DIGITS) -> arb:
    r"""A ball around mu_k = E sech(h)^{4k} (kind "slope") or E tanh(h)^{2k} (kind "value"), h of variance q."""
    with precision(digits):
        root = exact_ball(q).sqrt()
        parts = {"slope": lambda t: (t * root).sech() ** (4 * k), "value": lambda t: (t * root).tanh() ** (2 * k)}
        if kind not in parts:
            raise ValueError(f"kind: {kind!r} given, allowed: slope, value")
        return gaussian_mean(parts[kind], digits)


def moment_balls(activation: str, q: Any, digits: int = _DIGITS) -> tuple[arb, arb, arb, arb]:
    r"""Balls around E phi^2, mu_1, mu_2, mu_3 at variance q; ValueError for an unknown activation or q <= 0."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation: {activation!r} given, allowed: {', '.join(ACTIVATIONS)}")
    if activation == "tanh":
        first, *more = (tanh_moment("slope", k, q, digits) for k in (1, 2, 3))
        return tanh_moment("value", 1, q, digits), first, more[0], more[1]
    with precision(digits):
        at = {QSTAR: acb(exact_ball(q))}
    forms = (second_moment(activation), *(slope_moment(activation, k) for k in (1, 2, 3)))
    second, first, *more = (ball(form, at, digits=digits).real for form in forms)
    return second, first, more[0], more[1]


@lru_cache(maxsize=512)
def critical_balls(activation: str, q: Any, digits: int = _DIGITS) -> CriticalBalls:
    r"""sigma_w, sigma_b, mu_k and E phi^2 of the critical line at fixed length q, each in a ball (B eqs. 4, 5).

    ``q`` is an exact number; the working precision grows until sigma_b is known to ``digits`` digits. ValueError for
    q <= 0, an unknown activation, or where sigma_b^2 would be negative.
    """
    working = digits + 10
    while working <= _MOST:
        second, *mu = moment_balls(activation, q, working)
        with precision(working):
            length = exact_ball(q)
            variance = _bias_ball(activation, length, second, mu[0], working)
            if variance < 0:
                raise ValueError(f"q: {q} given, allowed: values with sigma_b^2 >= 0 for {activation}")
            if variance == 0 or variance.rel_accuracy_bits() > 3.33 * digits:
                return CriticalBalls(length, 1 / mu[0].sqrt(), variance.sqrt(), tuple(mu), second)
        working *= 2
    raise ValueError(f"q: {q} given, allowed: values with sigma_b^2 separated from 0 at {_MOST} digits")


def _bias_ball(activation: str, q: arb, second: arb, slope: arb, digits: int) -> arb:
    if activation == "tanh":
        return q - second / slope
    return ball(bias_variance(activation), {QSTAR: acb(q)}, digits=digits).real


@lru_cache(maxsize=512)
def critical_point(activation: str, q: float) -> CriticalPoint:
    r"""The critical line at fixed length q in double precision: sigma_w^2 mu_1 = 1, q = sigma_w^2 E phi^2 + sigma_b^2.

    Activations linear, relu, erf (erf(sqrt(pi) x / 2)), hard-tanh, tanh. ValueError where there is no such point.

    >>> point = critical_point("tanh", 1 / 64)
    >>> round(point.sigma_w, 12), round(point.sigma_b, 12)
    (1.015163785209, 0.002156694987)
    """
    found = critical_balls(activation, q)
    numbers = tuple(float(one) for one in found.mu)
    return CriticalPoint(float(q), float(found.sigma_w), float(found.sigma_b), numbers, float(found.second_moment))

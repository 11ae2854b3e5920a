"""Formulas as numbers: three backends agree, shapes broadcast, missing values are named."""

import numpy as np
import pytest
from sympy import (
    Abs,
    LambertW,
    Max,
    Piecewise,
    Rational,
    Symbol,
    cosh,
    exp,
    hyper,
    log,
    pi,
    sign,
    sqrt,
    symbols,
    tanh,
)

from derivations import words
from derivations.code import evaluate, function, rounding_of, value
from derivations.notation import ETA_TILDE, NORM_J, SIGMA, SIGMA_STAR, Q

x, y = symbols("x y", positive=True)
FORMULAS = [
    x ** (1 - 2 / Q) * exp(-y) + sqrt(2),
    tanh(x) / cosh(y) + pi * Q,
    sign(x - y) * Abs(x - y) ** (1 / Q),
    log(x) * y / (1 + Q),
    Max(x, y) ** 2 - LambertW(x),
]


@pytest.mark.parametrize("formula", FORMULAS, ids=str)
def test_backends_agree(formula):
    point = (0.75, 1.25, 3.0)
    fast = float(function(formula, (x, y, Q))(*point))
    slow = float(function(formula, (x, y, Q), backend="mpmath", dps=40)(*point))
    sharp = function(formula, (x, y, Q), backend="arb")
    assert abs(fast - slow) <= 4e-16 * max(1, abs(slow))
    ball = sharp(*point).real
    assert abs(float(ball.mid()) - slow) <= 1e-15 and float(ball.rad()) < 1e-25


def test_broadcasting_and_constants():
    assert evaluate(x * y, {x: np.ones((3, 1)), "y": np.arange(4.0)}).shape == (3, 4)
    assert np.array_equal(function(sqrt(x) * 0 + 7, (x,))(np.zeros(5)), np.full(5, 7.0))
    assert evaluate(pi, {}).shape == ()
    assert evaluate(x - x + 2, {x: np.zeros(3)}).shape == ()


def test_keywords_and_awkward_names():
    assert evaluate(x + y, x=1.0, y=2.0) == 3.0
    values = {ETA_TILDE: 2.0, NORM_J: 3.0, SIGMA_STAR: 5.0, SIGMA: 7.0}
    assert evaluate(ETA_TILDE * NORM_J + SIGMA_STAR - SIGMA, values) == 4.0


def test_missing_symbols_are_named():
    with pytest.raises(ValueError, match="no value for y"):
        evaluate(x + y, {x: 1.0})
    with pytest.raises(ValueError, match="no value for y"):
        function(x + y, (x,))
    with pytest.raises(ValueError, match="backend: 'torch'"):
        function(x, (x,), backend="torch")


def test_nan_is_handed_on():
    real = Symbol("r", real=True)
    assert np.isnan(evaluate(sqrt(real), {real: -1.0}))
    assert np.isinf(evaluate(1 / real, {real: 0.0}))


def test_piecewise_and_maximum():
    real = Symbol("r", real=True)
    values = {real: np.array([-1.0, 2.0])}
    assert np.array_equal(evaluate(Max(0, real), values), [0.0, 2.0])
    assert np.array_equal(evaluate(Piecewise((real**2, real < 0), (0, True)), values), [1.0, 0.0])


def test_special_functions_stay_real():
    assert evaluate(LambertW(x), {x: 1.0}).dtype == float
    half = evaluate(hyper([1, Rational(1, 2)], [2], -x), {x: np.array([3.0])})
    assert np.allclose(half, 2 * (np.sqrt(4.0) - 1) / 3, rtol=1e-14, atol=0)
    with pytest.raises(ValueError, match="3F2"):
        evaluate(hyper([1, 1, Q], [2, 3], x), {x: 0.5, Q: 2.5})


def test_rounding_is_seen():
    small = (x + 1) - 1 + 0 * y
    cancelling = (exp(x) - 1) / x
    assert rounding_of(cancelling, {x: np.array([1e-9, 1.0])}) > 1e-9
    assert rounding_of(small, {x: 0.5}) == 0.0
    assert 0 <= rounding_of(x * y, {x: np.linspace(1, 2, 50), y: 0.1}) < 1e-15


def test_one_entry_for_every_kind_of_formula():
    w = words.Letter("w", "n", "m")
    point = {"w": np.array([[1.0, 2.0]]), w: np.array([[1.0, 2.0]]), "x": 3.0}
    result = value({"square": x**2, "gram": w * w.T, "pair": (words.trace(w * w.T), x)}, point)
    assert result["square"] == 9.0 and result["gram"] == [[5.0]]
    assert result["pair"][0] == 5.0 and result["pair"][1] == 3.0
    assert value(words.layer_sum(words.trace(w * w.T)), [point, point]) == 10.0
    with pytest.raises(ValueError, match="allowed: a mapping"):
        value(x, [point])

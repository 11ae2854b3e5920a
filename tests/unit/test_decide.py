"""Decisions: true identities proved, wrong ones refuted with true witnesses, honest doubt reachable."""

import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import Abs, Rational, Sum, Symbol, exp, log, sign, sqrt

from derivations.decide import (
    Decision,
    Step,
    all_of,
    enclosed,
    equal,
    nonnegative,
    positive,
    step,
    zero,
)
from derivations.notation import DEPTH, J_I, NORM_J, SIGMA, SIGMA_I, TIME, Q

x, y, a = sp.symbols("x y a", positive=True)
s, u = sp.symbols("s u", real=True)
z = Symbol("z")
f = sp.Function("f")
sigma = sp.IndexedBase("sigma", real=True)
i, k = sp.symbols("i k", integer=True, positive=True)
steady = settings(derandomize=True, max_examples=15, deadline=None, database=None)

TRUE = [
    x ** (2 / Q) * x ** (1 - 2 / Q) - x,
    x ** (1 / (Q + 1)) * x ** (Q / (Q + 1)) - x,
    (x**2 + y) ** (2 * Q) - ((x**2 + y) ** Q) ** 2,
    exp(2 * s * u) * exp(-s * u) - exp(s * u),
    exp(Q * log(x)) - x**Q,
    log(x**2 * y / 6) - 2 * log(x) - log(y) + log(2) + log(3),
    x**DEPTH * x ** (DEPTH - 2) - x ** (2 * DEPTH - 2),
    x * x**x - x ** (x + 1),
    sqrt(4 * x + 4 * y) - 2 * sqrt(x + y),
    sqrt(x**2 + 2 * x * y + y**2) - x - y,
    1 / (sqrt(2) - 1) - sqrt(2) - 1,
    sqrt(2) + sqrt(3) - sqrt(5 + 2 * sqrt(6)),
    sign(s) * Abs(s) - s,
    sign(J_I) * Abs(J_I) ** (1 - 2 / Q) * Abs(J_I) ** (2 / Q) - J_I,
    Abs(s * u) - Abs(s) * Abs(u),
    (s**2) ** Q - Abs(s) ** (2 * Q),
    (-2 * x) ** s - 2**s * (-x) ** s,
    sp.sinh(2 * s) - 2 * sp.sinh(s) * sp.cosh(s),
    sp.tanh(s) ** 2 + 1 / sp.cosh(s) ** 2 - 1,
    sp.sin(s) ** 2 + sp.cos(s) ** 2 - 1,
    sp.gamma(x + 2) - x * (x + 1) * sp.gamma(x),
    sp.LambertW(x) * exp(sp.LambertW(x)) - x,
    log(sp.LambertW(x)) + sp.LambertW(x) - log(x),
    sp.tanh(sp.atanh(x / (1 + x)) + s) * (1 + x + x * sp.tanh(s)) - x - (1 + x) * sp.tanh(s),
    f((s + 1) ** 2) - f(s**2 + 2 * s + 1),
    Sum(a * sigma[i], (i, 1, DEPTH)) - a * Sum(sigma[i], (i, 1, DEPTH)),
    Sum(a, (i, 1, DEPTH)) - a * DEPTH,
]

WRONG = [
    x ** (2 / Q) * x ** (1 - 1 / Q) - x,
    exp(2 * s * u) - exp(s * u),
    log(x * y) - log(x) + log(y),
    sqrt(s**2) - s,
    sqrt(s**2 * x) - s * sqrt(x),
    (z**2) ** Rational(1, 2) - z,
    sign(J_I) * Abs(J_I) ** (1 - 2 / Q) - Abs(J_I) ** (1 - 2 / Q),
    x**DEPTH - x ** (DEPTH + 1),
    exp(s) - 1 - s,
    f(s) - f(u),
    f(s).diff(s) - f(s),
    sigma[i] - sigma[k],
    sp.Max(s, u) - s,
    a * Rational(1, 10**40),
    log(-x) - log(x),
    (z * x) ** Rational(1, 2) + sqrt(x) * sqrt(z),
]

# True for positive symbols only: the rules that a forced simplification would use on real or complex ones.
FORCED = [
    sqrt(s * u) - sqrt(s) * sqrt(u),
    log(s * u) - log(s) - log(u),
    log(s**2) - 2 * log(s),
    (s**3) ** Rational(1, 3) - s,
    (z**2) ** Q - z ** (2 * Q),
    (s**3) ** Q - s ** (3 * Q),
    exp(z) ** Rational(1, 2) - exp(z / 2),
    sqrt(1 / s) - 1 / sqrt(s),
    Abs(z) ** 2 - z**2,
    sp.atanh(s) - log((1 + s) / (1 - s)) / 2,
    log(s**u) - u * log(s),
]


@pytest.mark.parametrize("expr", FORCED, ids=str)
def test_rules_for_positive_symbols_are_refuted_on_others(expr):
    assert zero(expr).refuted


@pytest.mark.parametrize("expr", TRUE, ids=str)
def test_identities_are_proved(expr):
    assert zero(expr).proved


@pytest.mark.parametrize("expr", [expr for expr in TRUE if expr != 0], ids=str)
def test_a_relative_nudge_of_any_identity_is_refuted_or_doubted(expr):
    """Each identity with its first term scaled by 1 + 1e-9 is no longer proved."""
    first, *rest = sp.Add.make_args(expr)
    assert not zero(first * (1 + Rational(1, 10**9)) + sp.Add(*rest)).proved


@pytest.mark.parametrize("expr", WRONG, ids=str)
def test_wrong_identities_are_refuted_with_a_witness(expr):
    decision = zero(expr)
    assert decision.refuted and not decision.proved
    assert decision.witness is not None and decision.witness["value"] != "0"


def test_witness_is_true_and_respects_assumptions():
    witness = zero(x**DEPTH * s - x * s).witness
    assert witness is not None
    depth, at_x, at_s = (Rational(witness[name]) for name in ("d", "x", "s"))
    assert depth.is_Integer and depth > 0 and at_x > 0
    assert abs(at_x**depth * at_s - at_x * at_s - Rational(witness["value"])) < Rational(1, 10**6)


@pytest.mark.parametrize(
    "expr",
    [
        sp.erf(s) + sp.erfc(s) - 1,
        Sum(sigma[i], (i, 1, DEPTH)) - sigma[k],
        Symbol("w", imaginary=True) + 1,
        sp.LambertW(x * exp(x)) - x,
    ],
    ids=str,
)
def test_doubt_is_reachable(expr):
    assert zero(expr).outcome == "undecided"


def test_splitting_of_powers_can_be_switched_off():
    expr = log(x * y) - log(x) - log(y)
    assert zero(expr).proved
    assert not zero(expr, positive_powers=False).proved


@pytest.mark.parametrize("bad", [0.5 * x, sp.nan, sp.zoo, x + sp.oo, sp.MatrixSymbol("M", 2, 2), x > 0], ids=str)
def test_inexact_input_is_rejected(bad):
    with pytest.raises(ValueError, match="expr: "):
        zero(bad)


def test_a_denominator_that_vanishes_is_never_a_proof():
    hidden = 1 / (sp.sin(s) ** 2 + sp.cos(s) ** 2 - 1)
    assert zero(hidden - hidden * x).outcome == "undecided"


@steady
@given(st.lists(st.integers(-4, 4), min_size=5, max_size=5), st.integers(1, 4), st.integers(1, 4))
def test_random_posynomials_in_fractional_powers(coefficients, p, q):
    """sum c_k x^(k p/q): squaring the sum agrees with the expanded square, and not with a changed one."""
    terms = [c * x ** (Rational(n * p, q) * Q) for n, c in enumerate(coefficients)]
    total = sp.Add(*terms)
    expanded = sp.Add(*[t * r for t in terms for r in terms])
    assert zero(total**2 - expanded).proved
    assert not zero(total**2 - expanded - x ** (p * Q)).proved


def test_matrices_are_decided_entry_by_entry():
    turn = sp.Matrix([[sp.cos(s), -sp.sin(s)], [sp.sin(s), sp.cos(s)]])
    assert zero(turn.T * turn - sp.eye(2)).proved
    assert zero(turn * turn - sp.eye(2)).refuted


def test_conjunction():
    proved, doubt = Decision("proved", "p"), Decision("undecided", "u")
    refuted = zero(x - y)
    assert all_of(proved, proved).proved
    assert all_of(proved, doubt).outcome == "undecided"
    assert all_of(doubt, refuted, proved).witness == refuted.witness
    assert all_of(proved.explain(step("first", SIGMA)), proved).steps == (Step("first", r"\sigma"),)
    with pytest.raises(ValueError, match="decisions"):
        all_of()


def test_equality():
    rate = -SIGMA_I * Abs(J_I) ** (2 - 2 / Q) / NORM_J
    assert equal(rate, -SIGMA_I * (J_I**2) ** (1 - 1 / Q) / NORM_J).proved
    assert equal(rate, rate * (1 + Rational(1, 10**12))).refuted


NONNEGATIVE = [
    s**2 - s * u + u**2,
    (x - y) ** 2,
    x + 1 / x - 2,
    DEPTH * (DEPTH - 1),
    exp(2 * s) - 2 * exp(s) + 1,
    s**4 - 2 * s**2 + 1,
    TIME,
]
NEGATIVE_SOMEWHERE = [
    s**2 - 3 * s * u + u**2,
    x - 1,
    x + 1 / x - 3,
    DEPTH - 2,
    s * u,
    s**3,
    exp(s) - 2,
    s**4 - 2 * s**2 + Rational(9, 10),
]


@pytest.mark.parametrize("expr", NONNEGATIVE, ids=str)
def test_nonnegative_expressions(expr):
    assert nonnegative(expr).proved


@pytest.mark.parametrize("expr", NEGATIVE_SOMEWHERE, ids=str)
def test_violations_are_found(expr):
    decision = nonnegative(expr)
    assert decision.refuted
    assert decision.witness is not None and Rational(decision.witness["value"]) < 0


def test_strict_signs():
    assert positive(s**2 + s + 1).proved
    assert positive(s**2 + s * u + u**2 + 1).proved
    assert positive(x**3 - x + 1).proved
    assert positive((x - y) ** 2).refuted
    assert positive(s**2).refuted
    assert positive(TIME * DEPTH).refuted
    assert positive(exp(s) - s).outcome == "undecided"
    assert nonnegative(exp(s) - 1 - s).outcome == "undecided"


def test_offered_squares_are_checked():
    p, q = sp.symbols("p0:4", real=True), sp.symbols("q0:4", real=True)
    gap = sum(v**2 for v in p) * sum(v**2 for v in q) - sum(v * w for v, w in zip(p, q, strict=True)) ** 2
    lagrange = [(1, p[m] * q[n] - p[n] * q[m]) for m in range(4) for n in range(m)]
    assert nonnegative(gap, squares=lagrange).proved
    assert not nonnegative(gap, squares=lagrange[1:]).proved
    assert not nonnegative(-(s**2), squares=[(-1, s)]).proved


def test_enclosures():
    box = {s: (Rational(1, 4), 3)}
    expr = exp(s) - 1 - s - s**2 / 3
    assert enclosed(expr, box, ">").proved
    assert enclosed(expr, box, "!=").proved
    assert enclosed(-expr, box, "<").proved
    below = enclosed(expr - 1, box, ">")
    assert below.refuted and below.witness is not None
    assert Rational(below.witness["s"]) <= 3
    assert enclosed(s**2, {s: (-1, 1)}, ">").outcome == "undecided"
    assert enclosed((s - u) ** 2 + Rational(1, 100), {s: (0, 1), u: (0, 1)}, ">").proved


def test_enclosures_name_bad_input():
    with pytest.raises(ValueError, match="box: no interval for u"):
        enclosed(s + u, {s: (0, 1)}, ">")
    with pytest.raises(ValueError, match="relation: '>='"):
        enclosed(s, {s: (0, 1)}, ">=")
    with pytest.raises(ValueError, match="exact rationals"):
        enclosed(s, {s: (0.1, 1)}, ">")


def test_a_sign_that_is_left_when_all_symbols_cancel_is_seen():
    x = sp.Symbol("x", real=True)
    constant = (x + 1) ** 2 - x**2 - 2 * x
    assert positive(constant).proved and nonnegative(constant - 1).proved
    assert positive(constant - 1).refuted and nonnegative(constant - 2).refuted

"""Behaviours of SymPy that the derivations rely on or avoid; an upgrade that changes one is seen here."""

import sympy as sp
from sympy import Float, MatrixSymbol, Rational, Symbol, Trace, symbols

from derivations.decide import zero
from derivations.words import Letter, gradient, trace, vanishes

n, m = symbols("n m", integer=True, positive=True)
A, B = MatrixSymbol("A", n, m), MatrixSymbol("B", n, m)
x = Symbol("x", positive=True)


def test_avoided_the_derivative_of_a_sum_of_traces_is_silently_zero():
    assert str(sp.diff(Trace(A.T * A) + Trace(B.T * B), A)) == "0"
    assert str(sp.diff(Trace(A.T * A), A)) == "2*A"
    a, b = Letter("A", "n", "m"), Letter("B", "n", "m")
    assert gradient(trace(a.T * a) + trace(b.T * b), a) == 2 * a


def test_avoided_the_derivative_of_a_matrix_entry_is_silently_zero():
    square = MatrixSymbol("M", 3, 3)
    assert str(square[1, 1].diff(square)) == "0"


def test_avoided_sums_over_the_order_of_a_derivative_are_silently_zero():
    t, k = symbols("t k")
    f = sp.Function("f")
    assert sp.summation(f(t).diff(t, k), (k, 1, 3)) == 0


def test_avoided_matrix_equality_is_structural():
    square = MatrixSymbol("S", n, n)
    other = MatrixSymbol("T", n, n)
    assert square * (square + other) != square * square + square * other
    s, t = Letter("S", "n", "n"), Letter("T", "n", "n")
    assert s * (s + t) == s * s + s * t


def test_avoided_traces_have_no_cyclic_normal_form():
    square, other = MatrixSymbol("S", n, n), MatrixSymbol("T", n, n)
    gap = Trace(square * other) - Trace(other * square)
    assert gap != 0 and sp.simplify(gap) != 0
    s, t = Letter("S", "n", "n"), Letter("T", "n", "n")
    assert vanishes(trace(s * t) - trace(t * s)).proved


def test_avoided_floats_are_inexact():
    assert Float(0.1) * 3 - Rational(3, 10) != 0
    assert zero(Rational(1, 10) * 3 - Rational(3, 10)).proved


def test_avoided_symbols_of_one_name_with_other_assumptions_differ():
    plain, good = Symbol("a"), Symbol("a", positive=True)
    assert plain != good
    assert (good + 1).subs(plain, 2) == good + 1


def test_avoided_simplify_misses_equal_powers():
    q = Symbol("q", positive=True)
    gap = (x**2 + 2 * x + 1) ** q - (x + 1) ** (2 * q)
    assert sp.simplify(gap) != 0
    assert zero(gap).proved


def test_avoided_symbolic_powers_of_one_base_do_not_merge():
    q = Symbol("q", positive=True)
    assert x**q * x ** (2 - q) != x**2
    assert (x**q) ** 2 == x ** (2 * q)
    assert zero(x**q * x ** (2 - q) - x**2).proved


def test_relied_on_products_of_numeric_roots_merge():
    assert sp.sqrt(2) * sp.sqrt(3) == sp.sqrt(6)


def test_relied_on_real_squares_have_absolute_roots():
    s = Symbol("s", real=True)
    assert sp.sqrt(s**2) == sp.Abs(s)
    assert sp.sqrt(Symbol("z") ** 2) != sp.Abs(Symbol("z"))


def test_relied_on_factor_terms_pulls_constants_out_of_sums():
    i, d = symbols("i d", integer=True, positive=True)
    entries = sp.IndexedBase("sigma", real=True)
    assert sp.factor_terms(sp.Sum(x * entries[i], (i, 1, d))) == x * sp.Sum(entries[i], (i, 1, d))


def test_relied_on_sturm_counts_closed_half_lines():
    p = sp.Poly(x * (x - 1) * (x + 2), x)
    assert p.count_roots(0, None) == 2 and p.count_roots(None, 0) == 2 and p.count_roots() == 3


def test_relied_on_lambdify_of_constants_gives_scalars():
    assert sp.lambdify([x], sp.Integer(3), "numpy")([1.0, 2.0]) == 3

"""Matrix words: algebra against integer matrices, calculus, rules, and decisions with true witnesses."""

from ast import literal_eval

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import Rational, Symbol, symbols

from derivations.words import (
    Letter,
    differential,
    evaluate,
    gradient,
    identity,
    layer_sum,
    letters,
    normal,
    rule,
    substitute,
    trace,
    vanishes,
    zeros,
)

A, B, C = Letter("A", "n", "m"), Letter("B", "m", "k"), Letter("C", "k", "n")
S = Letter("S", "n", "n", symmetric=True)
X, Y, Z = (Letter(name, "n", "n") for name in "XYZ")
steady = settings(derandomize=True, max_examples=40, deadline=None, database=None)


def integers(rows: int, cols: int) -> st.SearchStrategy[np.ndarray]:
    row = st.lists(st.integers(-4, 4), min_size=cols, max_size=cols)
    return st.lists(row, min_size=rows, max_size=rows).map(lambda m: np.array(m).reshape(rows, cols))


@st.composite
def squares(draw: st.DrawFn, depth: int = 3):
    """A random square expression in X, Y, Z and the function that evaluates it with NumPy."""
    if depth == 0 or draw(st.booleans()):
        letter = draw(st.sampled_from([X, Y, Z]))
        return letter * 1, lambda v, name=letter: v[name]
    left, f = draw(squares(depth - 1))
    right, g = draw(squares(depth - 1))
    c = draw(st.integers(-3, 3))
    return draw(
        st.sampled_from(
            [
                (left + right, lambda v: f(v) + g(v)),
                (left - right * c, lambda v: f(v) - c * g(v)),
                (left * right, lambda v: f(v) @ g(v)),
                (left.T, lambda v: f(v).T),
            ]
        )
    )


@steady
@given(squares(), integers(3, 3), integers(3, 3), integers(3, 3))
def test_random_expressions_agree_with_integer_matrices(pair, x, y, z):
    word, direct = pair
    values = {X: x, Y: y, Z: z}
    value = evaluate(word, values) if letters(word) else np.zeros((3, 3))
    assert np.array_equal(np.broadcast_to(value, (3, 3)), direct(values))
    if letters(word):
        assert evaluate(trace(word), values) == np.trace(direct(values))


@steady
@given(squares(), squares(), squares())
def test_algebra_laws(a, b, c):
    (a, _), (b, _), (c, _) = a, b, c
    assert (a * b) * c == a * (b * c)
    assert a * (b + c) == a * b + a * c
    assert (a * b).T == b.T * a.T
    assert a.T.T == a
    assert trace(a * b * c) == trace(b * c * a) == trace((a * b * c).T)


@steady
@given(squares(), integers(2, 2), integers(2, 2), integers(2, 2), integers(2, 2))
def test_differential_is_the_derivative_of_the_polynomial(pair, x, y, z, direction):
    """f(x + h v) is a polynomial of degree <= 8 in h: its exact slope at 0 from integer interpolation."""
    word, direct = pair
    dx = Letter("dX", "n", "n")
    at = [direct({X: x + h * direction, Y: y, Z: z}).ravel() for h in range(-4, 5)]
    weights = [Rational(w) for w in "1/280 -4/105 1/5 -4/5 0 4/5 -1/5 4/105 -1/280".split()]
    slope = [sum(w * int(entry) for w, entry in zip(weights, column, strict=True)) for column in zip(*at, strict=True)]
    change = differential(word, {X: dx})
    value = evaluate(change, {X: x, Y: y, Z: z, dx: direction, "n": 2})
    assert [Rational(int(v)) for v in value.ravel()] == slope


def test_gradient_of_the_quadratic_loss_of_one_layer():
    a, w, b = Letter("A", "n_d", "n"), Letter("w", "n", "m"), Letter("B", "m", "n_0")
    teacher = Letter("W", "n_d", "n_0")
    error = a * w * b - teacher
    loss = trace(error * error.T) / 2
    assert gradient(loss, w) == a.T * error * b.T
    assert gradient(loss, w) != a.T * error * b.T * 2


def test_gradient_defines_the_differential():
    direction = Letter("dX", "n", "n")
    formula = trace(X * Y * X.T * Z) + trace(X * X) * Symbol("c") + 5
    left = differential(formula, {X: direction})
    assert left == trace(gradient(formula, X).T * direction)
    assert left != trace(gradient(formula, X) * direction)


def test_gradient_in_a_symmetric_letter_is_symmetric():
    value = gradient(trace(S * X), S)
    assert value == (X + X.T) / 2


def test_balance_is_conserved_for_all_sizes_and_the_wrong_sign_is_refuted():
    a, w2, w1, b = (
        Letter("A", "n_d", "n"),
        Letter("w2", "n", "m"),
        Letter("w1", "m", "k"),
        Letter("B", "k", "n_0"),
    )
    g = Letter("G", "n_d", "n_0")
    loss = trace(g.T * a * w2 * w1 * b)
    d2, d1 = -gradient(loss, w2), -gradient(loss, w1)
    assert vanishes(w2.T * d2 + d2.T * w2 - d1 * w1.T - w1 * d1.T).proved
    wrong = w2.T * d2 + d2.T * w2 + d1 * w1.T + w1 * d1.T
    decision = vanishes(wrong)
    assert decision.refuted
    assert decision.witness is not None
    assert len({decision.witness[size] for size in ("n", "m", "k", "n_0", "n_d")}) == 5


def test_witness_is_true():
    """The matrices of a witness, put into the expression by NumPy, give a value that is not zero."""
    formula = A * B * C * X - X * A * B * C * 2
    witness = vanishes(formula).witness
    assert witness is not None
    values = {name: np.array(literal_eval(witness[name])) for name in "ABCX"}
    direct = values["A"] @ values["B"] @ values["C"] @ values["X"]
    other = values["X"] @ values["A"] @ values["B"] @ values["C"]
    assert (direct - 2 * other).ravel()[np.flatnonzero(direct - 2 * other)[0]] == int(witness["value"])


@pytest.mark.parametrize(
    "wrong",
    [
        X * Y - Y * X,
        (X * Y).T - X.T * Y.T,
        X * X.T - X.T * X,
        A * A.T - S,
        X * 2 - X * Rational(3, 2),
        trace(X * Y * Z) - trace(X * Z * Y),
        trace(identity("n")) - 1 + trace(X) * 0,
        trace(X * X) - trace(X * X.T),
    ],
    ids=str,
)
def test_wrong_identities_are_refuted(wrong):
    assert vanishes(wrong).refuted


@pytest.mark.parametrize(
    "true",
    [
        S - S.T,
        trace(X * Y * Z) - trace(Z.T * Y.T * X.T),
        trace(identity("n")) - Symbol("n", integer=True, positive=True),
        X * Symbol("a") * Symbol("b") - X * (Symbol("a") + 1) * Symbol("b") + X * Symbol("b"),
        (X + Y) ** 2 - X**2 - X * Y - Y * X - Y**2,
        X / (Symbol("a") * (Symbol("a") + 1)) - X / Symbol("a") + X / (Symbol("a") + 1),
    ],
    ids=str,
)
def test_true_identities_are_proved(true):
    assert vanishes(true).proved


def test_orthogonality_and_its_transpose_across_the_seam_of_a_trace():
    q = Letter("Q", "n", "n")
    rules = [rule(q.T * q, 1), rule(q * q.T, 1)]
    assert normal(q.T * X * q * q.T * Y * q, rules) == q.T * X * Y * q
    assert normal(trace(q.T * X * q), rules) == trace(X)
    assert normal(trace(q.T * q), rules) == trace(identity("n"))
    assert vanishes(trace(q.T * X * q) - trace(X), rules).proved


def test_rules_apply_transposed():
    plus = Letter("P", "m", "n")
    rules = [rule(A * plus * A, A)]
    assert normal(A.T * plus.T * A.T, rules) == A.T * identity("n")


def test_commutation_orders_words_and_does_not_loop():
    d, e = Letter("D", "n", "n", symmetric=True), Letter("E", "n", "n", symmetric=True)
    rules = [rule(e * d, d * e)]
    assert normal(e * d * e * d, rules) == d * d * e * e
    assert normal(trace(d * e * d * e), rules) == normal(trace(d * d * e * e), rules)
    assert vanishes(trace(d * e * d * e) - trace(d * d * e * e), rules).proved
    assert not vanishes(trace(d * e * d * e) - trace(d * d * e * e)).proved


def test_definition_of_a_letter_in_a_trace():
    k = Letter("K", "n", "n", symmetric=True)
    assert normal(trace(k * X), [rule(k, A * A.T)]) == trace(A * A.T * X)


def test_loops_are_named():
    rules = [rule(X, Y), rule(Y, X)]
    with pytest.raises(ValueError, match="loop"):
        normal(X * Z, rules)
    with pytest.raises(ValueError, match="loop"):
        normal(trace(X * Z), rules)
    with pytest.raises(ValueError, match="loop"):
        normal(X * 1, [rule(X, X * X)])


def rotation(generator):
    """Exact rotations: the Cayley transform of a random rational skew matrix."""
    s = Rational(generator.randint(1, 5), generator.randint(1, 5))
    c, d = (1 - s**2) / (1 + s**2), 2 * s / (1 + s**2)
    return {Letter("Q", "n", "n"): [[c, -d], [d, c]], X: [[1, 2], [3, generator.randint(5, 9)]]}


def test_models_supply_witnesses_and_are_checked():
    q = Letter("Q", "n", "n")
    rules = [rule(q.T * q, 1), rule(q * q.T, 1)]
    wrong = q.T * X * q - X
    assert vanishes(wrong, rules).outcome == "undecided"
    assert vanishes(wrong, rules, rotation).refuted
    assert vanishes(trace(q.T * X * q) - trace(X), rules, rotation).proved
    with pytest.raises(ValueError, match="does not satisfy the rule"):
        vanishes(wrong, rules, lambda generator: {q: [[1, 1], [0, 1]], X: [[1, 2], [3, 4]]})
    with pytest.raises(ValueError, match="no matrix for X"):
        vanishes(wrong, rules, lambda generator: {q: [[0, 1], [1, 0]]})
    with pytest.raises(ValueError, match="exact numbers"):
        vanishes(wrong, rules, lambda generator: {q: [[0.0, 1.0], [1.0, 0.0]], X: [[1, 2], [3, 4]]})


def test_undecided_when_the_model_is_blind():
    """A model with commuting matrices cannot separate X Y from Y X."""
    blind = vanishes(X * Y - Y * X, [rule(Z * Z, 1)], lambda g: {X: [[2]], Y: [[g.randint(1, 9)]], Z: [[1]]})
    assert blind.outcome == "undecided"


def test_substitution():
    assert substitute(X * Y.T, {X: A * A.T, Y: X}) == A * A.T * X.T
    assert substitute(trace(X * Y) + 3, {X: Y, Y: X}) == trace(X * Y) + 3
    assert substitute(X + identity("n"), {X: identity("n")}) == identity("n") * 2
    with pytest.raises(ValueError, match="A: an image of shape"):
        substitute(A * B, {A: B})
    with pytest.raises(ValueError, match="not symmetric"):
        substitute(S * X, {S: X * Y})


def test_typed_sizes():
    with pytest.raises(ValueError, match=r"product: shapes n x m and n x m do not fit in \(A\) \* \(A\)"):
        A * A
    with pytest.raises(ValueError, match="sum: shapes"):
        A + B
    with pytest.raises(ValueError, match="trace: shape n x m"):
        trace(A)
    with pytest.raises(ValueError, match="symmetric letter"):
        Letter("R", "n", "m", symmetric=True)
    with pytest.raises(ValueError, match="floating-point|float|allowed"):
        A * 0.5
    with pytest.raises(ValueError, match="single non-empty word"):
        rule(A + A * 2 - A * 3, zeros("n", "m"))
    with pytest.raises(ValueError, match="the shape"):
        rule(A * B, A)


def test_scalars_from_both_sides_and_sum():
    c = Symbol("c")
    assert c * A == A * c and 2 * A == A + A and (A / 2) * 2 == A * 1
    assert Rational(1, 2) * trace(X) + trace(X) / 2 == trace(X)
    assert sum([A, A]) == 2 * A
    assert A - A == zeros("n", "m") and X**0 == identity("n")


def test_evaluate_broadcasts_batches_and_scalars():
    generator = np.random.default_rng(3)
    w, x = generator.normal(size=(5, 1, 2, 3)), generator.normal(size=(4, 3, 2))
    left, right = Letter("L", "n", "m"), Letter("R", "m", "n")
    eta = Symbol("eta")
    rate = generator.normal(size=(5, 1))
    value = evaluate(eta * left * right + identity("n"), {"L": w, right: x, eta: rate})
    assert value.shape == (5, 4, 2, 2)
    assert np.allclose(value, rate[..., None, None] * (w @ x) + np.eye(2), rtol=1e-15, atol=1e-15)
    traces = evaluate(trace(left * right) * 2, {left: w, right: x})
    assert np.allclose(traces, 2 * np.einsum("abij,bji->ab", w, x), rtol=1e-14, atol=1e-14)


def test_evaluate_names_what_is_missing():
    with pytest.raises(ValueError, match="no value for the letter B"):
        evaluate(A * B, {"A": np.eye(2)})
    with pytest.raises(ValueError, match="but m = 2"):
        evaluate(A * B, {"A": np.eye(2), "B": np.eye(3)})
    with pytest.raises(ValueError, match="no value for c"):
        evaluate(A * Symbol("c"), {"A": np.eye(2)})


def test_layer_sum():
    w = Letter("w", "n", "m")
    energy = layer_sum(trace(w * w.T))
    layers = [{"w": np.full((2, 3), 1.0)}, {"w": np.full((4, 2), 2.0)}]
    assert evaluate(energy, layers) == 6 + 32
    with pytest.raises(ValueError, match="one mapping per layer"):
        evaluate(energy, layers[0])


def test_letters_and_hashing():
    assert letters(trace(A * B * C) + trace(X)) == {A, B, C, X}
    assert len({X * Y, X * Y * 1, Y * X}) == 2
    n, m = symbols("n m", integer=True, positive=True)
    assert Letter("A", n, m) == A and Letter("A", "n", "n") != A

"""LaTeX of formulas: the papers' look, safe in GitHub's math fences."""

import re

import pytest
import sympy as sp
from sympy import Abs, Eq, Function, Rational, Symbol

from derivations import notation
from derivations.notation import ETA, J_I, NORM_J, SIGMA_DELTA, SIGMA_I_DOT, SIGMA_STAR, SYMBOLS, Q
from derivations.printing import latex
from derivations.words import Letter, identity, layer_sum, trace

W = Letter("w", "n", "m", latex="w_i")
HAT = Letter("wh", "n", "m", latex="w^*")
RATE = -ETA * sp.sign(J_I) * Abs(J_I) ** (1 - 2 / Q) * SIGMA_DELTA / NORM_J

EVERYTHING = [
    *SYMBOLS.values(),
    RATE,
    Abs(J_I) ** 2,
    Eq(SIGMA_I_DOT, RATE),
    sp.erf(ETA) + sp.asinh(ETA) + sp.Max(ETA, Q) + Function("foo")(ETA),
    sp.Matrix([[ETA, Abs(J_I)]]),
    sp.Piecewise((ETA, ETA > 1), (Q, True)),
    sp.Determinant(sp.MatrixSymbol("A", 2, 2)),
    W * W.T - identity("n") * RATE,
    trace(W * W.T) / 2 - 1,
    layer_sum(W * W.T + identity("n")),
    (ETA, W * W.T),
    {SIGMA_I_DOT: RATE},
    [Rational(1, 2), 3],
    HAT.T * HAT,
]


@pytest.mark.parametrize("entry", EVERYTHING, ids=str)
def test_everything_is_safe_for_github(entry):
    text = latex(entry)
    assert text and r"\operatorname" not in text and "|" not in text
    assert text.count("{") == text.count("}")
    assert len(re.findall(r"\\left\b", text)) == len(re.findall(r"\\right\b", text))


def test_names_read_like_the_papers():
    assert latex(SIGMA_I_DOT) == r"\dot{\sigma}_{i}"
    assert latex(SIGMA_STAR) == r"\sigma^{*}"
    assert latex(SIGMA_DELTA) == r"\sigma_{\Delta}"
    assert latex(NORM_J) == r"\left\lVert{j}\right\rVert"
    assert latex(notation.ETA_TILDE) == r"\tilde{\eta}"


def test_words():
    assert latex(W.T * W) == r"w_i^{\mathsf{T}} w_i"
    assert latex(HAT.T) == r"{w^*}^{\mathsf{T}}"
    assert latex(W * ETA - W * 2) == r"\left(\eta - 2\right) w_i"
    assert latex(identity("n") - W * W.T) == r"I - w_i w_i^{\mathsf{T}}"
    assert latex(trace(W * W.T) / 2) == r"\frac{1}{2} \mathrm{tr}\left(w_i w_i^{\mathsf{T}}\right)"
    assert latex(W - W) == "0"
    assert latex(layer_sum(W * 2)) == r"\sum_i 2 w_i"
    assert latex(layer_sum(trace(W * W.T) + 1)).startswith(r"\sum_i \left(")


def test_containers():
    assert latex((ETA, Q)) == r"\left(\eta,\; q\right)"
    assert latex({ETA: 2}) == r"\eta = 2"
    assert latex("already text") == "already text"
    with pytest.raises(ValueError, match="obj: object given"):
        latex(object())


def test_notation_has_one_symbol_per_name():
    names = [str(symbol) for symbol in SYMBOLS.values()]
    assert len(set(names)) == len(names)
    assert notation.symbols_of(RATE) == (ETA, Q, SIGMA_DELTA, J_I, NORM_J)
    assert notation.symbol("ETA") is ETA
    assert Symbol("eta") != ETA
    with pytest.raises(ValueError, match="name: 'eta' given"):
        notation.symbol("eta")

"""Typed matrix words with symbolic sizes: the matrix identities of both papers in all dimensions at once.

>>> w, x = Letter("w", "n", "m"), Letter("x", "m", "k")
>>> (w * x).T == x.T * w.T
True
>>> trace(w * w.T) == trace(w.T * w)
True
>>> gradient(trace(w.T * w), w) == 2 * w
True
"""

from derivations.differentials import differential, gradient, substitute
from derivations.rewriting import Rule, normal, rule
from derivations.vanishing import vanishes
from derivations.word_algebra import Expression, Letter, Trace, expression, identity, letters, trace, zeros
from derivations.word_values import LayerSum, evaluate, layer_sum

__all__ = [
    "Expression",
    "LayerSum",
    "Letter",
    "Rule",
    "Trace",
    "differential",
    "evaluate",
    "expression",
    "gradient",
    "identity",
    "layer_sum",
    "letters",
    "normal",
    "rule",
    "substitute",
    "trace",
    "vanishes",
    "zeros",
]

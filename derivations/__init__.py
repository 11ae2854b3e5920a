"""What the theory says: symbolic derivations of both papers, SymPy in and SymPy out.

>>> from derivations import Letter, trace, zero
>>> w = Letter("w", "n", "m")
>>> trace(w * w.T) == trace(w.T * w)
True
"""

from derivations.code import evaluate, function, rounding_of, value
from derivations.decide import Decision, Step, all_of, enclosed, equal, nonnegative, positive, step, zero
from derivations.printing import latex
from derivations.words import Letter, gradient, identity, trace, vanishes

__all__ = [
    "Decision",
    "Letter",
    "Step",
    "all_of",
    "enclosed",
    "equal",
    "evaluate",
    "function",
    "gradient",
    "identity",
    "latex",
    "nonnegative",
    "positive",
    "rounding_of",
    "step",
    "trace",
    "value",
    "vanishes",
    "zero",
]

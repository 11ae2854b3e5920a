"""Undefined functions, their derivatives and indexed entries as independent numbers at a general point."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

from sympy import Derivative, Dummy, Expr, Indexed, Symbol
from sympy.concrete.expr_with_limits import ExprWithLimits
from sympy.core.function import AppliedUndef

from derivations.witness import nonzero_at


def free_values(expr: Expr) -> dict[Expr, Symbol]:
    """A real symbol for every f(x), f'(x) and s[i] that occurs, except under sums over its argument.

    Some smooth function takes any finitely many values and derivatives at different points, so these numbers
    are independent where `separated` holds.
    """
    bound = {s for node in expr.atoms(ExprWithLimits) for s in node.variables}
    found = [f for f in expr.atoms(AppliedUndef, Derivative, Indexed) if not f.free_symbols & bound]
    plain = [f for f in found if not isinstance(f, Derivative) or _is_plain(f)]
    ordered = sorted(plain, key=lambda f: (not isinstance(f, Derivative), -f.count_ops(), str(f)))
    return {f: Dummy(f"value_{k}", real=True, positive=f.is_positive) for k, f in enumerate(ordered)}


def separated(functions: Mapping[Expr, Symbol], point: Mapping[Symbol, Expr]) -> bool:
    """True when no two values of one function are taken at arguments that may coincide."""
    groups: dict[object, set[tuple[Expr, ...]]] = {}
    for f in functions:
        place = f.expr if isinstance(f, Derivative) else f
        head = place.base if isinstance(place, Indexed) else place.func
        arguments = place.indices if isinstance(place, Indexed) else place.args
        groups.setdefault(head, set()).add(tuple(a.xreplace(dict(functions)) for a in arguments))
    pairs = [pair for group in groups.values() for pair in combinations(sorted(group, key=str), 2)]
    return all(any(nonzero_at(a - b, point) for a, b in zip(*pair, strict=True)) for pair in pairs)


def _is_plain(derivative: Derivative) -> bool:
    """f(x, y, ...) differentiated in its own symbolic arguments."""
    inner = derivative.expr
    return isinstance(inner, AppliedUndef) and all(a.is_Symbol for a in inner.args)

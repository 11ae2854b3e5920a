r"""How large the null space of the Hessian+ is, and how much of it the symmetries reach, for any widths and ranks.

Everything is said in the ranks r_{ab} = rank(w_b ... w_{a+1}) of the partial products, with r_{aa} = n_a. Invertible
changes of all bases, which alter no rank, split the layers w_1, ..., w_d into chains (Gabriel's theorem for a linear
quiver): chain [a, b] carries one direction from layer a to layer b unchanged, starts at a and is annihilated after b.
Then r_{ab} counts the chains that contain [a, b], and every dimension is a sum over pairs of chains of tiny 0/1 ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import combinations_with_replacement, permutations, product
from math import factorial

from flint import fmpz_mat
from sympy import Add, Expr, IndexedBase, Integer, Max, Poly, Sum, Symbol, symbols

from derivations.decide import Decision, all_of, zero
from derivations.notation import DEPTH

RANK = IndexedBase("r")
INDEX, _A, _E = symbols("i a e", integer=True)
Chain = tuple[int, int]


def parameters() -> Expr:
    """P = sum over layers of n_i n_{i-1}."""
    return Sum(RANK[INDEX, INDEX] * RANK[INDEX - 1, INDEX - 1], (INDEX, 1, DEPTH))


def jacobian_rank() -> Expr:
    """rank J = r_{1d} n_0 + sum_{i=2}^d (r_{id} - r_{i-1,d}) r_{0,i-1}: the area of a staircase.

    The images of A_1, ..., A_d grow and the row spaces of B_1, ..., B_d shrink, so in bases adapted to both flags the
    matrices A_i X B_i fill rectangles that overlap in a staircase.

    >>> at_depth(jacobian_rank(), 2)
    r[0, 0]*r[1, 2] - r[0, 1]*r[1, 2] + r[0, 1]*r[2, 2]
    """
    steps = (RANK[INDEX, DEPTH] - RANK[INDEX - 1, DEPTH]) * RANK[0, INDEX - 1]
    return RANK[1, DEPTH] * RANK[0, 0] + Sum(steps, (INDEX, 2, DEPTH))


def separate_ranks() -> Expr:
    """sum over layers of rank(A_i) rank(B_i): the blocks J_i counted as if their images were independent."""
    return Sum(RANK[INDEX, DEPTH] * RANK[0, INDEX - 1], (INDEX, 1, DEPTH))


def null_dimension() -> Expr:
    """dim ker H_+ = P - rank J, for any positive definite covariance."""
    return parameters() - jacobian_rank()


def stabiliser_dimension() -> Expr:
    """sum over 1 <= a <= e < d of (r_{ae} - r_{a-1,e}) (r_{ae} - r_{a,e+1}): generators that move no weight.

    Such a generator sends chains that start at a to chains that end at e; for d = 2 it gives (n_1 - r_1)(n_1 - r_2).
    """
    starting, ending = RANK[_A, _E] - RANK[_A - 1, _E], RANK[_A, _E] - RANK[_A, _E + 1]
    return Sum(starting * ending, (_E, _A, DEPTH - 1), (_A, 1, DEPTH - 1))


def orbit_dimension() -> Expr:
    """dim of all moves m_i w_i - w_i m_{i-1}: sum of n_h^2 over hidden layers, less the stabiliser."""
    return Sum(RANK[INDEX, INDEX] ** 2, (INDEX, 1, DEPTH - 1)) - stabiliser_dimension()


def equation_counts() -> dict[str, Expr]:
    """Independent equations on velocities, where every generator moves a weight: n_h^2 and n_h (n_h + 1) / 2 per layer.

    >>> at_ranks(equation_counts()["conserved balances"], ((2, 2, 2), (0, 3, 2), (0, 0, 2)))
    6
    """
    width = RANK[INDEX, INDEX]
    return {
        "orthogonal to all moves": Sum(width**2, (INDEX, 1, DEPTH - 1)),
        "conserved balances": Sum(width * (width + 1) / 2, (INDEX, 1, DEPTH - 1)),
    }


def generic_gap() -> Expr:
    """dim ker H_+ - dim orbit where all partial products have the largest ranks: drops of r_{0.} and r_{.d}, in pairs.

    r_{0b} is then the smallest of the widths 0..b. The gap is zero iff this running minimum, read from either end up to
    the last hidden layer, drops at most once.
    """
    left = (RANK[0, _A] - RANK[0, _A + 1]) * (RANK[0, _E] - RANK[0, _E + 1])
    right = (RANK[_A, DEPTH] - RANK[_A - 1, DEPTH]) * (RANK[_E, DEPTH] - RANK[_E - 1, DEPTH])
    return Sum(left, (_E, _A + 1, DEPTH - 1), (_A, 0, DEPTH - 2)) + Sum(right, (_E, _A + 1, DEPTH), (_A, 1, DEPTH - 1))


def monotone_gap() -> Expr:
    """(n_{h-1} - n_h)(n_h - n_{h+1}) where positive: right for two layers, but blind to two drops further apart."""
    below, here, above = (RANK[k, k] for k in (INDEX - 1, INDEX, INDEX + 1))
    return Sum(Max(0, (below - here) * (here - above)), (INDEX, 1, DEPTH - 1))


@lru_cache(maxsize=1024)
def at_depth(formula: Expr, depth: int) -> Expr:
    """The polynomial in the ranks r[a, b] that a formula is at a given depth."""
    return _written_out(formula.subs(DEPTH, depth)).expand()


def _written_out(expr: Expr) -> Expr:
    """Sums with integer limits term by term, the outermost first; SymPy keeps limits that depend on another index."""
    if isinstance(expr, Sum):
        *inner, (index, low, high) = expr.limits
        summand = Sum(expr.function, *inner) if inner else expr.function
        return Add(*[_written_out(summand.subs(index, k)) for k in range(int(low), int(high) + 1)])
    return expr.func(*map(_written_out, expr.args)) if expr.has(Sum) else expr


def at_ranks(formula: Expr, table: Sequence[Sequence[int]]) -> int | Expr:
    """The number that a formula gives for a table of ranks r[a][b]; an expression only where it is no integer.

    >>> at_ranks(null_dimension(), ((3, 2, 1), (0, 2, 1), (0, 0, 1)))
    5
    """
    depth = len(table) - 1
    values = {RANK[a, b]: Integer(table[a][b]) for a in range(depth + 1) for b in range(a, depth + 1)}
    found = at_depth(formula, depth).xreplace(values)
    return int(found) if found.is_Integer else found


def chains(depth: int) -> list[Chain]:
    """All intervals [a, b] of 0..d."""
    return list(combinations_with_replacement(range(depth + 1), 2))


def _arrows(source: Chain, target: Chain, depth: int) -> list[int]:
    """Layers i whose weights hold an entry from chain `source` (at i - 1) to chain `target` (at i)."""
    return [i for i in range(1, depth + 1) if source[0] < i <= source[1] + 1 and target[0] <= i <= target[1]]


def null_of_pair(source: Chain, target: Chain, depth: int) -> int:
    """Null directions among the entries from one chain to another: their number less the rank of J on them."""
    arrows = _arrows(source, target, depth)
    seen = source[0] == 0 and target[1] == depth
    return len(arrows) - (_rank([[1] * len(arrows)]) if seen else 0)


def orbit_of_pair(source: Chain, target: Chain, depth: int) -> int:
    """The rank of m -> m_i w_i - w_i m_{i-1} on the entries from one chain to another."""
    arrows = _arrows(source, target, depth)
    hidden = [h for h in range(1, depth) if source[0] <= h <= source[1] and target[0] <= h <= target[1]]
    # w_i is 1 along a chain: m_i w_i survives where the source lives at i - 1, w_i m_{i-1} where the target lives at i
    return _rank([[(h == i) - (h == i - 1) for h in hidden] for i in arrows])


def _rank(rows: list[list[int]]) -> int:
    return int(fmpz_mat(rows).rank()) if rows and rows[0] else 0


def counts_pairs(formula: Expr, count: Callable[[Chain, Chain, int], int], depth: int) -> Decision:
    """Whether a formula is the sum of `count` over all pairs of chains, for every multiplicity of every chain."""
    multiplicity = {c: Symbol(f"mu_{c[0]}{c[1]}", integer=True, nonnegative=True) for c in chains(depth)}
    counted = Add(*[count(i, j, depth) * m * n for (i, m), (j, n) in product(multiplicity.items(), repeat=2)])
    stated = at_depth(formula, depth).xreplace(_ranks_of(multiplicity, depth))
    return zero(Poly(stated - counted, *multiplicity.values()).as_expr())


def _ranks_of(multiplicity: Mapping[Chain, Expr], depth: int) -> dict[Expr, Expr]:
    return {
        RANK[a, b]: Add(*[m for (low, high), m in multiplicity.items() if low <= a and b <= high])
        for a, b in chains(depth)
    }


def counts_generic_gap(formula: Expr, depth: int) -> Decision:
    """Whether a formula is dim ker H_+ - dim orbit for every width profile with r_{ab} = min(n_a, ..., n_b).

    The widths run through all orders; within one order they are sums of non-negative steps, so both sides are
    polynomials in the steps.
    """
    exact, stated = (at_depth(f, depth) for f in (null_dimension() - orbit_dimension(), formula))
    steps = symbols(f"s_0:{depth + 1}", integer=True, nonnegative=True)
    for order in permutations(range(depth + 1)):
        widths = [1 + Add(*steps[: place + 1]) for place in order]
        smallest = {(a, b): widths[min(range(a, b + 1), key=lambda k: order[k])] for a, b in chains(depth)}
        values = {RANK[a, b]: value for (a, b), value in smallest.items()}
        difference = (exact - stated).xreplace(values).expand()
        if difference != 0:
            return zero(difference)
    return Decision("proved", f"polynomial identity in each of {factorial(depth + 1)} orders of the {depth + 1} widths")


def same_counts(formula: Expr, other: Expr) -> bool:
    """Whether two formulas are the same polynomial in the ranks at the depths 1..5."""
    return all(at_depth(formula, d) == at_depth(other, d) for d in range(1, 6))


def at_depths(decide: Callable[[int], Decision], largest: int) -> Decision:
    """The conjunction over d = 1..largest, up to the first depth that is not proved.

    >>> at_depths(lambda depth: counts_pairs(orbit_dimension(), orbit_of_pair, depth), 3).outcome
    'proved'
    """
    found = []
    for depth in range(1, largest + 1):
        found.append(decide(depth))
        if not found[-1].proved:
            return found[-1]
    return all_of(*found)

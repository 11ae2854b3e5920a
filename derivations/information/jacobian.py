r"""Jacobians of a perceptron from layer to layer, B section 2.1, for one representative layer of any depth and widths.

Columns are samples: h = W x + b and x' = phi(h) entry by entry; D is the diagonal matrix of the slopes phi'(h).
``B_l`` is the Jacobian of x^{l-1} with respect to the input, ``J_l`` that of the outputs h^g with respect to h^l.
"""

from __future__ import annotations

from sympy import Eq, Expr, Function, MatrixSymbol, Symbol, diff, kronecker_product

from derivations import words
from derivations.decide import Decision, all_of, equal, nonnegative, step, zero
from derivations.notation import N_0, M, N
from derivations.word_algebra import Expression, Letter

N_G = Symbol("N_g", integer=True, positive=True)
ABOVE = Symbol("k", integer=True, positive=True)
W = Letter("W", N, M, latex="W^l")
W_ABOVE = Letter("W_next", ABOVE, N, latex="W^{l+1}")
D = Letter("D", N, N, symmetric=True, latex="D^l")
D_BELOW = Letter("D_h", M, M, symmetric=True, latex="D^{l-1}")
D_ABOVE = Letter("D_n", ABOVE, ABOVE, symmetric=True, latex="D^{l+1}")
D_OF_X = Letter("D_x", N, N, symmetric=True, latex=r"\mathrm{diag}\,\phi'(x^l)")
B = Letter("B_l", M, N_0, latex=r"J^{x^{l-1}}_{x^0}")
J = Letter("J_l", N_G, N, latex="J_l")
J_ABOVE = Letter("J_n", N_G, ABOVE, latex="J_{l+1}")
X = Letter("x", M, 1, latex="x^{l-1}")
S_LEAST, S_MOST = Symbol("s_min", nonnegative=True), Symbol("s_max", nonnegative=True)
SIZE = Symbol("v", nonnegative=True)


def layer_products() -> dict[str, Expression]:
    r"""J^{x^l}_{x^0} = D^l W^l J^{x^{l-1}}_{x^0} and J_l = J_{l+1} W^{l+1} D^l (B eq. 2 and section 3).

    >>> print(layer_products()["inputs"], "and", layer_products()["pre-activations"])
    D*W*B_l and J_n*W_next*D
    """
    return {"inputs": D * W * B, "pre-activations": J_ABOVE * W_ABOVE * D}


def entry_of_a_layer() -> Decision:
    """d x'_i / d x_j = phi'(h_i) W_ij: the sum over the inputs is W_ij x_j plus terms without x_j.

    >>> entry_of_a_layer().outcome
    'proved'
    """
    weight, x, rest, h = (Symbol(name, real=True) for name in ("W_ij", "x_j", "r", "h_i"))
    phi = Function("phi", real=True)
    slope = diff(phi(h), h).subs(h, weight * x + rest)
    found = diff(phi(weight * x + rest), x).doit()
    return equal(found.subs(rest, h - weight * x).doit(), slope.subs(rest, h - weight * x).doit() * weight)


def are_layer_products(formula: dict[str, Expression]) -> Decision:
    """Whether both recursions are the chain rule, for a change of the input and one of the pre-activations."""
    change, below = Letter("dx_0", N_0, 1, latex=r"\delta x^0"), Letter("dx", M, 1, latex=r"\delta x^{l-1}")
    pushed = words.substitute(D * words.differential(W * X, {X: words.expression(below)}), {below: B * change})
    nudge, after = Letter("dh", N, 1, latex=r"\delta h^l"), Letter("x_l", N, 1, latex="x^l")
    lifted = words.differential(W_ABOVE * after, {after: D * nudge})
    return all_of(
        entry_of_a_layer(),
        words.vanishes(formula["inputs"] * change - pushed),
        words.vanishes(formula["pre-activations"] * nudge - J_ABOVE * lifted),
    ).explain(
        step("An entry of a layer's output moves with one of its inputs by slope times weight:", D * W),
        step("A change of the input arrives at the layer below by the Jacobian so far, and leaves as", pushed),
        step("A change of the pre-activations of a layer moves those of the next one by", lifted),
        step("and the outputs by", J_ABOVE * lifted),
    )


def parameter_blocks() -> dict[str, Expression]:
    r"""J_{vec W^l} = (x^{l-1})^T kron J_l and J_{b^l} = J_l, vec by columns (B eqs. 9, 10 and text).

    >>> print(parameter_blocks()["weights, left factor"])
    x.T
    """
    return {"weights, left factor": X.T, "weights, right factor": words.expression(J), "bias": words.expression(J)}


def stacks_columns(rows: int = 2, inner: int = 2, outer: int = 3, cols: int = 2) -> Decision:
    """(C kron A) vec V = vec(A V C^T) with columns stacked, entry by entry for free symbols.

    >>> stacks_columns().outcome
    'proved'
    """
    a, v, c = (
        MatrixSymbol(name, *shape).as_explicit()
        for name, shape in (("A", (rows, inner)), ("V", (inner, outer)), ("C", (cols, outer)))
    )
    return zero(kronecker_product(c, a) * v.vec() - (a * v * c.T).vec())


def are_parameter_blocks(formula: dict[str, Expression]) -> Decision:
    """Whether the blocks move the outputs as the chain rule does when weights and biases of one layer move."""
    move = Letter("V", N, M, latex=r"\delta W^l")
    shift, bias = Letter("c", N, 1, latex=r"\delta b^l"), Letter("b", N, 1, latex="b^l")
    moved = J * words.differential(W * X + bias, {W: words.expression(move), bias: words.expression(shift)})
    inputs, outputs = formula["weights, left factor"], formula["weights, right factor"]
    felt = outputs * move * inputs.T + formula["bias"] * shift
    return all_of(stacks_columns(), words.vanishes(moved - felt)).explain(
        step("The outputs move with weights and biases of one layer by", moved),
        step("Stacking columns turns a product around the weights into a Kronecker product:", _stacked()),
        step("so the weights have the block with these factors, and the biases their own:", formula),
    )


def _stacked() -> str:
    return r"\mathrm{vec}(A V C^{\mathsf T}) = (C \otimes A)\, \mathrm{vec}\, V"


def gradient_range() -> dict[str, Expr]:
    r"""The extremes of \lVert J_l^T v \rVert over all v of one length: s_min and s_max times it (B section 2.1).

    >>> gradient_range()["largest"]
    s_max*v
    """
    return {"least": S_LEAST * SIZE, "largest": S_MOST * SIZE}


def is_gradient_range(formula: dict[str, Expr]) -> Decision:
    """Whether the range is attained by singular vectors and exceeded by none, from one singular value for all."""
    part, value = Symbol("c_k", real=True), Symbol("s_k", nonnegative=True)
    above, below = Symbol("a", nonnegative=True), Symbol("b", nonnegative=True)
    term = value**2 * part**2
    middle = term.subs(value, S_LEAST + above)
    inside = all_of(
        nonnegative((term.subs(value, S_LEAST + above + below) - middle).expand()),
        nonnegative((middle - term.subs(value, S_LEAST)).expand()),
    )
    ends = {"least": S_LEAST, "largest": S_MOST}
    attained = all_of(
        *(nonnegative(formula[name]) for name in ends),
        *(equal(formula[name] ** 2, term.subs({value: end, part: SIZE})) for name, end in ends.items()),
    )
    total = Symbol("g", nonnegative=True)
    return all_of(inside, attained).explain(
        step("In the basis of singular vectors the squared gradient is the sum of", term),
        step(
            "Each term lies between its values at the extreme singular values, so the sum is at most",
            Eq(total**2, S_MOST**2 * SIZE**2),
        ),
        step("and equality holds for the extreme singular vectors themselves:", formula),
    )

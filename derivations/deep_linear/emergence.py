r"""How small weights become aligned: misalignment is fed by the conserved imbalance alone.

With P_k = w_k ... w_1 and G = w_1^T w_1 the defect D_k = w_k^T P_k - P_{k-1} G vanishes at k = 1 and obeys
D_{k+1} = w_k D_k - C_k P_k, C_k = w_k w_k^T - w_{k+1}^T w_{k+1}. Where C = 0 this gives W^T W = G^d: the first layer
has the right singular vectors of the map. C is quadratic in the weights and conserved, so what small weights of scale
alpha leave at the solution is of order alpha^2. Source: A section 3.1, "automatically satisfied".
"""

from __future__ import annotations

from sympy import Expr, Symbol

from derivations import words
from derivations.decide import Decision, all_of, equal, step
from derivations.notation import DEPTH, K_SIZE, N_0, M, N
from derivations.words import Expression, Letter

SCALE = Symbol("alpha", positive=True)
LAYER, ABOVE = Letter("w_k", N, M), Letter("w_next", K_SIZE, N, latex="w_{k+1}")
BEFORE, PREFIX = Letter("P_before", M, N_0, latex="P_{k-1}"), Letter("P_k", N, N_0)
GRAM = Letter("G", N_0, N_0, symmetric=True)
POWER = Letter("G_power", N_0, N_0, symmetric=True, latex="G^{k-1}")
TEACHER_GRAM = Letter("G_star", N_0, N_0, symmetric=True, latex="G^*")
FIRST = Letter("w_1", N, N_0)
DEFECT = Letter("Defect_k", M, N_0, latex="D_k")
BALANCE = Letter("C_k", N, N, symmetric=True)


def next_defect() -> Expression:
    r"""D_{k+1} = w_k D_k - C_k P_k: misalignment is handed on from layer to layer and fed by imbalance only.

    >>> str(next_defect())
    '(-1)*C_k*P_k + w_k*Defect_k'
    """
    return LAYER * DEFECT - BALANCE * PREFIX


def defect_recursion(formula: Expression) -> Decision:
    r"""Whether the formula gives D_{k+1} = w_{k+1}^T P_{k+1} - P_k G, all letters replaced by their definitions.

    >>> defect_recursion(next_defect()).outcome, defect_recursion(LAYER * DEFECT).outcome
    ('proved', 'refuted')
    """
    prefix = LAYER * BEFORE
    definitions = {
        PREFIX: prefix,
        DEFECT: LAYER.T * prefix - BEFORE * GRAM,
        BALANCE: LAYER * LAYER.T - ABOVE.T * ABOVE,
    }
    defined = ABOVE.T * ABOVE * prefix - prefix * GRAM
    return words.vanishes(defined - words.substitute(formula, definitions)).explain(
        step("By definition the next defect is", defined),
        step("Exchanging the inner products of the upper layer for those of the lower one costs", BALANCE * PREFIX),
        step("which leaves", {"D_{k+1}": next_defect()}),
    )


def balanced_root(exponent: Expr) -> Decision:
    r"""Whether W^T W = (w_1^T w_1)^exponent on balanced networks, for every depth, by induction over the layers.

    Balance makes every defect zero, w_k^T P_k = P_{k-1} G, so each layer adds one factor G.

    >>> balanced_root(DEPTH).outcome, balanced_root(DEPTH - 1).outcome
    ('proved', 'refuted')
    """
    hypothesis = (
        words.rule(ABOVE.T * ABOVE, LAYER * LAYER.T),
        words.rule(LAYER.T * LAYER * BEFORE, BEFORE * GRAM),
        words.rule(BEFORE.T * BEFORE, POWER),
        words.rule(GRAM * POWER, POWER * GRAM),
    )
    prefix = LAYER * BEFORE
    inherits = ABOVE.T * ABOVE * prefix - prefix * GRAM
    grows = prefix.T * ABOVE.T * ABOVE * prefix - prefix.T * prefix * GRAM
    return all_of(
        words.vanishes(inherits, hypothesis),
        words.vanishes(grows, hypothesis),
        equal(exponent.subs(DEPTH, 1), 1),
        equal(exponent.subs(DEPTH, DEPTH + 1), exponent + 1),
    ).explain(
        step(r"With one layer $`W^{\mathsf{T}} W`$ is the Gram matrix $`G`$ of the first layer itself: exponent 1."),
        step("Balance hands the relation of layer and map on:", {ABOVE.T * ABOVE * prefix: prefix * GRAM}),
        step("so every further layer multiplies the Gram matrix of the map by", GRAM),
        step("and the exponent at depth $`d`$ is", DEPTH),
    )  # fmt: skip


def scaled_commutator(factor: Expr) -> Decision:
    r"""Whether [(alpha w_1)^T (alpha w_1), G*] is alpha^2 factor [w_1^T w_1, G*]; the Gram matrix grows by alpha^2.

    factor = 1: the angles between singular vectors do not know the scale of the weights.

    >>> from sympy import Integer
    >>> scaled_commutator(Integer(1)).outcome, scaled_commutator(Integer(0)).outcome
    ('proved', 'refuted')
    """
    scaled, plain = SCALE * FIRST, words.expression(FIRST)
    grown = _commutator(scaled.T * scaled)
    return words.vanishes(grown - SCALE**2 * factor * _commutator(plain.T * plain)).explain(
        step("Misalignment is the commutator of the Gram matrices of layer and teacher:", _commutator(plain.T * plain)),
        step(r"Weights $`\alpha w`$ multiply it by", SCALE**2),
        step("which is also the growth of the Gram matrix. Relative to it the scale cancels."),
    )


def residual_order(exponent: Expr) -> Decision:
    r"""Whether the misalignment left at the solution is linear in C and C of weights alpha w is alpha^exponent C(w).

    W^T W - (W_{d-1}^T W_{d-1}) G = P^T D is linear in the defect, which is linear in C by the recursion; any rule
    that conserves C keeps its initial value. On bounded weights the commutator [G, G*] is then O(alpha^exponent).

    >>> from sympy import Integer
    >>> residual_order(Integer(2)).outcome, residual_order(Integer(1)).outcome
    ('proved', 'refuted')
    """
    prefix = LAYER * BEFORE
    defect = LAYER.T * prefix - BEFORE * GRAM
    linear = prefix.T * prefix - BEFORE.T * BEFORE * GRAM - BEFORE.T * defect
    balance = LAYER * LAYER.T - ABOVE.T * ABOVE
    layer, above = SCALE * LAYER, SCALE * ABOVE
    growth = layer * layer.T - above.T * above - SCALE**2 * balance
    return all_of(
        defect_recursion(next_defect()), words.vanishes(linear), words.vanishes(growth),
        equal(SCALE**exponent, SCALE**2),
    ).explain(
        step("The Gram matrix of the map grows by one factor $`G`$ a layer, up to a term linear in the defect:",
             {prefix.T * prefix: BEFORE.T * BEFORE * GRAM + BEFORE.T * DEFECT}),
        step("At the solution $`W = W^*`$ powers of $`G`$ drop out of $`[G, G^*]`$, which is linear in the $`C_k`$."),
        step(r"Every $`C_k`$ keeps its initial value, which for weights $`\alpha w`$ is that of $`w`$ times", SCALE**2),
    )  # fmt: skip


def _commutator(gram: Expression) -> Expression:
    return gram * TEACHER_GRAM - TEACHER_GRAM * gram

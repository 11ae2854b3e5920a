r"""Aligned networks: why shared singular vectors stay, and why small weights acquire them.

Layer i of an aligned network is w_i = Q_i D_i Q_h^T (h = i - 1) with orthogonal Q and rectangular-diagonal D_i; the
outermost bases Q_d and Q_0 are those of the teacher map, and commuting inputs have Sigma_x = Q_0 Lambda_x Q_0^T.
Products of rectangular-diagonal matrices are rectangular-diagonal, entry by entry: whatever is of the form
Q (product of D letters) Q'^T is again aligned, and its modes do not mix. Source: A section 3.1, footnote 2.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import reduce
from operator import mul
from typing import Any

from sympy import Expr, Matrix, Symbol, eye, zeros

from derivations import words
from derivations.decide import Decision, all_of, step
from derivations.notation import N_0, N_D, M, N
from derivations.words import Expression, Letter

Q_D, Q_I = Letter("Q_d", N_D, N_D), Letter("Q_i", N, N)
Q_H, Q_0 = Letter("Q_h", M, M, latex="Q_{i-1}"), Letter("Q_0", N_0, N_0)
D_A, D_I, D_B = Letter("D_A", N_D, N), Letter("D_i", N, M), Letter("D_B", M, N_0)
D_LAMBDA = Letter("D_Lambda", N_D, N_0, latex=r"D_\Lambda")
LAMBDA_INPUT = Letter("L_x", N_0, N_0, symmetric=True, latex=r"\Lambda_x")
MAP = Letter("E", N_D, N_0)
E_A, E_B = Letter("e_a", N_D, 1), Letter("e_b", N_0, 1)
ABOVE, BELOW = Symbol("alpha_ia", real=True), Symbol("beta_ib", real=True)

FRAME = tuple(rule for q in (Q_D, Q_I, Q_H, Q_0) for rule in (words.rule(q.T * q, 1), words.rule(q * q.T, 1)))


def aligned_layer() -> Expression:
    r"""w_i = Q_i D_i Q_{i-1}^T: a layer in the frame that it shares with its neighbours (A footnote 2).

    >>> str(aligned_layer())
    'Q_i*D_i*Q_h.T'
    """
    return Q_I * D_I * Q_H.T


def respelled(form: Expression, upper: Letter, values: Any, lower: Letter) -> Expression:
    """The form of one layer written between other bases and for other values; ValueError where sizes clash."""
    images: dict[Letter, Any] = {Q_I: upper, D_I: values, Q_H: lower}
    total = words.zeros(upper.rows, lower.rows)
    for coefficient, word in form.terms:
        factors = [words.expression(images[letter]) for letter, _ in word]
        turned = [f.T if flipped else f for f, (_, flipped) in zip(factors, word, strict=True)]
        total = total + coefficient * reduce(mul, turned)
    return total


def decouples(form: Expression) -> Decision:
    r"""The form of a layer is kept by every rule: products, gradient, kernel and layer curvature stay in it.

    Read for one representative layer, A_i = Q_d D_A Q_i^T and B_i = Q_{i-1} D_B Q_0^T, any depth and widths.

    >>> decouples(aligned_layer()).outcome, decouples(Q_I.T * D_I * Q_H.T).outcome
    ('proved', 'refuted')
    """
    layer = respelled(form, Q_I, D_I, Q_H)
    left, right = respelled(form, Q_D, D_A, Q_I), respelled(form, Q_H, D_B, Q_0)
    outer = respelled(form, Q_D, D_LAMBDA, Q_0)
    inputs = Q_0 * LAMBDA_INPUT * Q_0.T
    stays = {
        "A product of layers in the frame is in the frame:": (left * layer, Q_D, D_A * D_I, Q_H),
        "Commuting inputs keep the displacement in it:": (outer * inputs, Q_D, D_LAMBDA * LAMBDA_INPUT, Q_0),
        r"So is every update of the form $`A_i^{\mathsf{T}} \Lambda B_i^{\mathsf{T}}`$:": (
            left.T * outer * right.T, Q_I, D_A.T * D_LAMBDA * D_B.T, Q_H,
        ),
        r"The kernel $`J J^{\mathsf{T}}`$ maps the frame into itself, so every function of it does:": (
            left * left.T * outer * right.T * right, Q_D, D_A * D_A.T * D_LAMBDA * D_B.T * D_B, Q_0,
        ),
        "So does the curvature of a single layer, which the block-diagonal rules invert:": (
            left.T * left * layer * right * right.T, Q_I, D_A.T * D_A * D_I * D_B * D_B.T, Q_H,
        ),
    }  # fmt: skip
    found = []
    for text, (product, upper, values, lower) in stays.items():
        kept = respelled(form, upper, values, lower)
        found.append(words.vanishes(product - kept, FRAME, _frame_model).explain(step(text, kept)))
        if not found[-1].proved:
            break
    return all_of(*found).explain(
        step("Between the bases stand products of rectangular-diagonal matrices: entry $`a`$ meets entry $`a`$.")
    )


def kernel_eigenvalue() -> Expr:
    r"""One layer's share alpha_ia^2 beta_ib^2 in the eigenvalue of J J^T on u_a v_b^T of an aligned network.

    alpha_ia = prod_{k>i} sigma_ka and beta_ib = prod_{k<i} sigma_kb; for a = b the shares add up to ||j||^2.

    >>> kernel_eigenvalue()
    alpha_ia**2*beta_ib**2
    """
    return ABOVE**2 * BELOW**2


def kernel_term(share: Expr) -> Decision:
    r"""Whether A_i A_i^T X B_i^T B_i = share X on X = u_a v_b^T, the columns a of Q_d and b of Q_0.

    >>> kernel_term(kernel_eigenvalue()).outcome, kernel_term(ABOVE * BELOW).outcome
    ('proved', 'refuted')
    """
    left, right = respelled(aligned_layer(), Q_D, D_A, Q_I), respelled(aligned_layer(), Q_H, D_B, Q_0)
    pair = Q_D * E_A * E_B.T * Q_0.T
    rules = (*FRAME, words.rule(D_A * D_A.T * E_A, ABOVE**2 * E_A), words.rule(D_B.T * D_B * E_B, BELOW**2 * E_B))
    acted = left * left.T * pair * right.T * right
    return words.vanishes(acted - share * pair, rules, _spectrum_model).explain(
        step(r"In the frame one layer's term of $`J J^{\mathsf{T}}`$ is a product of diagonal matrices on either side:",
             Q_D * D_A * D_A.T * MAP * D_B.T * D_B * Q_0.T),
        step("On a pair of singular vectors it multiplies by", share),
        step(r"Summed over the layers, the pair $`a = b`$ has the eigenvalue $`\lVert j \rVert^2`$."),
    )  # fmt: skip


def _orthogonal(generator: random.Random, size: int) -> Matrix:
    """A rational orthogonal matrix that is not symmetric: two reflections after each other."""
    result = eye(size)
    for _ in range(2):
        v = Matrix([generator.randint(1, 4) * generator.choice((-1, 1)) for _ in range(size)])
        result = result * (eye(size) - 2 * v * v.T / (v.T * v)[0])
    return result


def _diagonal(generator: random.Random, rows: int, columns: int) -> Matrix:
    result = zeros(rows, columns)
    for k in range(min(rows, columns)):
        result[k, k] = generator.randint(1, 5)
    return result


def _frame_model(generator: random.Random) -> Mapping[Letter, Any]:
    """Exact aligned matrices of four different or equal sizes."""
    equal = generator.random() < 0.5
    sizes = {N_D: 3, N: 3, M: 3, N_0: 3} if equal else {N_D: 2, N: 3, M: 4, N_0: 5}
    bases = {q: _orthogonal(generator, sizes[q.rows]) for q in (Q_D, Q_I, Q_H, Q_0)}
    values = {d: _diagonal(generator, sizes[d.rows], sizes[d.cols]) for d in (D_A, D_I, D_B, D_LAMBDA, LAMBDA_INPUT)}
    return {**bases, **values}


def _spectrum_model(generator: random.Random) -> Mapping[Any, Any]:
    model = dict(_frame_model(generator))
    units = {letter: zeros(model[base].rows, 1) for letter, base in ((E_A, Q_D), (E_B, Q_0))}
    for unit in units.values():
        unit[0, 0] = 1
    return {**model, **units, ABOVE: model[D_A][0, 0], BELOW: model[D_B][0, 0]}

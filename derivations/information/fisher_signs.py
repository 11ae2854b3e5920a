r"""What random signs do to the Fisher matrix of a network with an odd activation, B section 3, Lemmas 1 to 3.

A flip of layer gamma turns the signs of W^gamma, of all biases from that layer on, and of the readout W^g.
"""

from __future__ import annotations

from sympy import Eq, Expr, KroneckerDelta, Piecewise, S, Symbol, symbols, true

from derivations import words
from derivations.decide import Decision, all_of, step, zero
from derivations.words import Letter

LAYER_A, LAYER_B, FLIPPED = symbols("alpha beta gamma", integer=True, positive=True)
OF_THE_MEAN = Symbol("lambda_mean", positive=True)


def flip_signs() -> dict[str, Expr]:
    """Signs of the rows of layer alpha of G when W^gamma, the biases from gamma on and W^g are flipped, phi odd.

    >>> flip_signs()["weights"].subs({LAYER_A: 2, FLIPPED: 2})
    -1
    """
    return {
        "weights": Piecewise((-1, Eq(LAYER_A, FLIPPED)), (1, true)),
        "biases": Piecewise((-1, FLIPPED <= LAYER_A), (1, true)),
    }


def _places() -> dict[str, Expr]:
    """The flipped layer, and any layer below and above it."""
    k = Symbol("k", integer=True, positive=True)
    return {"below": FLIPPED - k, "at": FLIPPED, "above": FLIPPED + k}


def are_flip_signs(formula: dict[str, Expr]) -> Decision:
    """Whether flipping by these signs leaves every output as it is, W^gamma being the only flipped weight below W^g."""
    found, seen = [], []
    for name, layer in _places().items():
        weights, biases = (formula[kind].subs(LAYER_A, layer) for kind in ("weights", "biases"))
        # an activation is flipped from layer gamma on: below it nothing is, above it the layer before is already
        before = S.NegativeOne if name == "above" else S.One
        after = S.One if name == "below" else S.NegativeOne
        found += [zero(weights * before - after), zero(biases - after)]
        seen.append((layer, weights, biases))
    return all_of(*found).explain(
        step("An odd activation passes a sign on. Flipped weights of one layer flip its pre-activations if its bias"),
        step("follows, and so all later ones; a flipped readout turns the outputs back. Layer, weights, bias:", seen),
        step("The model is the same at other parameters: its Fisher matrix changes sign by rows and columns."),
    )


def survivors() -> dict[str, Expr]:
    """Which blocks of G survive the average over all flips: equal layers, and weights with bias of layer 1 only.

    >>> survivors()["weights and biases"].subs({LAYER_A: 2, LAYER_B: 2})
    0
    """
    same = KroneckerDelta(LAYER_A, LAYER_B)
    first = same * KroneckerDelta(LAYER_A, 1)
    return {"weights": same, "biases": same, "weights and biases": first}


def are_survivors(formula: dict[str, Expr]) -> Decision:
    """Whether a block is kept exactly where no flip changes its sign: for equal, lower and higher second layers."""
    k = Symbol("k", integer=True, positive=True)
    signs = flip_signs()
    kinds = {"weights": ("weights",) * 2, "biases": ("biases",) * 2, "weights and biases": ("weights", "biases")}
    # pairs of layers with a flip that tells them apart, or none
    pairs = (
        ("weights", LAYER_A, LAYER_A + k, LAYER_A + k),
        ("weights", LAYER_B + k, LAYER_B, LAYER_B + k),
        ("biases", LAYER_A, LAYER_A + k, LAYER_A + k),
        ("biases", LAYER_B + k, LAYER_B, LAYER_B + k),
        ("weights and biases", LAYER_A, LAYER_A + k, LAYER_A + k),
        ("weights and biases", LAYER_B + k, LAYER_B, LAYER_B + k),
        ("weights and biases", 1 + k, 1 + k, S.One),
    )
    found = []
    for kind, a, b, flip in pairs:
        sides = zip(kinds[kind], (a, b), strict=True)
        one, two = (signs[name].subs({LAYER_A: layer, FLIPPED: flip}) for name, layer in sides)
        lost = zero(one * two + 1)
        found += [lost, zero(formula[kind].subs({LAYER_A: a, LAYER_B: b}, simultaneous=True))]
    for flip in (S.One, 1 + k):
        one, two = (signs[name].subs({LAYER_A: 1, FLIPPED: flip}) for name in ("weights", "biases"))
        found.append(zero(one - two))
    kept = (("weights", LAYER_A), ("biases", LAYER_A), ("weights and biases", S.One))
    found += [zero(formula[kind].subs({LAYER_A: a, LAYER_B: a}, simultaneous=True) - 1) for kind, a in kept]
    return all_of(*found).explain(
        step("Of two different layers, the flip of the upper one changes one sign only: weights", signs["weights"]),
        step("and biases", signs["biases"]),
        step("Weights and bias of one layer part by the flip of layer 1, unless they are of that layer."),
        step("A block is kept if no flip changes its sign, and averages to zero otherwise:", formula),
    )


def mean_eigenvalue() -> Expr:
    """A lower bound of E lambda_max(G): lambda_max(E G), reached by networks of one hidden layer (B lemma 3).

    >>> mean_eigenvalue()
    lambda_mean
    """
    return OF_THE_MEAN


def is_mean_eigenvalue(formula: Expr) -> Decision:
    """Whether a formula is the largest eigenvalue of the mean of two matrices, below the mean of their largest."""
    size = Symbol("P", integer=True, positive=True)
    one, two = (Letter(f"G_{k}", size, size, symmetric=True) for k in (1, 2))
    roots = [Letter(f"S_{k}", size, size) for k in (1, 2)]
    tops = [Symbol(f"lambda_{k}", positive=True) for k in (1, 2)]
    v = Letter("v", size, 1)
    pairs = zip((one, two), roots, tops, strict=True)
    below = [words.rule(g, top * words.identity(size) - root * root.T) for g, root, top in pairs]
    gap = (v.T * v) * (sum(tops) / 2) - words.normal(v.T * (one + two) * v / 2, below)
    squares = sum((((root.T * v).T * (root.T * v)) / 2 for root in roots), words.zeros(1, 1))
    return all_of(words.vanishes(gap - squares), zero(formula - OF_THE_MEAN)).explain(
        step("Each matrix lies below its largest eigenvalue by a square,", tuple(root * root.T for root in roots)),
        step(
            "so along any direction, also the best one for their mean, the mean of the eigenvalues has more by", squares
        ),
        step("Flipped networks have all the same eigenvalue, and their mean matrix has that of a block."),
    )

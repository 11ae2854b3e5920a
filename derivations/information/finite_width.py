r"""What mean-field theory says at finite width: moments of one layer, signs, and covariances between layers.

Pre-activations h^l are normal given the layer below for Gaussian weights; for orthogonal weights a coordinate is one
of a uniform point on a sphere. Source: B section 2.2 and Assumption 1.
"""

from __future__ import annotations

from itertools import product

from sympy import Expr, Integer, KroneckerDelta, Rational, Symbol, factorial2, gamma, gammasimp, rf, sympify

from derivations import words
from derivations.decide import Decision, all_of, equal, step
from derivations.information.critical_forms import SECOND_MOMENT
from derivations.notation import LAYER, WIDTH
from derivations.word_algebra import Expression, Letter

RELATIVE_VARIANCE = Symbol("v", positive=True)
MEAN = Symbol(r"{\mathbb{E}\,\phi}", real=True)
MEAN_A, MEAN_B = Symbol(r"{\mathbb{E}\,\phi_{\alpha}}", real=True), Symbol(r"{\mathbb{E}\,\phi_{\beta}}", real=True)
I_LAYER, J_LAYER, FLIPPED = (Symbol(name, integer=True, positive=True) for name in ("i", "j", "k"))
ONES = Letter("1", "N", 1, latex=r"\mathbf{1}")
ONES_A = Letter("1_a", "N_a", 1, latex=r"\mathbf{1}_{\alpha}")
ONES_B = Letter("1_b", "N_b", 1, latex=r"\mathbf{1}_{\beta}")
_DEEPEST = 6


def sphere_moment(k: int) -> Expr:
    r"""E u_1^{2k} for u uniform on the unit sphere in N dimensions: a moment of the Beta distribution (1/2, (N-1)/2).

    >>> sphere_moment(1)
    1/N
    """
    half = WIDTH / 2
    moment = gamma(Rational(1, 2) + k) * gamma(half) / (gamma(Rational(1, 2)) * gamma(half + k))
    return gammasimp(moment)


def sphere_kurtosis() -> Expr:
    r"""E h^4 / (E h^2)^2 = 3 N / (N + 2) of one pre-activation behind a uniform orthogonal matrix (B section 2.2)."""
    return 3 * WIDTH / (WIDTH + 2)


def is_sphere_kurtosis(formula: Expr) -> Decision:
    """Whether a formula is the ratio of the fourth to the squared second Beta moment; with all limits named."""
    second, fourth = sphere_moment(1), sphere_moment(2)
    # int t^{m-1/2} (1-t)^{(N-3)/2} dt by parts: each power of t brings the factor (m + 1/2) / (m + N/2)
    by_parts = rf(Rational(1, 2), 2) / (rf(WIDTH / 2, 1) * (WIDTH / 2 + 1))
    limits = [(sphere_moment(k) * WIDTH**k).limit(WIDTH, sympify("oo")) - factorial2(2 * k - 1) for k in (1, 2, 3)]
    return all_of(
        equal(formula, fourth / second**2), equal(fourth, by_parts), *(equal(one, 0) for one in limits)
    ).explain(
        step(
            "A row is a uniform unit vector; its squared coordinate has a Beta law. Second moment:",
            second,
        ),
        step("Fourth moment:", fourth),
        step("Scaled by $`N^k`$, moments of every order tend to those of a normal number, $`(2k-1)!!`$."),
    )


def gaussian_kurtosis() -> Expr:
    r"""E h^4 / (E h^2)^2 = 3 (1 + v / N)^{l-1} over networks, v the relative variance of a squared activation.

    Exact in every layer of linear networks without biases (v = 2), and in layer 2 for every activation, where v is
    the relative variance of sigma_w^2 phi(h^1)^2 + sigma_b^2. Elsewhere fluctuations of the length change v.
    """
    return 3 * (1 + RELATIVE_VARIANCE / WIDTH) ** (LAYER - 1)


def is_gaussian_kurtosis(formula: Expr) -> Decision:
    """Whether a formula gains, layer by layer, the mean square of a mean of N independent squares.

    Independence and the same v in each layer need linear networks; layer 2 needs neither.
    """
    # (1/N sum y)^2 for independent y of mean 1: N diagonal pairs with E y^2 = 1 + v, N (N - 1) others with 1
    factor = (WIDTH * (1 + RELATIVE_VARIANCE) + WIDTH * (WIDTH - 1)) / WIDTH**2
    following = formula.subs(LAYER, LAYER + 1)
    return all_of(equal(formula.subs(LAYER, 1), 3), equal(following, formula * factor)).explain(
        step("Given the layer below a pre-activation is normal: its fourth moment is 3 times its squared variance."),
        step("The variance is a mean over $`N`$ independent neurons; squaring it brings per layer the factor", factor),
    )


def flip_sign() -> Expr:
    r"""Sign of (J_{i+1} h^i)(J_{j+1} h^j)^T when W^k and all biases from layer k on change sign, phi odd.

    Layers from k on change sign, slopes do not; J_{i+1} holds the weights above layer i + 1. So J_{i+1} h^i changes
    sign unless k = i + 1 (B Assumption 1).

    >>> flip_sign().subs({I_LAYER: 1, J_LAYER: 3, FLIPPED: 2})
    -1
    """
    return (1 - 2 * KroneckerDelta(FLIPPED, I_LAYER + 1)) * (1 - 2 * KroneckerDelta(FLIPPED, J_LAYER + 1))


def is_flip_sign(formula: Expr) -> Decision:
    """Whether a formula counts the signs right, for every pair of layers and every flipped layer up to depth 6."""

    def changes(i: int, k: int) -> int:
        return int(k <= i) + int(k >= i + 2)

    layers = range(1, _DEEPEST)
    decisions = [
        equal(formula.subs({I_LAYER: i, J_LAYER: j, FLIPPED: k}), (-1) ** (changes(i, k) + changes(j, k)))
        for i, j, k in product(layers, layers, range(1, _DEEPEST + 2))
    ]
    return all_of(*decisions).explain(
        step("$`h^i`$ changes sign if $`k \\le i`$, and $`J_{i+1}`$ if $`k \\ge i + 2`$: then it contains $`W^k`$."),
        step("Choose $`k = j + 1`$: one of the two factors changes sign, and the ensemble does not. The mean is 0."),
    )


def same_layer() -> Expression:
    r"""E x x^T = (E phi^2 - (E phi)^2) I + (E phi)^2 1 1^T over networks, x of one layer (B below Lemma 2)."""
    return (SECOND_MOMENT - MEAN**2) * words.identity("N") + MEAN**2 * (ONES * ONES.T)


def same_layer_printed() -> Expression:
    r"""The same with E[phi^2] as weight of the rank-one part, as the printed sentence reads."""
    return (SECOND_MOMENT - MEAN**2) * words.identity("N") + SECOND_MOMENT * (ONES * ONES.T)


def is_same_layer(formula: Expression) -> Decision:
    """Whether a matrix has E phi^2 on its diagonal and, by independence of neurons, (E phi)^2 everywhere else."""
    parts = {"": Integer(0), "rank one": Integer(0)}
    for coefficient, word in formula.terms:
        if word and word != ((ONES, False), (ONES, True)):
            return Decision("undecided", f"an unexpected word in {formula}")
        parts["rank one" if word else ""] += coefficient
    diagonal, off = parts[""] + parts["rank one"], parts["rank one"]
    return all_of(equal(off, MEAN**2), equal(diagonal, SECOND_MOMENT)).explain(
        step(
            "Two neurons are independent given the layer below, with one law where the length is sharp:",
            MEAN**2,
        ),
        step("A neuron with itself:", SECOND_MOMENT),
    )


def cross_layer() -> Expression:
    r"""E x^alpha x^beta^T = E phi_alpha E phi_beta 1 1^T over networks, for different layers (B below Lemma 2)."""
    return MEAN_A * MEAN_B * (ONES_A * ONES_B.T)


def is_cross_layer(formula: Expression) -> Decision:
    """Whether a matrix has E phi_alpha E phi_beta everywhere: the law of the upper layer forgets the lower one."""
    ((coefficient, word),) = formula.terms if len(formula.terms) == 1 else ((Integer(0), ()),)
    if word != ((ONES_A, False), (ONES_B, True)):
        return Decision("undecided", f"an unexpected word in {formula}")
    return equal(coefficient, MEAN_A * MEAN_B).explain(
        step(
            "In a wide network the length of layer $`\\beta`$ is sharp, whatever $`\\alpha`$ did. Its mean",
            MEAN_B,
        ),
        step("therefore multiplies the mean of any neuron of layer $`\\alpha`$:", MEAN_A * MEAN_B),
    )


def layer_covariance() -> Expr:
    r"""Cov((h_i^l)^2, (h_j^m)^2) / (E h^2)^2 = (1 + v/N)^l - 1, l < m: independence fails by depth over width.

    Exact for linear networks with Gaussian weights, v = 2; l is the lower of the two layers.
    """
    return (1 + RELATIVE_VARIANCE / WIDTH) ** LAYER - 1


def is_layer_covariance(formula: Expr) -> Decision:
    """Whether a formula starts with v / N for the first layer and gains the factor of a mean square per layer."""
    factor = (WIDTH * (1 + RELATIVE_VARIANCE) + WIDTH * (WIDTH - 1)) / WIDTH**2
    start, following = formula.subs(LAYER, 1) + 1, formula.subs(LAYER, LAYER + 1) + 1
    return all_of(equal(start, factor), equal(following, (formula + 1) * factor)).explain(
        step("Given layer $`l`$, the mean of the later square is the mean square of layer $`l`$ over its neurons."),
        step("Its product with one square of that layer is, averaged over neurons, the squared mean square:", factor),
        step("times the same factor for each layer below. At fixed depth the covariance falls like", LAYER / WIDTH),
    )

r"""The tangent kernel and the Fisher spectrum of wide critical networks, beyond what a bound can say.

At fixed depth, data and number of outputs the kernel of a wide network is the same for Gaussian and orthogonal weights
and follows from two numbers for each pair of inputs: the overlap of activations and the product of slopes behind it.
"""

from __future__ import annotations

from sympy import Expr, Integer, Symbol, expand

from derivations import words
from derivations.decide import Decision, all_of, equal, nonnegative, step, zero
from derivations.information.curvature_bound import DELTA_I, DELTA_J, U_J, X_I, X_J, kernel_block
from derivations.information.curvature_bound_printed import KAPPA_1, KAPPA_2
from derivations.notation import DEPTH, SAMPLES, WIDTH, M, N
from derivations.words import Letter

OVERLAP = Symbol("C_ell", real=True)
GAIN = Symbol("g_ell", real=True)
MEAN_ACTIVATION = Symbol("phibar_ell", real=True)
OUTPUTS = Symbol("N_g", integer=True, positive=True)
ENTRIES = Symbol("M", integer=True, positive=True)
TRACE = Symbol("T_Theta", positive=True)
EDGE_GAUSSIAN = Symbol("S_G", positive=True)
EDGE_ORTHOGONAL = Symbol("S_O", positive=True)
SMALLEST = Symbol("lambda_min", nonnegative=True)


def kernel_share() -> Expr:
    r"""(1 + N C_l) g_l: one layer's share in the kernel between two inputs, single output.

    C_l = E x_i x_j of the layer's inputs, g_l the product of chi_c from the layer to the last.

    >>> kernel_share()
    g_ell*(C_ell*N + 1)
    """
    return (1 + WIDTH * OVERLAP) * GAIN


def is_linear_kernel(formula: Expr) -> Decision:
    r"""Whether the mean kernel of a linear network has this share, for all weights with E W^T W = E W W^T = 1.

    Layers below and above are averaged one at a time, the outermost first; both ensembles have these means.
    """
    above, below = Letter("A", N, N), Letter("B", M, M)
    outer, inner_i, inner_j = Letter("G", DELTA_I.rows, N), Letter("y_i", M, 1), Letter("y_j", M, 1)
    sides = {DELTA_I: outer * above, DELTA_J: outer * above, X_I: below * inner_i, X_J: below * inner_j}
    weights = words.substitute(kernel_block(), sides)
    means = words.rule(above * above.T, 1), words.rule(below.T * below, 1)
    averaged = words.normal(weights, means)
    named = words.rule(outer * outer.T * U_J, U_J * GAIN), words.rule(inner_j.T * inner_i, WIDTH * OVERLAP)
    share = sum(coefficient for coefficient, _ in words.normal(averaged, named).terms)
    return equal(formula, share + GAIN).explain(
        step("With a layer in front and one behind, the weights' share in the kernel is", weights),
        step("Averaged over these layers, Gaussian or orthogonal, it is", averaged),
        step("Overlap and gain of a linear network are those of its ends; the bias adds its gain alone:", formula),
    )


def extreme_eigenvalues() -> dict[str, Expr]:
    r"""(kappa_1 + (D - 1) kappa_2) / D once, and (kappa_1 - kappa_2) / D otherwise: equally correlated inputs."""
    return {"largest": (KAPPA_1 + (SAMPLES - 1) * KAPPA_2) / SAMPLES, "others": (KAPPA_1 - KAPPA_2) / SAMPLES}


def is_extreme_eigenvalues(formula: dict[str, Expr]) -> Decision:
    """Apply the kernel to the constant vector, and to a vector that sums to zero."""
    ones, other = Letter("o", SAMPLES, 1, latex=r"\mathbf{1}"), Letter("v", SAMPLES, 1)
    kernel = words.identity(SAMPLES) * (KAPPA_1 - KAPPA_2) + ones * ones.T * KAPPA_2
    rules = words.rule(ones.T * ones, SAMPLES), words.rule(ones.T * other, words.zeros(1, 1))
    found = [words.normal(kernel * vector / SAMPLES, rules) for vector in (ones, other)]
    values = [sum(coefficient for coefficient, _ in one.terms) for one in found]
    return all_of(equal(formula["largest"], values[0]), equal(formula["others"], values[1])).explain(
        step("The kernel of equally correlated inputs, divided by their number, maps the constant vector to", found[0]),
        step("and every vector that sums to zero to", found[1]),
    )


def outliers() -> Expr:
    """The number of eigenvalues above the bulk: one for each output."""
    return OUTPUTS


def is_outliers(formula: Expr) -> Decision:
    r"""Whether it is the rank of the projector on what is constant over samples, O O^T / D with O^T O = D."""
    constant = Letter("O", Symbol("n", integer=True, positive=True), OUTPUTS)
    projector = constant * constant.T / SAMPLES
    (coefficient, _), *_ = words.normal(words.trace(projector), (words.rule(constant.T * constant, SAMPLES),)).terms
    return equal(formula, coefficient).explain(
        step("Outputs of a wide network have the same kernel; what is constant over samples stands out by", projector),
        step("whose rank is its trace", coefficient),
    )


def ceiling() -> Expr:
    r"""T - (M - 1) lambda_min, the largest eigenvalue at most, for M eigenvalues of sum T (beyond B).

    >>> ceiling().subs(ENTRIES, 2)
    T_Theta - lambda_min
    """
    return TRACE - (ENTRIES - 1) * SMALLEST


def is_ceiling(formula: Expr) -> Decision:
    """The other eigenvalues are no smaller than the smallest, by a mean gap; with two levels there is equality."""
    top, gap, more = (
        Symbol("top", real=True),
        Symbol("gap", nonnegative=True),
        Symbol("n", integer=True, nonnegative=True),
    )
    trace = top + SMALLEST + (ENTRIES - 2) * (SMALLEST + gap)
    levels = extreme_eigenvalues()
    two = {TRACE: KAPPA_1, SMALLEST: levels["others"], ENTRIES: SAMPLES}
    return all_of(
        nonnegative(expand((formula.subs(TRACE, trace) - top).subs(ENTRIES, 2 + more))),
        zero(formula.subs(two) - levels["largest"]),
    ).explain(
        step("If the eigenvalues between exceed the smallest by some gap on average, the trace is", trace),
        step("so the largest one is at most", formula),
        step("with equality for equally correlated inputs, where it is", levels["largest"]),
    )


def inverse_relation() -> Expr:
    r"""(T / M)^2 / lambda_min: an inverse relation, the constant taken from a kernel with equal eigenvalues."""
    return (TRACE / ENTRIES) ** 2 / SMALLEST


def is_not_inverse(formula: Expr) -> Decision:
    """Two inputs with kernel entries 2 and 1: eigenvalues of the Fisher matrix 3/2 and 1/2 at trace 2."""
    values = {KAPPA_1: 2, KAPPA_2: 1, SAMPLES: 2}
    levels = {name: value.subs(values) for name, value in extreme_eigenvalues().items()}
    found = formula.subs({TRACE: 2, SMALLEST: levels["others"], ENTRIES: 2})
    if not equal(found, levels["largest"]).refuted:
        return Decision("undecided", "two inputs do not separate it")
    numbers = {"kappa_1": "2", "kappa_2": "1", "formula": str(found), "lambda_max": str(levels["largest"])}
    return Decision("refuted", "two inputs", numbers).explain(
        step("With two inputs and kernel entries 2 and 1 the formula gives", found),
        step("but the larger eigenvalue is half the sum of the entries", levels["largest"]),
    )


def ensemble_ratio() -> Expr:
    r"""1, the largest eigenvalue with Gaussian weights over the one with orthogonal weights, for wide layers."""
    return Integer(1)


def jacobian_ratio() -> Expr:
    r"""S_G / S_O, the squared largest singular values of the Jacobian: what the eigenvalues would follow if tied to it.

    >>> jacobian_ratio()
    S_G/S_O
    """
    return EDGE_GAUSSIAN / EDGE_ORTHOGONAL


def is_ensemble_ratio(formula: Expr) -> Decision:
    """Linear networks: the mean kernel needs second moments alone, equal for both; the Jacobian's edges are not.

    Squared largest singular values are 1 for orthogonal and (d + 1)^{d + 1} / d^d for wide Gaussian layers.
    """
    edges = {EDGE_ORTHOGONAL: Integer(1), EDGE_GAUSSIAN: (DEPTH + 1) ** (DEPTH + 1) / DEPTH**DEPTH}
    shares = is_linear_kernel(kernel_share())
    return all_of(shares, equal(formula.subs(edges).subs(DEPTH, 2), Integer(1))).explain(
        step("The mean kernel is the same for both, but the squared largest singular values are 1 for orthogonal and"),
        step("for wide Gaussian layers", edges[EDGE_GAUSSIAN]),
    )

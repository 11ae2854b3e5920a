r"""The tangent kernel Theta = J J^T and the Fisher matrix J^T H J / D of any network: two sides of one Jacobian.

J (M x P) holds the derivatives of all outputs on all D samples, M = outputs times samples; H (M x M) is the curvature
of the likelihood in the outputs, the identity for a regression, and R R^T = H. Nothing here uses that the model is a
network. Source: B eqs. 7, 18, 47-50 and appendix B.4.
"""

from __future__ import annotations

from random import Random
from typing import Any

from sympy import Expr, Integer, Matrix, Symbol, sqrt, sympify

from derivations import words
from derivations.decide import Decision, all_of, equal, step
from derivations.deep_linear import fractional_powers as fractional
from derivations.deep_linear.fractional_powers import DELTA_K, KAPPA
from derivations.notation import EPSILON, ETA, SAMPLES, Q
from derivations.words import Expression, Letter

PARAMETERS, POINTS, ROOTS = (Symbol(name, integer=True, positive=True) for name in ("P", "M", "r"))
RANK = Symbol("rho", integer=True, nonnegative=True)

J = Letter("J", POINTS, PARAMETERS, latex=r"\mathcal{J}")
H = Letter("H", POINTS, POINTS, symmetric=True)
R = Letter("R", POINTS, ROOTS)
U = Letter("u", ROOTS, 1)
V = Letter("v", PARAMETERS, 1)
SLOPE = Letter("g", POINTS, 1, latex=r"\nabla_h \mathcal{L}")
HALVES = words.rule(H, R * R.T)


def fisher_action() -> Expression:
    r"""G v = J^T H J v / D: half the gradient of the mean curvature \dot h^T H \dot h / D of the outputs \dot h = J v.

    >>> str(fisher_action())
    '(1/D)*J.T*H*J*v'
    """
    cost = words.trace((J * V).T * H * (J * V)) / (2 * SAMPLES)
    return words.gradient(cost, V)


def coincidence() -> dict[str, Expression]:
    r"""Fisher matrix G = J^T H J / D, kernel K = R^T J J^T R / D, and v = J^T R u / sqrt(lambda D) for K u = lambda u.

    >>> str(coincidence()["kernel"])
    '(1/D)*R.T*J*J.T*R'
    """
    return {
        "Fisher matrix": J.T * H * J / SAMPLES,
        "kernel": R.T * J * J.T * R / SAMPLES,
        "eigenvector": J.T * R * U / sqrt(KAPPA * SAMPLES),
    }


def coincides(formula: dict[str, Expression]) -> Decision:
    r"""Whether (G 0; B 0) T = T (0 0; B K) with T = (1 A; 0 1), A = J^T R, B = R^T J / D, and v is a unit eigenvector.

    T is invertible, so lambda^M det(lambda - G) = lambda^P det(lambda - K): non-zero eigenvalues agree with
    multiplicities, whatever the sizes.
    """
    fisher, kernel, vector = (formula[name] for name in coincidence())
    a, b = J.T * R, R.T * J / SAMPLES
    known = (HALVES, words.rule(R.T * J * J.T * R * U, U * (KAPPA * SAMPLES)), words.rule(U.T * U, 1))
    return all_of(
        words.vanishes(fisher * V - fisher_action(), (HALVES,), _diagonal_model),
        words.vanishes(fisher - a * b, (HALVES,), _diagonal_model),
        words.vanishes(fisher * a - a * kernel, (HALVES,), _diagonal_model),
        words.vanishes(b * a - kernel, (HALVES,), _diagonal_model),
        words.vanishes(fisher * vector - vector * KAPPA, known, _diagonal_model),
        words.vanishes(vector.T * vector - words.identity(1), known, _diagonal_model),
    ).explain(
        step("The Fisher matrix is a product of a tall and a wide factor,", a * b),
        step("and the kernel is the product of the same factors the other way round,", b * a),
        step(
            "so one block triangular matrix turns into the other by the invertible matrix T:",
            r"\begin{pmatrix} G & 0 \\ B & 0 \end{pmatrix} T = T \begin{pmatrix} 0 & 0 \\ B & K \end{pmatrix},"
            r"\quad T = \begin{pmatrix} I & \mathcal{J}^{\mathsf{T}} R \\ 0 & I \end{pmatrix}",
        ),
        step(
            "Both have one characteristic polynomial:",
            r"\lambda^{M} \det(\lambda - G) = \lambda^{P} \det(\lambda - K)",
        ),
        step("A unit eigenvector of the kernel becomes a unit eigenvector of the Fisher matrix:", vector),
    )


KERNEL_TOP = Symbol("lambda_Theta", positive=True)


def largest_eigenvalue() -> Expr:
    r"""lambda_max(G) = lambda_max(R^T Theta R) / D.

    >>> largest_eigenvalue()
    lambda_Theta/D
    """
    return KERNEL_TOP / SAMPLES


def is_largest_eigenvalue(formula: Expr) -> Decision:
    """Whether G v = formula * v for v = J^T R u, where R^T Theta R u = lambda_Theta u."""
    carried = J.T * R * U
    known = words.rule(R.T * J * J.T * R * U, U * KERNEL_TOP)
    acted = coincidence()["Fisher matrix"] * carried
    found = words.normal(acted, (HALVES, known))
    if len(found.terms) != 1:
        return Decision("undecided", "the carried-over vector is not recognised as an eigenvector")
    return all_of(words.vanishes(found - carried * found.terms[0][0]), equal(found.terms[0][0], formula)).explain(
        step("The top eigenvector of the kernel, carried over to the parameters, obeys", found),
        step("and no eigenvalue is left over on either side but zeros."),
    )


def _diagonal_model(draw: Random) -> dict[Any, Any]:
    """Exact matrices that satisfy the rules, with an eigenvector: a diagonal kernel and three samples."""
    jacobian = Matrix([[2, 0, 0], [0, 3, 0]])
    root = Matrix([[2, 0], [0, draw.choice((1, 3))]])
    column = Matrix([draw.randint(1, 5) for _ in range(3)])
    values = {J: jacobian, R: root, H: root * root.T, U: Matrix([1, 0]), V: column}
    return {**values, SAMPLES: Integer(3), KAPPA: Integer(16) / 3}


def zeros() -> dict[str, Expr]:
    r"""How often 0 is an eigenvalue: P - rank for the Fisher matrix, M - rank for the kernel of a regression.

    >>> zeros()["kernel"]
    M - rho
    """
    return {"Fisher matrix": PARAMETERS - RANK, "kernel": POINTS - RANK}


def counts_zeros(formula: dict[str, Expr]) -> Decision:
    """Whether the multiplicities obey the characteristic polynomials and the kernel's null space has M - rank."""
    fisher, kernel = formula["Fisher matrix"], formula["kernel"]
    return all_of(equal(fisher + POINTS, kernel + PARAMETERS), equal(kernel + RANK, POINTS)).explain(
        step("Powers of the variable in the two characteristic polynomials:", fisher + POINTS),
        step("and a symmetric matrix of rank rho and size M has the eigenvalue 0 exactly so often:", kernel),
    )


def unfolding() -> dict[str, Expression]:
    """With A = J^T of shape P x M: the Fisher matrix is A A^T, the kernel A^T A (B eqs. 49, 50 the other way round).

    >>> unfolding()["kernel"].shape == (POINTS, POINTS)
    True
    """
    return {"Fisher matrix": UNFOLDED * UNFOLDED.T, "kernel": UNFOLDED.T * UNFOLDED}


UNFOLDED = Letter("A", PARAMETERS, POINTS)


def unfolds(formula: dict[str, Expression]) -> Decision:
    """Whether the two products of A = J^T are J^T J and J J^T; a wrong shape is a refutation for itself."""
    found = []
    for name, truth in {"Fisher matrix": J.T * J, "kernel": J * J.T}.items():
        spelled = words.substitute(formula[name], {UNFOLDED: J.T})
        if spelled.shape != truth.shape:
            sizes = " x ".join(map(str, spelled.shape)), " x ".join(map(str, truth.shape))
            return Decision("refuted", "the shapes differ", {f"shape of the {name}": sizes[0], "allowed": sizes[1]})
        found.append(words.vanishes(spelled - truth))
    return all_of(*found).explain(
        step("The kernel compares outputs, so parameters are summed over:", J * J.T),
        step("the Fisher matrix compares parameters, so outputs and samples are summed over:", J.T * J),
    )


COORDINATES = Letter("Psi", PARAMETERS, PARAMETERS, latex=r"\Psi")
METRIC = Letter("C", PARAMETERS, PARAMETERS, symmetric=True, latex="g^{-1}")


def reparametrised() -> dict[str, Expression]:
    r"""theta = Psi theta': G' = Psi^T G Psi is pulled back; J' J'^T = J Psi Psi^T J^T, so the plain kernel changes.

    >>> str(reparametrised()["kernel"])
    'J*Psi*Psi.T*J.T'
    """
    return {"Fisher matrix": COORDINATES.T * J.T * J * COORDINATES, "kernel": J * COORDINATES * COORDINATES.T * J.T}


def transforms(formula: dict[str, Expression]) -> Decision:
    r"""Whether both matrices follow from the Jacobian J Psi, and J g^{-1} J^T from neither coordinates nor metric.

    With g' = Psi^T g Psi, that is Psi g'^{-1} Psi^T = g^{-1}, the kernel with the metric of the parameters stays.
    """
    moved = J * COORDINATES
    there = Letter("C'", PARAMETERS, PARAMETERS, symmetric=True, latex="g'^{-1}")
    same = words.rule(COORDINATES * there * COORDINATES.T, METRIC)
    return all_of(
        words.vanishes(formula["Fisher matrix"] - moved.T * moved),
        words.vanishes(formula["kernel"] - moved * moved.T),
        words.vanishes(moved * there * moved.T - J * METRIC * J.T, (same,)),
    ).explain(
        step("In new coordinates the Jacobian is", moved),
        step("The Fisher matrix transforms like a metric on the parameters:", formula["Fisher matrix"]),
        step("The kernel does not stay what it was:", formula["kernel"]),
        step("With the inverse metric of the parameters between the Jacobians it would:", J * METRIC * J.T),
    )


def damped_filter() -> Expr:
    r"""f(kappa) = (kappa + epsilon)^{-1/q}: (J^T J + epsilon)^{1/q} v = J^T r is solved by v = J^T f(J J^T) r.

    >>> damped_filter().subs({EPSILON: 0, Q: 1})
    1/kappa
    """
    return (KAPPA + EPSILON) ** (-1 / Q)


def is_dual(formula: Expr) -> Decision:
    """Whether the filtered step solves the primal equation: functions pass through J, then singular direction by s."""
    s = Symbol("s", positive=True)
    primal = (s**2 + EPSILON) ** (1 / Q) * (s * formula.subs(KAPPA, s**2) * DELTA_K)
    return all_of(fractional.intertwining(), equal(primal, s * DELTA_K)).explain(
        step("On a singular direction s of the Jacobian the left side of the equation is", primal),
        step("and the right side", s * DELTA_K),
    )


def function_velocity(q: Expr | int = Q) -> Expr:
    r"""\dot h_k = -eta kappa^{1-1/q} delta_k: outputs along one eigenvector of the kernel, under the order q.

    >>> function_velocity(1)
    -delta_k*eta
    """
    return -ETA * KAPPA ** (1 - 1 / sympify(q)) * DELTA_K


def is_function_velocity(formula: Expr) -> Decision:
    """Whether the formula is the Jacobian times the filtered step, on one singular direction."""
    s = Symbol("s", positive=True)
    step_size = -ETA * s * damped_filter().subs({EPSILON: 0, KAPPA: s**2}) * DELTA_K
    return all_of(fractional.intertwining(), equal(formula.subs(KAPPA, s**2), s * step_size)).explain(
        step("The parameters move along the right singular vector by", step_size),
        step("and the outputs along the left one by the singular value times that:", s * step_size),
    )


def evolution() -> Expression:
    r"""\dot h = -eta J J^T g with g the gradient of the loss in the outputs, for every loss.

    >>> str(evolution())
    '(-eta)*J*J.T*g'
    """
    return -ETA * (J * J.T * SLOPE)


def is_evolution(formula: Expression) -> Decision:
    """Whether the formula is the Jacobian times the gradient flow's velocity."""
    slope = words.gradient(words.trace(SLOPE.T * J * V), V)
    return words.vanishes(formula + ETA * (J * slope)).explain(
        step("The gradient of the loss in the parameters is", slope),
        step("so along the gradient flow the outputs move by", formula),
    )

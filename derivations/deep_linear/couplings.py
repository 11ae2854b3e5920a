r"""Couplings of one singular mode: zero factors, active modes, hyperbolic paths, speed under gradient descent.

j_i = d sigma / d sigma_i = prod_{k != i} sigma_k. A mode is frozen where all couplings vanish. Two representative
layers i and k with the product R of all others stand for every depth: j_i = R sigma_k and j_k = R sigma_i.
Source: A section 3.1, eqs. 6-8 and footnote 3.
"""

from __future__ import annotations

from sympy import Expr, Ge, Integer, Min, Rational, S, Symbol, diff, prod
from sympy.logic.boolalg import Boolean

from derivations.decide import Decision, equal, step, zero
from derivations.deep_linear import modes
from derivations.notation import ETA, J_I, N_0, N_D, NORM_J, SIGMA, SIGMA_DELTA, SIGMA_I, SIGMA_K
from derivations.witness import points

REST = Symbol("R", real=True, nonzero=True)
ZEROS = Symbol("z", integer=True, nonnegative=True)
NARROWEST = Symbol("n_h", integer=True, positive=True)
RANK = Symbol("r", integer=True, positive=True)
FILTER = Symbol("f", positive=True)
SPREAD = 8


def coupling_ratio() -> Expr:
    r"""j_i = sigma / sigma_i, defined where sigma_i is not zero (A below eq. 6).

    >>> coupling_ratio().subs(SIGMA, SIGMA_I * SIGMA_K)
    sigma_k
    """
    return SIGMA / SIGMA_I


def is_coupling(formula: Expr) -> Decision:
    r"""Whether the formula in sigma and sigma_i is d sigma / d sigma_i for sigma = sigma_i R, sigma_i not zero."""
    value = SIGMA_I * REST
    return equal(formula.subs(SIGMA, value), diff(value, SIGMA_I)).explain(
        step("The map value is linear in every one of its factors:", value),
        step("so its derivative is the product of the others:", diff(value, SIGMA_I)),
    )


def couplings(zeros: Expr) -> tuple[Expr, Expr]:
    r"""The coupling of a zero layer and of a non-zero one when a mode has `zeros` zero factors; R is the rest.

    >>> couplings(Integer(1)), couplings(Integer(2))
    ((R, 0), (0, 0))
    """
    return REST * S.Zero ** (zeros - 1) if zeros != 0 else REST, REST * S.Zero**zeros


def frozen_condition() -> Boolean:
    """A mode is frozen exactly when at least two of its factors are zero: z >= 2.

    >>> frozen_condition()
    z >= 2
    """
    return Ge(ZEROS, 2)


def freezes(condition: Boolean) -> Decision:
    r"""Whether a condition on the number z of zero factors says exactly when all couplings vanish.

    z = 0 and z = 1 leave a coupling R, z = 2 + n leaves none; a filter f of the curvature, positive on non-zero
    eigenvalues and 0 at 0, multiplies the velocity and changes nothing.

    >>> freezes(frozen_condition()).outcome, freezes(Ge(ZEROS, 1)).outcome
    ('proved', 'refuted')
    """
    more = Symbol("n", integer=True, nonnegative=True)
    for number in map(Integer, range(SPREAD)):
        claimed, still = condition.subs(ZEROS, number), couplings(number) == (0, 0)
        if claimed in (S.true, S.false) and bool(claimed) != still:
            return Decision("refuted", "the couplings of an explicit mode", _explicit_mode(int(number)))
    general = condition.subs(ZEROS, 2 + more) == S.true and couplings(2 + more) == (0, 0)
    outcome = Decision("proved", "couplings for z = 0, 1 and z = 2 + n") if general else _open()
    return outcome.explain(
        step("With one zero factor its own coupling is the product of all others:", {J_I: couplings(Integer(1))[0]}),
        step("With two or more every product of all factors but one contains a zero:", {J_I: couplings(2 + more)[0]}),
        step(r"Every rule moves the mode along $`f(\lVert j \rVert^2)\, j`$, so it is frozen for", frozen_condition()),
    )


def _explicit_mode(number: int) -> dict[str, str]:
    """Factors with the given number of zeros, goal 1, and the velocity of the first one under gradient descent."""
    factors = [Integer(0)] * number + [Rational(7, 10)]
    velocity = (1 - prod(factors)) * prod(factors[1:])
    return {"factors": str(factors), "sigma^*": "1", "velocity of the first factor over eta": str(velocity)}


def _open() -> Decision:
    return Decision("undecided", "no answer for a general number of zero factors")


def active_modes() -> Expr:
    """The number of modes that can move in a generic aligned network: its narrowest width.

    >>> active_modes()
    Min(n_0, n_d, n_h)
    """
    return Min(N_0, NARROWEST, N_D)


def counts_active(formula: Expr) -> Decision:
    """Whether a formula in n_0, n_d and the narrowest hidden width n_h counts the modes with at most one zero factor.

    Direction a of the map (a <= n_0, a <= n_d) passes layer i iff a <= n_i and a <= n_{i-1}. If a > n_h the two
    layers around the narrowest one both lack it; else none does.

    >>> counts_active(active_modes()).outcome, counts_active(Min(N_0, N_D)).outcome
    ('proved', 'refuted')
    """
    directions = Min(N_0, N_D)
    passing = Min(directions, NARROWEST)
    steps = (
        step("The teacher map has as many directions as its smaller end:", directions),
        step("A direction beyond the narrowest hidden width is missing on both sides of it: two zero factors."),
        step("All others pass every layer, which leaves", passing),
    )
    if formula == passing:
        return Decision("proved", "the same minimum").explain(*steps)
    for point in points({N_0, NARROWEST, N_D}, 40):
        ends, narrowest = int(min(point[N_0], point[N_D])), int(point[NARROWEST])
        found = len([a for a in range(1, ends + 1) if a <= narrowest])
        if formula.subs(point) != found:
            return Decision("refuted", "widths with another count", {str(k): str(v) for k, v in point.items()})
    return Decision("undecided", "neither the same minimum nor widths with another count").explain(*steps)


def kernel_rank() -> Expr:
    """The rank r (n_0 + n_d - r) of J J^T in a generic network of narrowest width r.

    >>> kernel_rank().subs({RANK: 2, N_0: 4, N_D: 3})
    10
    """
    return RANK * (N_0 + N_D - RANK)


def counts_pairs(formula: Expr) -> Decision:
    """Whether a formula counts the pairs (a, b) of singular directions on which the kernel does not vanish.

    A layer above the narrowest one sees b <= r and any a at the last layer, one below sees a <= r and any b at the
    first: of all n_0 n_d pairs those with a > r and b > r are missing.
    """
    seen = N_0 * N_D - (N_0 - RANK) * (N_D - RANK)
    return equal(formula, seen).explain(
        step(r"In the frame the kernel is diagonal, positive on the pairs with $`a \le r`$ or $`b \le r`$:", seen),
        step("Rank can only grow off the frame, and maps of rank $`r`$ have no more directions than", kernel_rank()),
    )


def hyperbola() -> Expr:
    """sigma_i^2 - sigma_k^2, constant along every spectral rule (A eq. 7).

    >>> hyperbola()
    sigma_i**2 - sigma_k**2
    """
    return SIGMA_I**2 - SIGMA_K**2


def conserved(quantity: Expr) -> Decision:
    r"""Whether a quantity of two layers is constant along \dot\sigma_i = -eta f j_i sigma_Delta for every filter f.

    >>> conserved(hyperbola()).outcome, conserved(SIGMA_I - SIGMA_K).outcome
    ('proved', 'refuted')
    """
    drive = -ETA * FILTER * SIGMA_DELTA * REST
    first, second = diff(quantity, SIGMA_I) * drive * SIGMA_K, diff(quantity, SIGMA_K) * drive * SIGMA_I
    return zero(first + second).explain(
        step("The rule enters through one common factor of all layers:", drive),
        step("The change of the quantity through layer $`i`$ is", diff(hyperbola(), SIGMA_I) * drive * SIGMA_K),
        step("and through layer $`k`$ the opposite:", diff(hyperbola(), SIGMA_K) * drive * SIGMA_I),
    )


def gradient_speed() -> Expr:
    r"""||\dot\sigma|| = eta |sigma_Delta| ||j||: the speed of one mode under gradient descent (A eq. 8).

    >>> gradient_speed()
    eta*jnorm*Abs(sigma_Delta)
    """
    return ETA * abs(SIGMA_DELTA) * NORM_J


def has_gradient_speed(formula: Expr) -> Decision:
    """Whether a formula is the speed of the mode equation of gradient descent, all layers taken together.

    >>> has_gradient_speed(gradient_speed()).outcome, has_gradient_speed(ETA * NORM_J).outcome
    ('proved', 'refuted')
    """
    velocity = modes.filtered_velocity(lambda eigenvalue: eigenvalue**0)
    return equal(formula, modes.speed(velocity)).explain(
        step("The layers move with velocities that share one factor:", velocity),
        step(r"The squares of the couplings add up to $`\lVert j \rVert^2`$, so the speed is", modes.speed(velocity)),
    )

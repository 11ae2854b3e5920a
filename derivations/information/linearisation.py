r"""Training a network against training its linearisation: how fast the residuals part (B lemma 4, after Lee et al.).

g = h_t - y is the residual of the network under gradient flow of the squared loss, g^lin that of the linearised model
with the kernel Theta_0 for ever, both from one start; d = g^lin - g. Scalars: lambda the smallest eigenvalue of
Theta_0, k(s) = |Theta_s - Theta_0| in the operator norm, gamma(s) = |g^lin(s)|. Source: B eq. 19.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from sympy import (
    Add,
    Dummy,
    Expr,
    Function,
    Integer,
    Integral,
    Matrix,
    Mul,
    Symbol,
    cos,
    exp,
    expand_mul,
    log,
    sech,
    sin,
    sqrt,
    tanh,
    trigsimp,
)

from derivations import words
from derivations.decide import Decision, all_of, nonnegative, positive, step, zero
from derivations.notation import ETA, TIME
from derivations.words import Expression, Letter

LAMBDA = Symbol("lambda", nonnegative=True)
LARGEST = Symbol("lambda_max", nonnegative=True)
LAMBDA_G = Symbol("lambda_G", nonnegative=True)
PAST = Symbol("s", nonnegative=True)
CHANGE, RESIDUAL = (Function(name, nonnegative=True) for name in ("k", "gamma"))
WEIGHTED, FISHER_CHANGE = (Function(name, nonnegative=True) for name in ("K", "c"))

SIZE = Symbol("M", integer=True, positive=True)
KERNEL, KERNEL_0 = (
    Letter(n, SIZE, SIZE, symmetric=True, latex=t) for n, t in (("Th", r"\Theta_t"), ("T0", r"\Theta_0"))
)
FLOW = Letter("E", SIZE, SIZE, latex=r"e^{\eta \Theta_0 t}")
G_LIN, G = Letter("g_lin", SIZE, 1, latex=r"g^{\mathrm{lin}}"), Letter("g", SIZE, 1)


def growth() -> Expression:
    r"""d/dt e^{eta Theta_0 t} (g^lin - g) = eta e^{eta Theta_0 t} (Theta_t - Theta_0) g.

    >>> str(growth())
    '(-eta)*E*T0*g + (eta)*E*Th*g'
    """
    return ETA * (FLOW * (KERNEL - KERNEL_0) * G)


def is_growth(formula: Expression) -> Decision:
    r"""Whether the formula is the derivative, with \dot g = -eta Theta_t g and \dot g^lin = -eta Theta_0 g^lin."""
    rates = {FLOW: ETA * (FLOW * KERNEL_0), G_LIN: -ETA * (KERNEL_0 * G_LIN), G: -ETA * (KERNEL * G)}
    derivative = words.differential(FLOW * (G_LIN - G), rates)
    return words.vanishes(derivative - formula).explain(
        step("Both residuals follow their kernels; the product rule gives", derivative),
        step("The linear residual cancels, since the frozen kernel commutes with its own exponential.", formula),
    )


def _over_past(integrand: Expr) -> Integral:
    return Integral(integrand, (PAST, 0, TIME))


def bound(smallest: Expr = LAMBDA, change: Function = CHANGE) -> Expr:
    r"""eta e^{-lambda eta t} (int_0^t e^{lambda eta s} k gamma ds) exp(int_0^t eta k ds): the bound on |d| (B eq. 19).

    >>> bound().subs(TIME, 0).doit()
    0
    """
    weighted = _over_past(exp(smallest * ETA * PAST) * change(PAST) * RESIDUAL(PAST))
    return ETA * exp(-smallest * ETA * TIME) * weighted * exp(_over_past(ETA * change(PAST)))


def weaker_bound() -> Expr:
    r"""The other reading: K(s) = |e^{eta Theta_0 s} (Theta_s - Theta_0)| in place of e^{lambda eta s} k(s).

    >>> weaker_bound().has(WEIGHTED)
    True
    """
    weighted = _over_past(WEIGHTED(PAST) * RESIDUAL(PAST))
    return ETA * exp(-LAMBDA * ETA * TIME) * weighted * exp(_over_past(ETA * CHANGE(PAST)))


def surplus(formula: Expr) -> Expr:
    r"""\dot R - eta k R - eta e^{lambda eta t} k gamma for R = e^{lambda eta t} times the formula, in plain symbols.

    u = e^{lambda eta t} |d| obeys u <= eta int (e^{lambda eta s} k gamma + k u) ds by the growth law, so R bounds u if
    it starts at zero and grows at least as fast: R' >= eta k R + eta e^{lambda eta t} k gamma.
    """
    whole = exp(LAMBDA * ETA * TIME) * formula
    growth_rate = whole.diff(TIME) - ETA * CHANGE(TIME) * whole
    return _plain(growth_rate - ETA * exp(LAMBDA * ETA * TIME) * CHANGE(TIME) * RESIDUAL(TIME))


def _plain(expr: Expr) -> Expr:
    """Integrals over the past and values at the present as non-negative symbols; K exceeds e^{lambda eta t} k."""
    integrals = sorted(expr.atoms(Integral), key=str)
    expr = expr.xreplace({one: Dummy(f"I{n}", nonnegative=True) for n, one in enumerate(integrals)})
    k, gamma, more = (Dummy(name, nonnegative=True) for name in ("k", "gamma", "more"))
    present = {WEIGHTED(TIME): exp(LAMBDA * ETA * TIME) * (k + more), CHANGE(TIME): k, RESIDUAL(TIME): gamma}
    return (expr.xreplace(present) * exp(-LAMBDA * ETA * TIME)).expand(power_exp=False)


def is_bound(formula: Expr) -> Decision:
    """Whether the formula bounds |d|: it starts at zero and grows at least as fast as the worst case (Gronwall)."""
    start = formula.subs(TIME, 0).doit()
    extra = _exponentials_above_one(surplus(formula))
    return all_of(is_growth(growth()), zero(start), nonnegative(extra)).explain(
        step(
            "Integrated and in norms, with the smallest eigenvalue of the frozen kernel as rate of decay:",
            r"u \le \eta \int_0^t \left(e^{\lambda \eta s} k \gamma + k u\right) \mathrm{d}s,"
            r"\quad u = e^{\lambda \eta t} \lVert g^{\mathrm{lin}} - g \rVert",
        ),
        step(
            "The asserted bound starts at zero and grows at least as fast as this allows: the surplus of its rate is",
            extra,
        ),
    )


def _exponentials_above_one(expr: Expr) -> Expr:
    """exp(a) of a manifestly non-negative a as 1 + a non-negative symbol, so that exp(a) - 1 shows its sign."""
    powers = sorted((p for p in expr.atoms(exp) if p.args[0].is_nonnegative), key=str)
    raised = {p: 1 + Dummy(f"x{n}", nonnegative=True) for n, p in enumerate(powers)}
    return expr.xreplace(raised).expand()


def slope_in_smallest() -> Expr:
    r"""d bound / d lambda = -eta^2 e^{-lambda eta t} (int (t - s) e^{lambda eta s} k gamma ds) exp(int eta k ds).

    >>> slope_in_smallest().subs(TIME, 0).doit()
    0
    """
    delayed = _over_past((TIME - PAST) * exp(LAMBDA * ETA * PAST) * CHANGE(PAST) * RESIDUAL(PAST))
    return -(ETA**2) * exp(-LAMBDA * ETA * TIME) * delayed * exp(_over_past(ETA * CHANGE(PAST)))


def slope_of_bound() -> Expr:
    """The bound differentiated by the smallest eigenvalue, kernel change and residual of the linear model held."""
    return bound().diff(LAMBDA)


def is_slope(formula: Expr) -> Decision:
    """Whether the formula is the derivative of the bound, and not positive."""
    difference = _one_integral(formula) - _one_integral(slope_of_bound())
    inner = Symbol("e", nonnegative=True) * (TIME - PAST)
    return all_of(zero(difference), nonnegative(inner.subs(TIME, PAST + Dummy("later", nonnegative=True)))).explain(
        step("A change of the kernel at time s counts at time t with the weight", exp(-LAMBDA * ETA * (TIME - PAST))),
        step("The derivative by the smallest eigenvalue is therefore", formula),
        step("and the time since then is never negative, so it is not positive."),
    )


def _one_integral(expr: Expr) -> Expr:
    """All of the bound's first integral under one integral sign, without the common factor: the summand at s."""
    common = ETA * exp(_over_past(ETA * CHANGE(PAST)))
    total = Integer(0)
    for term in Add.make_args(expand_mul(expr / common)):
        integrals = [one for one in Mul.make_args(term) if isinstance(one, Integral)]
        factor = term / Mul(*integrals)
        total += factor * Mul(*(one.function for one in integrals))
    return total.xreplace({one(PAST): Symbol(str(one), positive=True) for one in (CHANGE, RESIDUAL)})


def circle() -> dict[str, Any]:
    r"""h = (cos theta, sin theta) from theta = 0 towards y = (0, 1), with eta = 1: everything in closed form.

    sin theta = tanh t along the flow. The kernel turns while the Fisher matrix, one number, stays 1.

    >>> circle()["Fisher matrix"], circle()["distance"].subs(TIME, log(2))
    (1, sqrt(5)/10)
    """
    theta = Symbol("theta", real=True)
    along = {cos(theta): sech(TIME), sin(theta): tanh(TIME)}
    jacobian = Matrix([-sin(theta), cos(theta)])
    kernel = jacobian * jacobian.T
    moving, frozen = Matrix([cos(theta), sin(theta) - 1]).xreplace(along), Matrix([1, -exp(-TIME)])
    return {
        "Fisher matrix": trigsimp((jacobian.T * jacobian)[0]),
        "kernel": kernel.xreplace(along),
        "start": kernel.subs(theta, 0),
        "g": moving,
        "g_lin": frozen,
        "distance": sqrt(((frozen - moving).T * (frozen - moving))[0].rewrite(exp)),
    }


@cache
def circle_is_solved() -> Decision:
    """Both residuals of the circle obey their equations and start together."""
    known = circle()
    moving, frozen = known["g"], known["g_lin"]
    return all_of(
        zero((moving.diff(TIME) + known["kernel"] * moving).applyfunc(lambda entry: entry.rewrite(exp))),
        zero(frozen.diff(TIME) + known["start"] * frozen),
        zero((moving - frozen).subs(TIME, 0)),
    )


def is_bound_on_circle(formula: Expr) -> Decision:
    """Refuted where the formula vanishes on the circle while the residuals have parted; else the general proof."""
    if not formula.has(FISHER_CHANGE):
        return is_bound(formula)
    value = formula.subs(LAMBDA_G, 1).replace(FISHER_CHANGE, lambda s: Integer(0)).doit()
    known = circle()
    apart = known["distance"].subs(TIME, log(2))
    if value != 0 or not all_of(circle_is_solved(), positive(apart)).proved:
        return is_bound(formula)
    witness = {
        "outputs": "(cos theta, sin theta) towards (0, 1)",
        "time": "log 2",
        "bound": "0",
        "distance": str(apart),
    }
    return Decision("refuted", "the network on a circle, solved in closed form", witness).explain(
        step("On a circle the Fisher matrix is one number that never changes,", known["Fisher matrix"]),
        step("while the kernel turns:", known["kernel"]),
        step("The asserted bound is zero, the residuals part:", known["distance"]),
    )

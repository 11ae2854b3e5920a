"""Which way the smallest eigenvalue of the kernel moves the distance between a network and its linearisation."""

from __future__ import annotations

import numpy as np
from sympy import Rational

from derivations.information import linearisation as lin
from derivations.information.linearisation import LAMBDA
from derivations.notation import ETA
from tests.checker.bounds import remainder, rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, equal
from tests.checker.evidence import Evidence
from tests.checker.figure import Figure, Panel, Series
from tests.claims.linearisation_courses import INTERVALS, network_course, on_grid

CASES = grid(widths=["wide"], outputs=[2], samples=[3], shift=[0.5], horizon=[1.0], repeat=[0])


def derivative(formula, widths: str, outputs: int, samples: int, shift: float, horizon: float, seed: int) -> Evidence:
    """Difference quotients of the bound in the smallest eigenvalue against the formula, on one network's course."""
    course = network_course(2, widths, outputs, samples, "tanh", shift, horizon, seed)
    quotients = []
    for step in (Rational(1, 1000), Rational(1, 500)):
        up, down = (on_grid(lin.bound(LAMBDA + sign * step), course)[0] for sign in (1, -1))
        quotients.append((up - down) / float(2 * step))
    fine = (4 * quotients[0] - quotients[1]) / 3
    predicted, _ = on_grid(formula, course)
    scale = float(np.abs(up).max())
    # the quotients agree to the square of the step; what is left after extrapolation is smaller than their difference
    missed = float(np.abs(quotients[0] - quotients[1]).max()) * 1e-3
    return agree(fine, predicted, bound=remainder(missed) + rounding(2000 * scale, 10 * INTERVALS))


def intervention(formula, widths: str, outputs: int, samples: int, shift: float, horizon: float, seed: int) -> Evidence:
    """Signs of the change of the distance at the end when offsets raise every eigenvalue of the kernel."""
    courses = [
        network_course(2, widths, outputs, samples, "tanh", shift, horizon, seed, raised) for raised in (0, 1, 4)
    ]
    ends = [course.distance[-1] for course in courses]
    expected = int(np.sign(on_grid(formula, courses[0])[0][-1]))
    return equal([int(np.sign(b - a)) for a, b in zip(ends, ends[1:], strict=False)], [expected, expected])


direction = Claim(
    "linearisation.smallest-eigenvalue",
    source="B sec. 4, on lemma 4",
    says="The larger the smallest eigenvalue of the kernel, the smaller the bound on the distance.",
    formula=lin.slope_in_smallest,
    lhs=r"\frac{\partial}{\partial \lambda} \text{bound}",
    uses=("linearisation.discrepancy-bound",),
    near_misses={"square of the rate forgotten": lambda: lin.slope_in_smallest() / ETA},
    falsifiers={"growing": lambda: -lin.slope_in_smallest(), "no influence": lambda: 0 * lin.slope_in_smallest()},
    mutate=False,
    remark=(
        "A change of the kernel at time $`s`$ counts at time $`t`$ with the weight $`e^{-\\lambda\\eta(t - s)}`$: what "
        "trains fast forgets fast. The exponential of the lemma stands on the side of the distance."
    ),
)


@direction.proof(generic_in="network, outputs, samples, change of the kernel")
def derivative_of_the_bound(formula):
    """Differentiate the bound with change of the kernel and residual held."""
    return lin.is_slope(formula)


@direction.check(CASES)
def difference_quotient(formula, widths, outputs, samples, shift, horizon, repeat, seed):
    """The bound of a full network's course at neighbouring values of the smallest eigenvalue."""
    return derivative(formula, widths, outputs, samples, shift, horizon, seed)


@direction.check(CASES)
def raised_kernel(formula, widths, outputs, samples, shift, horizon, repeat, seed):
    """The distance itself, for one network with ever stronger trainable offsets of its outputs."""
    return intervention(formula, widths, outputs, samples, shift, horizon, seed)


@direction.figure(slow=True)
def distances(formula):
    """Distance over time for one network whose kernel is raised by a constant."""
    series = []
    for raised in (0.0, 1.0, 4.0):
        course = network_course(2, "wide", 2, 3, "tanh", 0.5, 2.0, 3, raised)
        series.append(Series(f"eigenvalues raised by {raised:g}", course.times, course.distance, "simulation"))
    panel = Panel(
        "A larger smallest eigenvalue keeps network and linearisation together",
        r"time $t$ in $1/\eta$",
        r"$\Vert g^{\mathrm{lin}} - g\Vert$",
        tuple(series),
    )
    return Figure(
        "Trainable offsets raise all eigenvalues of the kernel and leave its changes to the network.", (panel,)
    )


printed = Claim(
    "linearisation.smallest-eigenvalue-as-printed",
    source="B sec. 4, on lemma 4",
    says="The distance accrues the faster, the larger the smallest eigenvalue of the kernel.",
    formula=lambda: -lin.slope_in_smallest(),
    control=lin.slope_in_smallest,
    corrected_by=("linearisation.smallest-eigenvalue",),
    lhs=r"\frac{\partial}{\partial \lambda} \text{bound}",
    near_misses={"square of the rate forgotten": lambda: lin.slope_in_smallest() / ETA},
    falsifiers={"no influence": lambda: 0 * lin.slope_in_smallest()},
    mutate=False,
    remark=(
        "The second half of the sentence fails as well: on the critical line a smaller $`q^*`$ lowers the smallest "
        "eigenvalue (tangent-kernel.smallest-eigenvalue). Two reversals do not make the conclusion right, since the "
        "changes of the kernel depend on $`q^*`$ too."
    ),
)


@printed.proof(generic_in="network, outputs, samples, change of the kernel")
def derivative_as_printed(formula):
    """Differentiate the bound with change of the kernel and residual held."""
    return lin.is_slope(formula)


@printed.check(CASES)
def difference_quotient_as_printed(formula, widths, outputs, samples, shift, horizon, repeat, seed):
    """The bound of a full network's course at neighbouring values of the smallest eigenvalue."""
    return derivative(formula, widths, outputs, samples, shift, horizon, seed)

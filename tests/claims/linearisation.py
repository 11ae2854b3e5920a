"""Training a network and training its linearisation: the bound on their distance, in both readings and as printed."""

from __future__ import annotations

import numpy as np
from sympy import Expr, Integer, Integral, exp

from derivations import words
from derivations.information import linearisation as lin
from derivations.information.linearisation import (
    CHANGE,
    FISHER_CHANGE,
    FLOW,
    G_LIN,
    KERNEL,
    KERNEL_0,
    LAMBDA,
    LAMBDA_G,
    LARGEST,
    PAST,
    RESIDUAL,
    G,
)
from derivations.notation import ETA, TIME
from tests.checker.bounds import integration, remainder, rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, at_least, both
from tests.checker.evidence import Evidence
from tests.checker.figure import Figure, Panel, Series
from tests.claims.linearisation_courses import (
    INTERVALS,
    RATE,
    Course,
    accumulated,
    circle_course,
    ingredients,
    network_course,
    norms,
    on_grid,
    over_distance,
)

NETWORKS = grid(
    depth=[1, 2],
    widths=["wide"],
    outputs=[2],
    samples=[3],
    activation=["tanh"],
    shift=[0.1],
    horizon=[1.0],
    seed=[0],
) + grid(
    depth=[2], widths=["waist"], outputs=[1], samples=[2], activation=["erf"], shift=[0.1], horizon=[1.0], seed=[1]
)


growth = Claim(
    "linearisation.growth",
    source="B lemma 4",
    says="Freed from the frozen kernel's decay, the distance grows by the change of the kernel times the residual.",
    formula=lin.growth,
    lhs=r"\frac{d}{dt} e^{\eta \Theta_0 t} (g^{\mathrm{lin}} - g)",
    near_misses={"residual of the linear model": lambda: ETA * (FLOW * (KERNEL - KERNEL_0) * G_LIN)},
    falsifiers={
        "kernel instead of its change": lambda: ETA * (FLOW * KERNEL * G),
        "decay not removed": lambda: ETA * ((KERNEL - KERNEL_0) * G),
    },
    remark="An identity: only the norms taken after it turn it into a bound.",
)


@growth.proof(generic_in="network, outputs, samples, kernels")
def product_rule(formula):
    """Differentiate, with both residuals under their own kernels."""
    return lin.is_growth(formula)


@growth.check(NETWORKS)
def summed_along_the_flow(formula, depth, widths, outputs, samples, activation, shift, horizon, seed):
    """The distance of a full network from its linearisation, with the decay removed, against the summed formula."""
    course = network_course(depth, widths, outputs, samples, activation, shift, horizon, seed)
    values, vectors = np.linalg.eigh(course.kernels[0])
    growing = np.exp(RATE * np.multiply.outer(course.times, values))
    flow = np.einsum("ij,tj,kj->tik", vectors, growing, vectors)
    letters = {FLOW: flow, KERNEL: course.kernels, KERNEL_0: course.kernels[:1], ETA: RATE}
    rates = words.evaluate(formula, {**letters, G: course.moving[..., None], G_LIN: course.frozen[..., None]})[..., 0]
    observed = np.einsum("tij,tj->ti", flow, course.frozen - course.moving)
    fine, coarse = accumulated(rates, course.times), accumulated(rates[::2], course.times[::2])
    true = np.einsum("tij,tj->ti", flow @ (course.kernels - course.kernels[0]), course.moving)
    missed = accumulated(true, course.times)[::2] - accumulated(true[::2], course.times[::2])
    size = float(growing.max())
    bound = remainder(RATE * float(np.abs(missed).max())) + integration(2 * size * course.error)
    bound = bound + rounding(size * float(np.abs(course.frozen).max()), INTERVALS + 10 * len(values))
    return both(agree(observed, fine, bound=bound), agree(observed[::2], coarse, bound=bound + bound))


gronwall = Claim(
    "linearisation.discrepancy-bound",
    source="B eq. 19, lemma 4",
    says="Network and linear model part by at most the summed change of the kernel, decaying and amplified.",
    formula=lin.bound,
    lhs=r"\lVert g^{\mathrm{lin}}(t) - g(t) \rVert",
    relation=r"\le",
    uses=("linearisation.growth",),
    near_misses={
        "no amplification": lambda: lin.bound().xreplace(
            {exp(Integral(ETA * CHANGE(PAST), (PAST, 0, TIME))): Integer(1)}
        ),
        "largest eigenvalue on the left": lambda: lin.bound().xreplace(
            {exp(-ETA * LAMBDA * TIME): exp(-ETA * LARGEST * TIME)}
        ),
    },
    falsifiers={
        "half of it": lambda: lin.bound() / 2,
        "square of the change": lambda: lin.bound(change=lambda s: CHANGE(s) ** 2),
    },
    mutate=False,
    remark=(
        "$`k(s) = \\lVert\\Theta_s - \\Theta_0\\rVert`$ and $`\\gamma(s) = \\lVert g^{\\mathrm{lin}}(s)\\rVert`$. The "
        "bound is sharp: for one output and a short way to go its ratio to the distance tends to one. For a long way "
        "it is pessimistic, as Gronwall's inequality is."
    ),
)


@gronwall.proof(generic_in="network, outputs, samples, kernels")
def worst_case_rate(formula):
    """The bound starts at zero and its rate exceeds the largest rate that the growth law allows."""
    return lin.is_bound(formula)


def inside(formula: Expr, course: Course) -> Evidence:
    """The bound over the distance, at least one at all times but the very first."""
    ratio, errors = over_distance(formula, course, slice(1, None))
    return at_least(ratio, 1.0, bound=errors).noting(f"bound over distance at least {ratio.min():.3g}")


@gronwall.check(NETWORKS)
def along_the_flow(formula, depth, widths, outputs, samples, activation, shift, horizon, seed):
    """Full networks and their linearisations, trained by accurate gradient flows."""
    return inside(formula, network_course(depth, widths, outputs, samples, activation, shift, horizon, seed))


@gronwall.check(
    grid(depth=[1], widths=["wide"], activation=["tanh"], shift=[1e-3], horizon=[1.0], seed=[0])
    + grid(depth=[2], widths=["wide"], activation=["erf"], shift=[1e-3], horizon=[1.0], seed=[0])
)
def sharp_for_a_short_way(formula, depth, widths, activation, shift, horizon, seed):
    """One output on one sample whose target lies close: the distance attains the bound to first order."""
    course = network_course(depth, widths, 1, 1, activation, shift, horizon, seed)
    ratio, errors = over_distance(formula, course, slice(INTERVALS // 4, None))
    change = RATE * float(accumulated(norms(course.kernels - course.kernels[0]), course.times)[-1])
    return agree(ratio, np.ones_like(ratio), bound=remainder(2 * change) + errors)


@gronwall.figure(slow=True)
def distance_over_time(formula):
    """Distance and bound over time, for a short and for a long way to the targets."""
    panels = []
    for shift, title in ((0.02, "targets close to the outputs"), (1.5, "targets far away")):
        course = network_course(2, "wide", 1, 3, "tanh", shift, 4.0, 11)
        predicted, _ = on_grid(formula, course)
        late = slice(2, None, 2)
        series = (
            Series("bound", course.times[late], predicted[late], "bound"),
            Series("network against its linearisation", course.times[late], course.distance[late], "simulation"),
            Series(
                "residual of the linear model", course.times[late], ingredients(course)[RESIDUAL][late], "reference"
            ),
        )
        panels.append(Panel(title, r"time $t$ in $1/\eta$", "Euclidean norm", series, log_y=True))
    caption = (
        "Distance between a trained tanh network and its linearisation. Near the targets the bound follows the "
        "distance; far from them the kernel moves and the bound grows out of proportion."
    )
    return Figure(caption, tuple(panels))


weaker = Claim(
    "linearisation.weaker-bound",
    source="B eq. 19, lemma 4",
    says="With the norm of the weighted change of the kernel under the integral the bound holds too, and is weaker.",
    formula=lin.weaker_bound,
    lhs=r"\lVert g^{\mathrm{lin}}(t) - g(t) \rVert",
    relation=r"\le",
    uses=("linearisation.discrepancy-bound",),
    near_misses={"largest eigenvalue on the left": lambda: _left(lin.weaker_bound())},
    falsifiers={"a tenth of it": lambda: lin.weaker_bound() / 10},
    mutate=False,
    remark=(
        "$`K(s) = \\lVert e^{\\eta\\Theta_0 s}(\\Theta_s - \\Theta_0)\\rVert`$ is never below $`e^{\\lambda\\eta s} "
        "k(s)`$. The scan of the paper admits both readings; for one output and one sample they agree."
    ),
)


def _left(formula: Expr) -> Expr:
    return formula.xreplace({exp(-ETA * LAMBDA * TIME): exp(-ETA * LARGEST * TIME)})


@weaker.proof(generic_in="network, outputs, samples, kernels")
def larger_integrand(formula):
    """The same comparison of rates, with an integrand that is never smaller."""
    return lin.is_bound(formula)


@weaker.check(
    NETWORKS
    + grid(
        depth=[1], widths=["wide"], outputs=[1], samples=[1], activation=["tanh"], shift=[0.02], horizon=[1.0], seed=[0]
    )
)
def weaker_along_the_flow(formula, depth, widths, outputs, samples, activation, shift, horizon, seed):
    """Full networks and their linearisations, trained by accurate gradient flows."""
    return inside(formula, network_course(depth, widths, outputs, samples, activation, shift, horizon, seed))


fisher = Claim(
    "linearisation.fisher-as-printed",
    source="B eq. 19, lemma 4",
    says="The distance of network and linear model is bounded by the summed change of the Fisher matrix.",
    formula=lambda: lin.bound(LAMBDA_G, FISHER_CHANGE),
    control=lin.bound,
    corrected_by=("linearisation.discrepancy-bound",),
    lhs=r"\lVert g^{\mathrm{lin}}(t) - g(t) \rVert",
    relation=r"\le",
    near_misses={
        "no amplification": lambda: lin.bound().xreplace(
            {exp(Integral(ETA * CHANGE(PAST), (PAST, 0, TIME))): Integer(1)}
        )
    },
    falsifiers={"half of it": lambda: lin.bound() / 2, "a tenth of it": lambda: lin.bound() / 10},
    mutate=False,
    remark=(
        "$`c(s) = \\lVert G_s - G_0\\rVert`$. Spectra coincide, changes do not: the kernel may turn while the "
        "Fisher matrix stays. Besides, with more parameters than points the smallest eigenvalue of the Fisher matrix "
        "is zero, and its exponential says nothing."
    ),
)


@fisher.proof(generic_in="network, outputs, samples, kernels")
def circle_in_closed_form(formula):
    """Two outputs on a circle: the Fisher matrix is constant while the kernel turns."""
    return lin.is_bound_on_circle(formula)


@fisher.check(grid(horizon=[1.0, 4.0]), network=False)
def on_a_circle(formula, horizon):
    """The flow on the circle, integrated."""
    return inside(formula, circle_course(horizon))


@fisher.check(
    grid(
        depth=[1], widths=["wide"], outputs=[1], samples=[1], activation=["tanh"], shift=[1e-3], horizon=[1.0], seed=[0]
    )
)
def full_networks(formula, depth, widths, outputs, samples, activation, shift, horizon, seed):
    """A full network with more parameters than points, where the Fisher matrix changes more than the kernel."""
    return inside(formula, network_course(depth, widths, outputs, samples, activation, shift, horizon, seed))

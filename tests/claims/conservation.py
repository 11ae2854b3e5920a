"""Conservation laws of deep linear networks: what updates without a null component keep, and who breaks it."""

from __future__ import annotations

from math import inf

import numpy as np

from derivations.code import value
from derivations.deep_linear import conservation
from derivations.deep_linear.conservation import V_HERE, V_NEXT
from derivations.notation import W_I, W_NEXT
from numerics.flows import Trajectory
from numerics.rules import BlockNatural, Damped, Fractional, Rule
from tests.checker.bounds import integration, rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import vanishes
from tests.checker.evidence import Bound
from tests.checker.figure import Figure, Panel, Series
from tests.claims.hidden_layers import ORTHOGONAL, RULES, TIMES, Run, course, layer_pairs, multiple, stacked
from tests.claims.settings import Setting, near_solution


def _drift(formula, trajectory: Trajectory) -> np.ndarray:
    """A function of neighbouring layers along a flow, less its value at the start."""
    parts = [value(formula, letters) for letters in layer_pairs(trajectory.weights)]
    return stacked([part - part[:1] for part in parts])


def _drift_budget(trajectory: Trajectory) -> tuple[Bound, float]:
    """The error of sums of products of two weights along a flow, and how far such a sum travels."""
    largest = max(float(w.abs().sum(-1).max() + w.abs().sum(-2).max()) for w in trajectory.weights)
    travels = max(float((w @ w.mT - (w @ w.mT)[:1]).abs().max()) for w in trajectory.weights)
    widest = max(max(w.shape[-2:]) for w in trajectory.weights)
    return integration(4 * largest * trajectory.error) + rounding(largest**2, widest), travels


law = Claim(
    "conservation.weight-balance",
    source="A eq. 4, theorem 1",
    says="Every update orthogonal to the null space conserves the difference of the squares of neighbouring layers.",
    formula=conservation.balance,
    lhs="C_i",
    relation=r"= \text{constant} =",
    given=(ORTHOGONAL,),
    uses=("null-space.gradient-orthogonal", "null-space.natural-gradient-orthogonal"),
    near_misses={
        "sum of the squares": lambda: W_I * W_I.T + W_NEXT.T * W_NEXT,
        "twice the upper square": lambda: W_I * W_I.T - W_NEXT.T * W_NEXT * 2,
    },
    falsifiers={"the lower square alone": lambda: W_I * W_I.T},
    equivalent=multiple,
    remark=(
        "Nothing is asked of the weights: no alignment, no balance, no invertible layer, no white inputs. Whatever "
        "the loss and the batch, an update of the form $`A_i^T \\Lambda B_i^T`$ turns the two squares by the same "
        "amount. A curvature that is cut into layers or weights gives every layer its own $`\\Lambda`$, and the "
        "law is lost."
    ),
)


@law.proof(generic_in="depth, widths, loss, rule, input covariance")
def both_squares_change_alike(formula):
    """Insert the general update without null component into the rate of the formula."""
    return conservation.conserved(formula)


def _conserved(formula, run: Run, trajectory: Trajectory):
    bound, travels = _drift_budget(trajectory)
    drift = _drift(formula, trajectory)
    return vanishes(drift, bound=bound, scale=travels).on(run)


@law.check(
    grid(depth=[3], q=[1, 1.5, 2, inf], widths=["square"], correlated=[True], seed=[0])
    + grid(depth=[2], q=[1, inf], widths=["widening", "narrowing", "waist"], correlated=[True], seed=[0])
    + grid(depth=[3], q=[2], widths=["wide"], correlated=[False], seed=[0])
)
def fractional_flows(formula, depth, q, widths, correlated, seed):
    """Along flows of the fractional rules, from natural gradient (q = 1) to gradient descent (q infinite)."""
    return _conserved(formula, *course(depth, widths, seed, Fractional(q), correlated))


@law.check(grid(depth=[2], epsilon=[0.1, 1.0], widths=["widening"], correlated=[True], seed=[0]))
def damped_flows(formula, depth, epsilon, widths, correlated, seed):
    """Along flows of damped natural gradient descent."""
    return _conserved(formula, *course(depth, widths, seed, Damped(epsilon), correlated))


@law.check(grid(depth=[3], rule=["clipped", "minibatch"], widths=["narrowing"], seed=[0]))
def clipped_and_minibatch_flows(formula, depth, rule, widths, seed):
    """Along flows of clipped gradients, and of the gradient of one noisy sample."""
    return _conserved(formula, *course(depth, widths, seed, RULES[rule]))


BREAKING = ["block-natural", "block-square-root", "per-coordinate"]


@law.without(ORTHOGONAL, grid(depth=[2], rule=BREAKING, widths=["square", "wide"], seed=[0]))
def flows_with_null_component(formula, depth, rule, widths, seed):
    """Along flows of rules with one curvature for each layer or each weight, which have null components."""
    return _conserved(formula, *course(depth, widths, seed, RULES[rule], times=TIMES[:3]))


@law.figure
def balance_along_flows(formula):
    """Entries of one balance along natural gradient flows of the whole network and of each layer by itself."""
    times = tuple(0.2 * k for k in range(16))
    panels = []
    for title, rule in (("natural gradient descent", Fractional(1)), ("within each layer", BlockNatural())):
        run, trajectory = course(3, "square", 3, rule, times=times)
        start = value(formula, layer_pairs(run.setting.net.weights)[0])
        found = value(formula, layer_pairs(trajectory.weights)[0])
        places = [(0, 0), (0, 1), (1, 1), (1, 2)]
        lines = tuple(Series(f"entry {a + 1}{b + 1}", times, [start[a, b]] * len(times)) for a, b in places)
        dots = tuple(Series(f"entry {a + 1}{b + 1}, network", times, found[:, a, b], "simulation") for a, b in places)
        drift = Series("largest drift", times, np.abs(found - start).max((-2, -1)), "simulation")
        bound = _drift_budget(trajectory)[0].total
        panels.append(Panel(title, r"$\eta t$", "entries of $C_1$", lines + dots, residual=drift, residual_bound=bound))
    return Figure(
        "Four entries of the balance: lines where the law puts them, dots from the flow of a network.", tuple(panels)
    )


strong = Claim(
    "conservation.strong-form",
    source="A section 2, after theorem 1",
    says="An update orthogonal to the null space multiplies into both neighbouring layers to one and the same matrix.",
    formula=conservation.strong_form,
    relation=r"= 0 =",
    given=(ORTHOGONAL,),
    uses=("null-space.gradient-orthogonal", "null-space.natural-gradient-orthogonal"),
    near_misses={"plus between the layers": lambda: V_HERE * W_I.T + W_NEXT.T * V_NEXT},
    falsifiers={
        "one product transposed": lambda: V_HERE * W_I.T - V_NEXT.T * W_NEXT,
        "one layer alone": lambda: V_HERE * W_I.T,
    },
    equivalent=multiple,
    remark=(
        "The symmetric part is the conservation law. The antisymmetric part cannot be integrated to a conserved "
        "quantity: it is a non-holonomic constraint, like rolling without slipping, and the reason why conserved "
        "balances do not fix the path."
    ),
)


@strong.proof(generic_in="depth, widths, loss, rule, input covariance")
def both_products_are_one_matrix(formula):
    """Insert the general update without null component."""
    return conservation.vanishes_on_updates(formula)


@strong.check(
    grid(depth=[2, 3, 5], q=[1, 1.5, 2, inf], widths=["square", "widening", "waist"], correlated=[True], seed=[0])
)
def velocities_of_fractional_rules(formula, depth, q, widths, correlated, seed):
    """The velocities of fractional rules on full networks."""
    return _instant(formula, near_solution(depth, widths, seed, correlated=correlated), Fractional(q))


def _instant(formula, setting: Setting, rule: Rule):
    velocity = rule.velocity(setting.net, setting.problem)
    letters = layer_pairs(setting.net.weights, velocity)
    found = stacked([value(formula, one) for one in letters])
    size = max(float(np.abs(one["v_i"]).sum(-1).max() * np.abs(one["w_i"]).max()) for one in letters)
    # the power enters as one matrix for all layers: only the products with it round differently in the two layers
    bound = rounding(size * setting.net.depth, 2 * sum(setting.net.widths))
    return vanishes(found, bound=bound, scale=size).on(Run(setting, rule))


@strong.without(ORTHOGONAL, grid(depth=[2, 3], rule=BREAKING, widths=["square", "wide"], seed=[0]))
def velocities_with_null_component(formula, depth, rule, widths, seed):
    """The velocities of rules with one curvature for each layer or each weight."""
    return _instant(formula, near_solution(depth, widths, seed), RULES[rule])

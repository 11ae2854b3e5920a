"""Closed forms of the map of two unbalanced layers, at three orders: the natural gradient is not the only one."""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np
from sympy import FiniteSet, Rational, atan, atanh, exp, sqrt

from derivations.compiled import evaluate, function
from derivations.deep_linear import unbalanced
from derivations.deep_linear.unbalanced import GOAL_NORM, IMBALANCE, NORM, SHARE_0, SHARE_STAR, U
from derivations.notation import ETA, SIGMA, SIGMA_0, SIGMA_STAR, TIME, Q
from numerics.flows import flow
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, both, equal
from tests.checker.evidence import Bound, Evidence, Outcome
from tests.checker.figure import Figure, Panel, Series
from tests.claims.assumptions import ACTIVE, ALIGNED, WHITENED
from tests.claims.closed_forms import returned_times
from tests.claims.maps import NONNEGATIVE, map_history, order_rule
from tests.claims.settings import Setting, aligned, array

GIVEN = (ALIGNED, ACTIVE, WHITENED, NONNEGATIVE)
STARTS, IMBALANCES, GOALS = (0.1, 0.35), (0.8, 0.3), (1.0, 1.6)
TIMES = (0.0, 0.4, 1.2, 3.0)


@lru_cache(maxsize=32)
def two_layers(widths: str | tuple[int, ...], exchanged: bool, starts: tuple[float, ...] = STARTS) -> Setting:
    """Two layers with given map values and imbalances; ``exchanged`` puts the larger one last."""
    s, c = np.array(starts), np.array(IMBALANCES)
    outer = np.sqrt((c + np.sqrt(c**2 + 4 * s**2)) / 2)
    table = (outer, s / outer)
    rows = tuple(tuple(float(x) for x in row) for row in (table[::-1] if exchanged else table))
    return aligned(2, widths, 0, modes=rows, goals=GOALS)


def _values(extra: dict | None = None) -> dict:
    known = {SIGMA_0: np.array(STARTS), SIGMA_STAR: np.array(GOALS), IMBALANCE: np.array(IMBALANCES), ETA: 1.0}
    return {**known, **(extra or {})}


NETS = grid(widths=["widening", "waist"], exchanged=[False, True])

gradient = Claim(
    "closed-form.unbalanced-gradient",
    source="A after eq. 20",
    says=(
        "Under gradient descent the map of two unbalanced layers is elementary: a logistic curve in the right variable."
    ),
    formula=unbalanced.gradient,
    given=GIVEN,
    uses=("map.rate", "modes.hyperbola"),
    near_misses={
        "rate of balanced layers": lambda: {
            **unbalanced.gradient(),
            "course": unbalanced.gradient()["course"].subs(GOAL_NORM, GOAL_NORM - IMBALANCE),
        },
        "start and goal exchanged": lambda: {
            **unbalanced.gradient(),
            "course": unbalanced.gradient()["course"].subs(
                {SHARE_0: SHARE_STAR, SHARE_STAR: SHARE_0}, simultaneous=True
            ),
        },
    },
    falsifiers={"share linear in the map": lambda: {**unbalanced.gradient(), "share": SIGMA / IMBALANCE}},
    remark=(
        "Imbalance makes learning faster: the rate at the goal is $`\\eta\\sqrt{c^2 + 4\\sigma^{*2}}`$, and at "
        "zero it is $`\\eta|c|`$ "
        "and not zero. The saddle that slows balanced layers is not there."
    ),
)


@gradient.proof(generic_in="imbalance, start, goal, rate; d = 2")
def logistic_in_the_share(formula):
    """Substitution into the squared equation, rational in the share of the layers."""
    return unbalanced.solves_gradient(formula)


@gradient.check(NETS)
def gradient_descent_of_two_layers(formula, widths, exchanged):
    """Full networks under gradient descent, with the larger layer first or last."""
    setting = two_layers(widths, exchanged)
    found, bound = map_history(setting, order_rule(inf, 1.0), TIMES)
    return agree(found, course(formula, np.array(TIMES)[:, None]), bound=bound).on(setting)


def course(formula: dict, time: np.ndarray) -> np.ndarray:
    """Map values in time from the three pieces: shares of start and goal, their course, and back."""
    known = _values({TIME: time})
    goal, c = known[SIGMA_STAR], known[IMBALANCE]
    shares = {
        SHARE_0: evaluate(formula["share"], {**known, SIGMA: known[SIGMA_0]}),
        SHARE_STAR: evaluate(formula["share"], {**known, SIGMA: goal}),
        GOAL_NORM: np.sqrt(c**2 + 4 * goal**2),
    }
    return evaluate(formula["map"], {**known, U: evaluate(formula["course"], {**known, **shares})})


natural = Claim(
    "closed-form.unbalanced-natural",
    source="A after eq. 20",
    says="Under natural gradients the map of two unbalanced layers is linear, and each layer follows its hyperbola.",
    formula=unbalanced.natural,
    given=GIVEN,
    uses=("map.rate", "modes.hyperbola"),
    near_misses={
        "layers exchanged": lambda: {
            **unbalanced.natural(),
            "first layer squared": (unbalanced.squared_norm() - IMBALANCE) / 2,
        },
        "balanced layer": lambda: {**unbalanced.natural(), "first layer squared": SIGMA},
    },
    falsifiers={
        "rate with the imbalance": lambda: {
            **unbalanced.natural(),
            "map": SIGMA_STAR + (SIGMA_0 - SIGMA_STAR) * exp(-ETA * IMBALANCE * TIME),
        }
    },
    remark="The map does not know of the imbalance; the layers share the work by it.",
)


@natural.proof(generic_in="imbalance, start, goal, rate; d = 2")
def linear_map_and_hyperbola(formula):
    """Substitution into the linear equation; product and difference of the squared layers."""
    return unbalanced.solves_natural(formula)


@natural.check(NETS)
def natural_gradient_of_two_layers(formula, widths, exchanged):
    """Map and larger layer of full networks under natural gradient descent."""
    setting = two_layers(widths, exchanged)
    found, bound = map_history(setting, order_rule(1.0, 1.0), TIMES)
    squares, error = _squares(setting, exchanged)
    known = _values({TIME: np.array(TIMES)[:, None]})
    value = np.broadcast_to(evaluate(formula["map"], known), found.shape)
    first = evaluate(formula["first layer squared"], {**known, SIGMA: value})
    budget = bound + Bound((("error of the weights", error),))
    return both(agree(found, value, bound=bound), agree(squares, first, bound=budget)).on(setting)


@lru_cache(maxsize=16)
def _squares(setting: Setting, exchanged: bool) -> tuple[np.ndarray, float]:
    """Squares (T, r) of the larger layer along natural gradient descent, and their error."""
    path = flow(setting.net, setting.problem, order_rule(1.0, 1.0), TIMES)
    layer = array(setting.frame.modes(path.nets()))[:, 1 if exchanged else 0]
    return layer**2, 2 * float(np.abs(layer).max()) * max(setting.net.widths) * path.error


def _elementary_part() -> object:
    return (atanh(NORM / sqrt(GOAL_NORM)) - atan(NORM / sqrt(GOAL_NORM))) / sqrt(GOAL_NORM)


root = Claim(
    "closed-form.unbalanced-sqrt",
    source="A after eq. 20",
    says=(
        "Under the square root rule time is an elliptic integral of the norm of the couplings of two unbalanced layers."
    ),
    formula=unbalanced.square_root,
    lhs=r"\eta t + \mathrm{const}",
    given=GIVEN,
    uses=("map.rate", "modes.hyperbola"),
    near_misses={
        "elementary part alone": _elementary_part,
        "elliptic part with the opposite sign": lambda: 2 * _elementary_part() - unbalanced.square_root(),
    },
    falsifiers={"modulus 1/4": lambda: unbalanced.square_root().subs(Rational(1, 2), Rational(1, 4))},
    remark=(
        "Here V is the norm of the couplings, with $`V^4 = c^2 + 4\\sigma^2`$, and R its square at the goal. The "
        "elliptic functions "
        "of modulus one half are those of the lemniscate."
    ),
    mutate=True,
)


@root.proof(generic_in="imbalance, start, goal, rate; d = 2")
def elliptic_derivative(formula):
    """The derivative of the elliptic integrals is algebraic and equals the inverse rate."""
    return unbalanced.solves_square_root(formula)


@lru_cache(maxsize=16)
def _couplings(setting: Setting) -> tuple[np.ndarray, np.ndarray, Bound, tuple[float, ...]]:
    times = (0.0, 0.4, 1.2)
    found, bound = map_history(setting, order_rule(2.0, 1.0), times)
    return found, (np.array(IMBALANCES) ** 2 + 4 * found**2) ** 0.25, bound, times


@root.check(grid(widths=["widening"], exchanged=[False, True]))
def square_root_rule_of_two_layers(formula, widths, exchanged):
    """Times of the flow of full networks, recovered from the norm of the couplings."""
    setting = two_layers(widths, exchanged)
    found, norm, bound, times = _couplings(setting)
    goals, c = np.array(GOALS), np.array(IMBALANCES)
    ends = np.sqrt(c**2 + 4 * goals**2)
    read = function(formula, (NORM, GOAL_NORM, IMBALANCE, SIGMA_STAR), backend="mpmath", dps=20)
    clock = np.array([[complex(read(*point)).real for point in zip(row, ends, c, goals, strict=True)] for row in norm])
    speed = float(((goals - found) * norm).min())
    return returned_times(found, clock, np.ones(2), bound, times, speed).on(setting)


@gradient.figure
def three_orders(formula):
    """The map of two unbalanced layers under gradient descent, square root and natural gradient."""
    fine, k = np.linspace(0, 4, 120), 0
    at = {name: value[k] if np.ndim(value) else value for name, value in _values().items()}
    setting, dots = two_layers("widening", False), np.linspace(0, 4, 17)
    series = [Series("gradient descent", fine, course(formula, fine[:, None])[:, k])]
    series.append(Series("natural gradient", fine, evaluate(unbalanced.natural()["map"], {**at, TIME: fine})))
    end = (IMBALANCES[k] ** 2 + 4 * GOALS[k] ** 2) ** 0.5
    values = STARTS[k] + (GOALS[k] - STARTS[k]) * (1 - np.geomspace(1, 0.02, 40))
    norms = (IMBALANCES[k] ** 2 + 4 * values**2) ** 0.25
    read = function(unbalanced.square_root(), (NORM, GOAL_NORM, IMBALANCE, SIGMA_STAR), backend="mpmath", dps=20)
    clock = np.array([complex(read(v, end, IMBALANCES[k], GOALS[k])).real for v in norms])
    series.append(Series("square root", clock - clock[0], values))
    for number, q in enumerate((inf, 1.0, 2.0)):
        path = flow(setting.net, setting.problem, order_rule(q, 1.0), dots.tolist(), tolerance=1e-8)
        found = array(setting.frame.modes(path.nets())).prod(1)[:, k]
        series.append(Series("" if number else "network", dots, found, "simulation"))
    panel = Panel("Three orders, unbalanced layers", r"time $\eta t$", r"map value $\sigma$", tuple(series))
    return Figure("The map of two unbalanced layers at three orders, closed forms over full networks.", (panel,))


printed = Claim(
    "closed-form.only-natural-as-printed",
    source="A after eq. 20",
    says="Among all orders, only the natural gradient has a map with a closed form; listed are the inverse orders 1/q.",
    formula=lambda: FiniteSet(1),
    control=unbalanced.solved_orders,
    corrected_by=("closed-form.unbalanced-gradient", "closed-form.unbalanced-sqrt", "closed-form.unbalanced-natural"),
    lhs=1 / Q,
    relation=r"\in",
    given=GIVEN,
    near_misses={
        "without the square root": lambda: FiniteSet(0, 1),
        "without gradient descent": lambda: FiniteSet(Rational(1, 2), 1),
    },
    falsifiers={"without the natural gradient": lambda: FiniteSet(0, Rational(1, 2))},
    mutate=False,
    remark=(
        "Two layers have closed forms at three orders. For three and more unbalanced layers under the square root "
        "rule none is "
        "known; every case is one quadrature."
    ),
)


@printed.proof(generic_in="imbalance, start, goal, rate; d = 2")
def proved_solutions_are_listed(formula):
    """Every order whose solution is proved must be in the set."""
    return unbalanced.admits_solved(formula)


@printed.check(grid(order=[0, Rational(1, 2), 1]))
def solutions_reproduce_networks(formula, order):
    """Whether an order is listed, against whether its closed form reproduces a full network."""
    checks = {
        0: lambda: gradient_descent_of_two_layers(unbalanced.gradient(), "widening", False),
        Rational(1, 2): lambda: square_root_rule_of_two_layers(unbalanced.square_root(), "widening", False),
        1: lambda: natural_gradient_of_two_layers(unbalanced.natural(), "widening", False),
    }
    if order not in checks:
        raise ValueError(f"order: {order} given, allowed: 0, 1/2, 1")
    found: Evidence = checks[order]()
    listed = [bool(formula.contains(order))]
    return equal(listed, [found.outcome is Outcome.SUPPORTS]).on(two_layers("widening", False))

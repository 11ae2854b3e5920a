"""What map and weights must trade off: powers of the couplings in the rate of one and the speed of the other."""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np
from sympy import Integer

from derivations.compiled import evaluate
from derivations.deep_linear import growth
from derivations.notation import (
    DEPTH,
    Q,
)
from numerics.networks import norm
from numerics.rules import Fractional
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree
from tests.checker.evidence import Bound
from tests.checker.figure import Figure, Panel, Series
from tests.claims.growth import GIVEN
from tests.claims.maps import balanced_start, map_rounding, measured
from tests.claims.modes_natural import RATE
from tests.claims.settings import Setting

tradeoff = Claim(
    "growth.tradeoff",
    source="A section 3.2",
    says="Map and weights cannot both be free of the couplings: their exponents differ by 1 - 1/d at every order.",
    formula=growth.exponents,
    given=GIVEN,
    uses=("map.rate", "modes.fractional-speed"),
    near_misses={
        "weights as the map": lambda: {**growth.exponents(), "weights": growth.exponents()["map"]},
        "weights free of the couplings": lambda: {**growth.exponents(), "weights": Integer(0)},
    },
    falsifiers={"map at half its exponent": lambda: {**growth.exponents(), "map": growth.exponents()["map"] / 2}},
    remark=(
        "Per unit of gap, powers of a small map value. Natural gradient descent has 0 for the map and pays with "
        "$`-(1 - 1/d)`$ for the weights, whose speed explodes at the origin; gradient descent has $`1 - 1/d`$ for the "
        "weights, which stall, and twice that for the map. The square root has 0 for the weights and $`1 - 1/d`$ for "
        "the map, less than the 1 of gradient descent with one hidden layer. What explodes or stalls is the coupling; "
        "a vanishing gap is harmless to every rule."
    ),
)


@tradeoff.proof(generic_in="depth, order q, widths")
def powers_of_the_couplings(formula):
    """Rate of the map and speed of the weights are powers of the couplings, and these a power of the map value."""
    return growth.are_exponents(formula)


SIZES = (1e-3, 0.04)


@lru_cache(maxsize=128)
def pulls(depth: int, q: float, widths: str | tuple[int, ...], size: float) -> tuple[Setting, float, float, float]:
    """Velocity of a map value of the given size and speed of its weights, both per gap, and their relative rounding."""
    setting = balanced_start(depth, widths, 0, starts=(size,), goals=(1.0,))
    velocity = float(measured(setting, q)[0])
    speed = float(norm(Fractional(q, RATE).velocity(setting.net, setting.problem)))
    return setting, velocity / (1 - size), speed / (1 - size), map_rounding(setting, q).total / velocity


@tradeoff.check(
    grid(depth=[2, 4], q=[1, 1.5, 2, inf], widths=["wide"])
    + grid(depth=[1], q=[1, 2], widths=["narrowing"])
    + grid(depth=[3], q=[2, 7], widths=["widening", "narrowing"])
)
def exponents_of_networks(formula, depth, q, widths):
    """Exponents between two sizes of the map, from the velocities of all weights of full balanced networks."""
    (setting, *small), (_, *large) = (pulls(depth, q, widths, size) for size in SIZES)
    span = np.log(SIZES[1] / SIZES[0])
    observed = np.log(np.array(large[:2]) / np.array(small[:2])) / span
    predicted = np.array([float(evaluate(formula[name], {DEPTH: depth, Q: q})) for name in ("map", "weights")])
    bound = Bound((("rounding", (small[2] + large[2]) / span),)) + rounding(1.0, 8)
    return agree(observed, predicted, bound=bound, scale=1.0).on(setting)


@tradeoff.figure
def speeds_over_size(formula):
    """Rate of the map and speed of the weights per gap, over the size of the map, at depth four."""
    depth, sizes, panels = 4, np.geomspace(1e-4, 0.5, 9), []
    for place, (name, label) in enumerate(
        (("map", r"$\dot\sigma / \eta\sigma_\Delta$"), ("weights", r"$\Vert\dot w\Vert / \eta\sigma_\Delta$"))
    ):
        series = []
        for title, q in (("natural gradient", 1.0), ("square root", 2.0), ("gradient descent", inf)):
            dots = [abs(pulls(depth, q, (2,) * 5, float(s))[1 + place]) / RATE for s in sizes]
            slope = float(evaluate(formula[name], {DEPTH: depth, Q: q}))
            series += [
                Series(title, sizes, dots[-1] * (sizes / sizes[-1]) ** slope),
                Series("", sizes, dots, "simulation"),
            ]
        panels.append(Panel(name, r"map value $\sigma$", label, tuple(series), log_x=True, log_y=True))
    return Figure(
        "Balanced networks of four layers: lines have the asserted slopes, dots are velocities of all weights. The "
        "natural gradient is level on the left and explodes on the right, the square root is level on the right.",
        tuple(panels),
    )

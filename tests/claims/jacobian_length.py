"""How small the length must be for a bounded largest singular value: like one over the square root of the depth."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from sympy import Max

from derivations.compiled import evaluate
from derivations.information import free_products, spectral_edges
from derivations.information.edge_values import Edge, least, slopes
from derivations.information.spectral_edges import POWER, SPREAD
from tests.checker.bounds import remainder, rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree
from tests.checker.figure import Figure, Panel, Series
from tests.claims.critical_assumptions import CRITICAL, ORTHOGONAL
from tests.claims.jacobian_growth import measured_power, panel_against_depth
from tests.claims.jacobian_spectrum import FREE, critical, edge_at, near_edge

smooth = Claim(
    "jacobian.edge-smooth-limit",
    source="B sec. 2.2",
    says="With orthogonal weights the largest singular value stays bounded in the depth if the length shrinks like one "
    "over the square root of the depth, and then it has a closed limit.",
    formula=spectral_edges.smooth_limit,
    lhs=r"s_{\max}^2",
    relation=r"\to",
    given=(CRITICAL, ORTHOGONAL),
    uses=("jacobian.edge",),
    near_misses={"sigma_0 for its square": lambda: spectral_edges.smooth_limit().subs(SPREAD, SPREAD**2)},
    falsifiers={"perfect isometry": lambda: 1 + 0 * SPREAD},
    remark=(
        "$`\\sigma_0^2`$ is the limit of $`L (\\mu_2/\\mu_1^2 - 1)`$, that is of $`8 L q^{*2}`$ for tanh: the total "
        "relative variance of the squared singular values. The limit grows like $`e \\sigma_0^2`$ for large spreads."
    ),
)


@smooth.proof(generic_in="activation, spread")
def least_value_of_the_limit(formula):
    """All moments of the slopes beyond the second drop out of the transform of many nearly linear layers."""
    return spectral_edges.is_smooth_limit(formula)


@lru_cache(maxsize=1024)
def shrinking(activation: str, share: float, power: float, depth: int) -> tuple[Edge, float]:
    """The orthogonal edge at q = share L^{-power}, and the total relative variance there."""
    found = slopes(activation, share * depth**-power)
    scale = found.moment(1) ** -0.5
    return least(free_products.edge_curve(), found, depth=depth, sigma_w=scale), depth * found.relative_variance


@smooth.check(grid(activation=["tanh", "erf"], share=[0.1, 0.5, 2.0]), network=False)
def shrinking_lengths(formula, activation, share):
    """Edges at lengths share/sqrt(L) over the limit, extrapolated in the order 1/sqrt(L) of the next cumulant."""
    depths = [4**k for k in range(5, 11)]
    pairs = [shrinking(activation, share, 0.5, depth) for depth in depths]
    ratios = [one.value / float(evaluate(formula, {SPREAD: total**0.5})) for one, total in pairs]
    once = [2 * b - a for a, b in zip(ratios, ratios[1:], strict=False)]
    twice = [(4 * b - a) / 3 for a, b in zip(once, once[1:], strict=False)]
    rest = remainder(abs(once[-1] - once[-2])) + rounding(1.0, 40, float(depths[-1]))
    return agree(twice[-1], 1.0, bound=rest)


@smooth.check(
    grid(activation=["tanh", "erf"], share=[0.003, 0.01], depth=[8], width=[64], seeds=[32]),
)
def nearly_linear_networks(formula, activation, share, depth, width, seeds, seed):
    """Largest squared singular values of networks with small q^*; the next cumulant is a known remainder."""
    found = critical(activation, share, "orthogonal", depth, width, seeds, seed)
    curve, total = shrinking(activation, share, 0.0, depth)
    predicted = float(evaluate(formula, {SPREAD: total**0.5}))
    limit = float(evaluate(spectral_edges.smooth_limit(), {SPREAD: total**0.5}))
    near = near_edge(found, predicted, curve)
    bound = remainder(near.bound + abs(limit - curve.value))
    # a deviation matters on the scale of the distance from an isometry
    return agree(near.observed[0], near.predicted[0], bound=bound).on(found.sample)


THRESHOLDS = {
    "already at 1/L": lambda: Max(0, 1 - POWER),
    "only at L to the power -1/4": lambda: Max(0, 1 - 4 * POWER),
}

law = Claim(
    "jacobian.depth-threshold",
    source="B sec. 2.2",
    says="With orthogonal weights and a smooth activation the largest singular value is bounded in the depth if and "
    "only if the length shrinks at least like one over the square root of the depth; if it shrinks more slowly, the "
    "square grows like a power.",
    formula=spectral_edges.threshold,
    lhs=r"\mathrm{d} \log s_{\max}^2 / \mathrm{d} \log L",
    relation=r"\to",
    given=(CRITICAL, ORTHOGONAL, FREE),
    uses=("jacobian.edge-growth", "jacobian.edge-smooth-limit"),
    near_misses=THRESHOLDS,
    falsifiers={"at no length": lambda: Max(0, 1 - 0 * POWER), "at every length": lambda: 0 * POWER},
    mutate=False,
    remark=(
        "For $`q^* = c L^{-a}`$. At a length that does not depend on depth, $`a = 0`$, the growth is linear. A depth "
        "of 200 needs lengths well below $`1/\\sqrt{8 \\cdot 200} = 1/40`$ to be near an isometry."
    ),
)

printed = Claim(
    "jacobian.orthogonal-bounded-as-printed",
    source="B sec. 2.2",
    says="For orthogonal weights the largest singular value is bounded even as the depth goes to infinity.",
    formula=lambda: 0 * POWER,
    control=spectral_edges.threshold,
    corrected_by=("jacobian.depth-threshold",),
    lhs=r"\mathrm{d} \log s_{\max}^2 / \mathrm{d} \log L",
    relation=r"\to",
    given=(CRITICAL, ORTHOGONAL, FREE),
    near_misses=THRESHOLDS,
    falsifiers={"at any length": lambda: Max(0, 1 - 0 * POWER)},
    mutate=False,
    remark=(
        "The work that is cited lets the length shrink with the depth. At a fixed length, which is what is trained "
        "here, the square grows linearly. Linear orthogonal networks are the exception: all singular values are equal."
    ),
)


@law.proof(generic_in="activation with a quadratic maximum of its slope, power, prefactor")
@printed.proof(generic_in="activation with a quadratic maximum of its slope, power, prefactor")
def total_variance(formula):
    """The power of L in the total relative variance, while it grows."""
    return spectral_edges.is_threshold(formula)


@law.check(
    grid(activation=["tanh", "erf"], share=[0.25], power=[0.0, 0.25, 0.5, 0.75, 1.0]),
    network=False,
)
@printed.check(grid(activation=["tanh"], share=[0.5], power=[0.0, 0.25, 0.5]), network=False)
def exponents_of_the_edge(formula, activation, share, power):
    """Local powers of the edge at up to 2^26 layers; they settle by at least a factor 2 from one to the next."""
    depths = [2**k for k in (14, 18, 22, 26)]
    values = np.log([shrinking(activation, share, power, depth)[0].value for depth in depths])
    local = np.diff(values) / np.log(16)
    rest = remainder(abs(local[-1] - local[-3])) + rounding(1.0, 40, float(depths[-1]))
    return agree(local[-1], evaluate(formula, {POWER: power}), bound=rest, scale=1.0)


def _measured(formula, activation, share, power, depth, width, seeds, seed):
    edges = [shrinking(activation, share, power, n)[0] for n in (depth // 6, depth)]
    lengths = [share * n**-power for n in (depth // 6, depth)]
    limit = float(evaluate(spectral_edges.threshold(), {POWER: power}))
    observed, bound, found = measured_power(activation, lengths, "orthogonal", depth, width, seeds, seed, edges, limit)
    return agree(observed, evaluate(formula, {POWER: power}), bound=bound, scale=1.0).on(found.sample)


@law.check(
    grid(activation=["tanh"], share=[1 / 16], power=[0.5], depth=[12], width=[96], seeds=[24])
    + grid(activation=["erf"], share=[1 / 8], power=[1.0], depth=[12], width=[96], seeds=[24])
)
def exponents_of_networks(formula, activation, share, power, depth, width, seeds, seed):
    """The power between a sixth of the depth and the depth in networks, their Tracy-Widom shifts taken out."""
    return _measured(formula, activation, share, power, depth, width, seeds, seed)


@printed.check(grid(activation=["tanh"], share=[2.0], power=[0.0], depth=[12], width=[96], seeds=[96]))
def networks_of_fixed_length(formula, activation, share, power, depth, width, seeds, seed):
    """The same at a length that does not depend on the depth."""
    return _measured(formula, activation, share, power, depth, width, seeds, seed)


WIDER = grid(activation=["tanh", "erf"], share=[2.0], power=[0.0], depth=[18], width=[128], seeds=[128])


@law.check(WIDER, slow=True)
@printed.check(WIDER, slow=True)
def wider_networks_of_fixed_length(formula, activation, share, power, depth, width, seeds, seed):
    """The same in deeper and wider networks."""
    return _measured(formula, activation, share, power, depth, width, seeds, seed)


@law.figure
def lengths_that_shrink(formula):
    """The edge for lengths that shrink as four powers of the depth."""
    depths = [2**k for k in range(3, 23, 2)]
    series = []
    for power, label in ((0.0, "$a = 0$"), (0.25, "$a = 1/4$"), (0.5, "$a = 1/2$"), (1.0, "$a = 1$")):
        edges = [shrinking("tanh", 0.25, power, depth)[0].value for depth in depths]
        series.append(Series(label, depths, edges))
        slope = float(evaluate(formula, {POWER: power}))
        series.append(
            Series("", depths[-4:], [edges[-1] * (n / depths[-1]) ** slope for n in depths[-4:]], "reference")
        )
    panel = Panel(
        r"tanh, orthogonal, $q^* = L^{-a}/4$", "depth", r"$s_{\max}^2$", tuple(series), log_x=True, log_y=True
    )
    return Figure(
        "The largest squared singular value is bounded when the length shrinks at least like one over the root of the "
        "depth; dashes have the predicted slopes.",
        (panel,),
    )


@printed.figure
def against_depth(formula):
    """Edges and networks against depth, with what a bounded edge would look like."""
    depths = [12, 1000]
    start = edge_at("tanh", 0.5, "orthogonal", depths[0]).value
    power = float(evaluate(printed.formula(), {POWER: 0}))
    printed_line = [start * (depth / depths[0]) ** power for depth in depths]
    return Figure(
        "Lines are edges at infinite width, dots are networks of 80 neurons with the Tracy-Widom shift taken out. The "
        "dashed line is the bounded edge of the statement; at a fixed length no network but the linear orthogonal one "
        "stays below any bound.",
        (panel_against_depth(Series("as printed, $q^* = 1/2$", depths, printed_line, "bound")),),
    )

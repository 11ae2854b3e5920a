"""Update rules: each gives the velocity dw/dt of the weights, time in units of 1 / eta."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Protocol

from numerics import curvature, layerwise
from numerics.curvature import Method
from numerics.networks import DeepLinear, Direction, scaled
from numerics.problems import Problem


class Rule(Protocol):
    """Anything with a velocity: (net, problem) -> direction of the weights' shapes."""

    def velocity(self, net: DeepLinear, problem: Problem) -> Direction:
        """Return dw/dt."""
        ...


@dataclass(frozen=True, slots=True)
class GradientDescent:
    """dw/dt = -eta g."""

    eta: float = 1.0

    def velocity(self, net: DeepLinear, problem: Problem) -> Direction:
        """Return dw/dt."""
        return scaled(curvature.gradient(net, problem), -self.eta)


@dataclass(frozen=True, slots=True)
class Fractional:
    """dw/dt = -eta (H+)^{-1/q} g for q >= 1; q = inf is gradient descent."""

    q: float
    eta: float = 1.0
    method: Method = "auto"

    def __post_init__(self) -> None:
        _root_order(self.q)

    def velocity(self, net: DeepLinear, problem: Problem) -> Direction:
        """Return dw/dt."""
        return scaled(curvature.preconditioned(net, problem, -1 / self.q, method=self.method), -self.eta)


@dataclass(frozen=True, slots=True)
class NaturalGradient:
    """dw/dt = -eta (H+)^+ g."""

    eta: float = 1.0
    method: Method = "auto"

    def velocity(self, net: DeepLinear, problem: Problem) -> Direction:
        """Return dw/dt."""
        return scaled(curvature.preconditioned(net, problem, -1, method=self.method), -self.eta)


@dataclass(frozen=True, slots=True)
class Damped:
    """dw/dt = -eta (1 + epsilon) (epsilon + H+)^{-1} g; usual = True leaves (1 + epsilon) out."""

    epsilon: float
    eta: float = 1.0
    usual: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.epsilon < inf:
            raise ValueError(f"epsilon: {self.epsilon} given, allowed: 0 < epsilon < inf")

    def velocity(self, net: DeepLinear, problem: Problem) -> Direction:
        """Return dw/dt."""
        rate = self.eta if self.usual else self.eta * (1 + self.epsilon)
        return scaled(curvature.damped(net, problem, self.epsilon), -rate)


@dataclass(frozen=True, slots=True)
class BlockNatural:
    """dw_i/dt = -eta_i H_i^+ g_i with one curvature block per layer; rates None means eta_i = eta / d."""

    eta: float = 1.0
    rates: tuple[float, ...] | None = None

    def velocity(self, net: DeepLinear, problem: Problem) -> Direction:
        """Return dw/dt. Raises ValueError unless there is one rate per layer."""
        rates = self.rates or (1 / net.depth,) * net.depth
        if len(rates) != net.depth:
            raise ValueError(f"rates: {len(rates)} given, allowed: {net.depth}, one per layer")
        blocks = layerwise.layer_power(net, problem, -1)
        return tuple(-self.eta * rate * v for rate, v in zip(rates, blocks, strict=True))


@dataclass(frozen=True, slots=True)
class BlockFractional:
    """dw_i/dt = -(eta / d^{1/q}) H_i^{-1/q} g_i with one curvature block per layer, q >= 1."""

    q: float
    eta: float = 1.0

    def __post_init__(self) -> None:
        _root_order(self.q)

    def velocity(self, net: DeepLinear, problem: Problem) -> Direction:
        """Return dw/dt."""
        blocks = layerwise.layer_power(net, problem, -1 / self.q)
        return scaled(blocks, -self.eta * net.depth ** (-1 / self.q))


RULES: dict[str, Callable[..., Rule]] = {
    "gradient": GradientDescent,
    "natural": NaturalGradient,
    "fractional": Fractional,
    "damped": Damped,
    "block-natural": BlockNatural,
    "block-fractional": BlockFractional,
}


def by_name(name: str, **parameters: object) -> Rule:
    """Return the rule registered under a name, for example "fractional" with the parameter q=2."""
    if name not in RULES:
        raise ValueError(f"name: {name!r} given, allowed: {', '.join(RULES)}")
    return RULES[name](**parameters)


def _root_order(q: float) -> None:
    if not q >= 1:
        raise ValueError(f"q: {q} given, allowed: q >= 1")

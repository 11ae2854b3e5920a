"""One step of any Runge-Kutta method, explicit or implicit, with the velocities of its stages."""

from collections.abc import Sequence
from dataclasses import dataclass

from numerics.networks import DeepLinear, Direction, norm
from numerics.problems import Problem
from numerics.rules import Rule

ROUNDS = 200


@dataclass(frozen=True, slots=True)
class Tableau:
    """Coefficients a (s, s) of the stages w + h sum_l a_rl k_l and weights b (s,) of the step."""

    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]

    def __post_init__(self) -> None:
        count = len(self.b)
        if len(self.a) != count or any(len(row) != count for row in self.a):
            shape = (len(self.a), *{len(row) for row in self.a})
            raise ValueError(f"a: shape {shape} given, allowed: ({count}, {count}) for {count} weights")

    @property
    def explicit(self) -> bool:
        """Whether every stage needs earlier ones only."""
        return all(value == 0 for r, row in enumerate(self.a) for value in row[r:])


_ROOT = 3**0.5 / 6
METHODS: dict[str, Tableau] = {
    "euler": Tableau(((0.0,),), (1.0,)),
    "heun": Tableau(((0.0, 0.0), (1.0, 0.0)), (0.5, 0.5)),
    "classical": Tableau(
        ((0.0,) * 4, (0.5, 0.0, 0.0, 0.0), (0.0, 0.5, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)
    ),
    "implicit euler": Tableau(((1.0,),), (1.0,)),
    "midpoint": Tableau(((0.5,),), (1.0,)),
    "gauss": Tableau(((0.25, 0.25 - _ROOT), (0.25 + _ROOT, 0.25)), (0.5, 0.5)),
}


def by_name(name: str) -> Tableau:
    """Return the coefficients of a method by its name."""
    if name not in METHODS:
        raise ValueError(f"method: {name!r} given, allowed: {', '.join(METHODS)}")
    return METHODS[name]


def stages(net: DeepLinear, problem: Problem, rule: Rule, step: float, tableau: Tableau) -> tuple[Direction, ...]:
    """Return the velocities k_r = v(w + h sum_l a_rl k_l) of all stages.

    Implicit stages are found by fixed-point iteration to rounding; ValueError when the step is too long for it.
    """
    count = len(tableau.b)
    found: list[Direction] = [rule.velocity(net, problem)] * count
    change = float("inf")
    for _ in range(count if tableau.explicit else ROUNDS):
        following = [rule.velocity(_moved(net, found, row, step), problem) for row in tableau.a]
        previous, change = change, max(_distance(a, b) for a, b in zip(found, following, strict=True))
        found = following
        size = max(float(norm(one).max()) for one in found)
        # converged means that rounding stops the iteration, wherever the conditioning of the rule puts that
        if change == 0 or (not tableau.explicit and previous <= change <= 1e-9 * size):
            return tuple(found)
    if tableau.explicit:
        return tuple(found)
    raise ValueError(f"step: {step} given, too long for the iteration to contract in {ROUNDS} rounds")


def advance(net: DeepLinear, ks: Sequence[Direction], step: float, tableau: Tableau) -> DeepLinear:
    """Return w + h sum_r b_r k_r."""
    return _moved(net, ks, tableau.b, step)


def _moved(net: DeepLinear, ks: Sequence[Direction], row: Sequence[float], step: float) -> DeepLinear:
    for factor, k in zip(row, ks, strict=True):
        net = net.add(k, step * factor) if factor else net
    return net


def _distance(first: Direction, second: Direction) -> float:
    return float(norm(tuple(a - b for a, b in zip(first, second, strict=True))).max())

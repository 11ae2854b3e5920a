"""One discrete update of the weights along a rule."""

from collections.abc import Callable

import torch

from numerics.networks import DeepLinear, norm
from numerics.problems import Problem
from numerics.rules import Rule

Step = Callable[[DeepLinear, Problem, Rule, float], DeepLinear]


def euler(net: DeepLinear, problem: Problem, rule: Rule, step: float) -> DeepLinear:
    """Return w + h v(w): the discrete update of the rule, order 1."""
    return net.add(rule.velocity(net, problem), step)


def heun(net: DeepLinear, problem: Problem, rule: Rule, step: float) -> DeepLinear:
    """Return w + h (v(w) + v(w + h v(w))) / 2, order 2."""
    first = rule.velocity(net, problem)
    second = rule.velocity(net.add(first, step), problem)
    return net.add(first, step / 2).add(second, step / 2)


def implicit_midpoint(
    net: DeepLinear, problem: Problem, rule: Rule, step: float, *, iterations: int = 200
) -> DeepLinear:
    """Return the w' with w' = w + h v((w + w') / 2), order 2 and exact on quadratic invariants.

    Fixed-point iteration to rounding. Raises ValueError when the step is too long for it to contract.
    """
    velocity = rule.velocity(net, problem)
    change = torch.tensor(torch.inf)
    for _ in range(iterations):
        following = rule.velocity(net.add(velocity, step / 2), problem)
        previous, change = change, norm(tuple(b - a for a, b in zip(velocity, following, strict=True))).max()
        velocity = following
        # converged means that rounding stops the iteration, wherever the conditioning of the rule puts that
        if change == 0 or previous <= change <= 1e-9 * norm(velocity).max():
            return net.add(velocity, step)
    raise ValueError(f"step: {step} given, too long for the iteration to contract in {iterations} rounds")

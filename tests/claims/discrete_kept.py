"""Steps that keep the balance, and weight decay that shrinks it."""

from __future__ import annotations

from functools import lru_cache
from math import inf

from derivations.code import value
from derivations.deep_linear import discrete
from derivations.deep_linear.conservation import STEP, V_HERE, V_NEXT, balance
from derivations.deep_linear.discrete import DECAY
from derivations.notation import W_I, W_NEXT
from numerics import runge_kutta
from numerics.networks import DeepLinear
from numerics.rules import BlockNatural, Fractional, Rule
from numerics.runge_kutta import METHODS
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, vanishes
from tests.checker.evidence import Bound
from tests.claims.discrete import Widths, balances, size, step_rounding
from tests.claims.hidden_layers import ORTHOGONAL, SHAPES, Run, layer_pairs, multiple, stacked
from tests.claims.settings import near_solution

midpoint = Claim(
    "discrete.midpoint-exact",
    source="A eq. 4, in discrete time",
    says="Implicit midpoint and Gauss steps of any length conserve the balance exactly, whatever the update rule of "
    "the family.",
    formula=balance,
    lhs="C_i",
    relation=r"= \text{constant} =",
    given=(ORTHOGONAL,),
    uses=("discrete.runge-kutta-drift",),
    near_misses={
        "sum of the squares": lambda: W_I * W_I.T + W_NEXT.T * W_NEXT,
        "twice the upper square": lambda: W_I * W_I.T - W_NEXT.T * W_NEXT * 2,
    },
    falsifiers={"the lower square alone": lambda: W_I * W_I.T},
    equivalent=multiple,
    remark=(
        "The path of the weights is followed to second order only, yet the law of the flow holds to rounding. What "
        "breaks the law in training is the explicit step, not the length of it."
    ),
)


@midpoint.proof(generic_in="depth, widths, loss, rule, step")
def symmetric_ends(formula):
    """The quantity at both ends of a step whose velocity is taken in the middle."""
    return discrete.is_kept_by_midpoint(formula)


@midpoint.check(
    grid(depth=[2], q=[1], widths=SHAPES, method=["midpoint"], step=[0.25], seed=[0])
    + grid(depth=[3], q=[2, inf], widths=["square"], method=["midpoint", "gauss"], step=[0.1], seed=[0])
)
def long_steps(formula, depth, q, widths, method, step, seed):
    """Five long implicit steps of a full network."""
    run, nets, bound, travels = _implicit_steps(depth, q, widths, method, step, seed, block=False)
    return _kept(formula, run, nets, bound, travels)


@midpoint.without(ORTHOGONAL, grid(depth=[2, 3], widths=["square"], method=["midpoint"], step=[0.1], seed=[0]))
def block_diagonal_steps(formula, depth, widths, method, step, seed):
    """The same method along block-diagonal natural gradient, which has null components."""
    return _kept(formula, *_implicit_steps(depth, 1, widths, method, step, seed, block=True))


@lru_cache(maxsize=64)
def _implicit_steps(
    depth: int, q: float, widths: Widths, method: str, step: float, seed: int, block: bool
) -> tuple[Run, tuple[DeepLinear, DeepLinear], Bound, float]:
    setting = near_solution(depth, widths, seed, correlated=not block)
    rule: Rule = BlockNatural() if block else Fractional(q)
    net, bound = setting.net, rounding(size(setting.net), sum(setting.net.widths))
    for _ in range(5):
        ks = runge_kutta.stages(net, setting.problem, rule, step, METHODS[method])
        bound += step_rounding(net, ks, step)
        net = runge_kutta.advance(net, ks, step, METHODS[method])
    pairs = zip(net.weights, setting.net.weights, strict=True)
    travels = max(float((a @ a.mT - b @ b.mT).abs().max()) for a, b in pairs)
    return Run(setting, rule), (setting.net, net), bound, travels


def _kept(formula, run: Run, nets: tuple[DeepLinear, DeepLinear], bound: Bound, travels: float):
    before, after = (stacked([value(formula, one) for one in layer_pairs(net.weights)]) for net in nets)
    return vanishes(after - before, bound=bound, scale=travels).on(run)


decay = Claim(
    "discrete.weight-decay",
    source="A theorem 1, with weight decay",
    says="With decoupled weight decay every step shrinks the balance by the square of the factor that shrinks the "
    "weights, and adds the drift of the step.",
    formula=discrete.decayed_balance,
    lhs="C_i(w')",
    given=(ORTHOGONAL,),
    uses=("conservation.strong-form", "conservation.euler-drift"),
    near_misses={
        "factor not squared": lambda: (
            balance() * (1 - STEP * DECAY) + (V_HERE * V_HERE.T - V_NEXT.T * V_NEXT) * STEP**2
        ),
        "no drift": lambda: balance() * (1 - STEP * DECAY) ** 2,
    },
    falsifiers={"balance conserved": lambda: balance() + (V_HERE * V_HERE.T - V_NEXT.T * V_NEXT) * STEP**2},
    remark=(
        "In continuous time $`\\dot C_i = -2 \\lambda C_i`$: decay makes every network balanced at a known rate, "
        "without a word about the task. Weights and velocity never mix, which is the strong form of the law."
    ),
)


@decay.proof(generic_in="depth, widths, loss, rule, step, decay")
def cross_terms_vanish(formula):
    """Expand the balance of shrunken and moved layers."""
    return discrete.is_decayed_balance(formula)


@decay.check(
    grid(depth=[2], q=[1], widths=SHAPES, step=[0.2], decay=[0.5], seed=[0])
    + grid(depth=[3], q=[2, inf], widths=["square"], step=[0.2], decay=[0.1, 2.0], seed=[0])
)
def decayed_step(formula, depth, q, widths, step, decay, seed):
    """One step of a fractional rule with weight decay on a full network."""
    setting = near_solution(depth, widths, seed, correlated=True)
    rule = Fractional(q)
    velocity = rule.velocity(setting.net, setting.problem)
    shrunken = setting.net.replace([w * (1 - step * decay) for w in setting.net.weights])
    observed = balances(shrunken.add(velocity, step))
    pairs = layer_pairs(setting.net.weights, velocity)
    predicted = stacked([value(formula, {**one, STEP: step, DECAY: decay}) for one in pairs])
    bound = step_rounding(setting.net, (velocity,), step)
    return agree(observed, predicted, bound=bound).on(Run(setting, rule))

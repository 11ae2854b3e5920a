"""Eigenvalues of the softmax curvature, and what they do to the Fisher matrix of a network."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from sympy import Integer, Rational

from derivations.compiled import evaluate
from derivations.information import likelihoods
from derivations.information.likelihoods import EIGENVALUE, P_I
from numerics.device import generator
from numerics.ensembles import gaussian_inputs, perceptron
from numerics.likelihoods import hessians
from numerics.perceptrons import Perceptron
from numerics.tangent_kernels import fisher_largest
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, at_most, both
from tests.checker.evidence import Bound
from tests.claims.critical import Sample
from tests.claims.loss import Widths
from tests.claims.settings import array, sizes


@lru_cache(maxsize=64)
def classifier(depth: int, widths: Widths, outputs: int, scale: float, samples: int, seed: int) -> Sample:
    """A Gaussian perceptron whose readout has a scale, small for even and large for certain predictions."""
    if outputs != int(outputs) or outputs < 2:
        raise ValueError(f"outputs: {outputs} given, allowed: an integer >= 2")
    n, draw = sizes(depth, widths), generator(seed)
    net = perceptron(n, outputs, draw, ensemble="gaussian", sigma_b=0.3, readout=scale, readout_bias=0.3 * scale)
    return Sample(net, gaussian_inputs(n[0], samples, 1.0, draw))


def tied(depth: int, widths: Widths, outputs: int, samples: int, seed: int) -> Sample:
    """The same with two classes of one half each: opposite readouts of the first two, no others, at inputs zero."""
    sample = classifier(depth, widths, outputs, 1.0, samples, seed)
    net = sample.net
    readout, shift = torch.zeros_like(net.readout), torch.full_like(net.readout_bias, -800.0)
    readout[0], readout[1] = net.readout[0], -net.readout[0]
    shift[:2] = 0
    still = tuple(torch.zeros_like(b) for b in net.biases)
    return Sample(Perceptron(net.weights, still, readout, shift, net.activation), 0 * sample.x)


secular = Claim(
    "fisher.softmax-secular-equation",
    source="B app. B.2",
    says="A number that is no probability of a class is an eigenvalue of the softmax curvature exactly where a sum "
    "over the classes is one.",
    formula=likelihoods.secular_term,
    lhs=r"1 = \sum_i",
    relation="",
    uses=("fisher.output-hessian",),
    near_misses={"probability not squared": lambda: P_I / (P_I - EIGENVALUE)},
    falsifiers={"sign of the eigenvalue": lambda: P_I**2 / (P_I + EIGENVALUE)},
    remark=(
        "The sum rises between neighbouring probabilities, so the eigenvalues lie between them: the largest between "
        "the two largest probabilities, and one is zero. A probability that several classes share is an eigenvalue too."
    ),
)


@secular.proof(generic_in="number of classes, probabilities")
def components_of_an_eigenvector(formula):
    """Solve the eigenvalue equation component by component."""
    return likelihoods.is_secular_term(formula)


@secular.check(
    grid(depth=[2], widths=["wide"], outputs=[2, 3, 10], scale=[0.3, 2.0], seed=[0])
    + grid(depth=[1], widths=["narrowing"], outputs=[5], scale=[1.0], seed=[1])
)
def eigenvalues_in_networks(formula, depth, widths, outputs, scale, seed):
    """The sum over the classes at all eigenvalues of the curvature at the outputs of networks."""
    sample = classifier(depth, widths, outputs, scale, 4, seed)
    p = array(torch.softmax(sample.found.outputs, 0).mT)
    values = array(torch.linalg.eigvalsh(hessians("softmax", sample.found.outputs)))
    observed = evaluate(formula, {P_I: p[:, None, :], EIGENVALUE: values[:, :, None]}).sum(-1)
    # an error of an eigenvalue, a few units in the last place of the largest, is raised by the slope of the sum
    slope = (p[:, None, :] ** 2 / (p[:, None, :] - values[:, :, None]) ** 2).sum(-1).max()
    return agree(observed, np.ones_like(observed), bound=rounding(float(slope), 8 * outputs)).on(sample)


ceiling = Claim(
    "fisher.softmax-ceiling",
    source="beyond B",
    says="The largest eigenvalue of the softmax curvature never exceeds one half, reached by two classes at a tie.",
    formula=likelihoods.softmax_ceiling,
    lhs=r"\max_p \lambda_{\max}(H_g)",
    uses=("fisher.output-hessian",),
    near_misses={"without the tie counted for two": lambda: Rational(1, 4)},
    falsifiers={"the largest probability": lambda: Integer(1)},
    remark=(
        "It is the largest variance that the components of a unit vector can have. A network that is even between ten "
        "classes has one tenth, and a network that is certain has nothing: curvature comes from hesitation between two."
    ),
)


@ceiling.proof(generic_in="number of classes, probabilities")
def variance_of_a_unit_vector(formula):
    """Bound a variance by the range, the range by the length, and reach the bound."""
    return likelihoods.is_softmax_ceiling(formula)


@ceiling.check(grid(depth=[1, 2], widths=["wide", "narrowing"], outputs=[2, 3, 10], seed=[0]))
def largest_over_networks(formula, depth, widths, outputs, seed):
    """The curvature at the outputs of networks from even to certain, and of one that is tied between two classes."""
    nets = [classifier(depth, widths, outputs, scale, 16, seed) for scale in (0.1, 1.0, 4.0, 16.0)]
    last = tied(depth, widths, outputs, 16, seed)
    values = [float(torch.linalg.eigvalsh(hessians("softmax", one.found.outputs)).max()) for one in (*nets, last)]
    return agree(max(values), float(formula), bound=rounding(1.0, 8 * outputs)).on(last)


under = Claim(
    "fisher.softmax-under-identity",
    source="beyond B",
    says="The largest Fisher eigenvalue of a softmax network is at most half of what the identity link would give.",
    formula=likelihoods.softmax_ceiling,
    lhs=r"\max\; \lambda_{\max}(G_{\mathrm{softmax}}) / \lambda_{\max}(G_{\mathrm{id}})",
    uses=("fisher.softmax-ceiling", "fisher.score-products"),
    near_misses={"a quarter": lambda: Rational(1, 4)},
    falsifiers={"no gain": lambda: Integer(1)},
    remark=(
        "Every input enters the Fisher matrix through its own curvature $`H_g \\preceq \\lambda_{\\max}(H_g)`$, so the "
        "ratio is at most the largest of these. It is reached by opposite readouts of two classes at a tie."
    ),
)


@under.proof(generic_in="number of classes, probabilities, network, data")
def squeezed_between_jacobians(formula):
    """Replace the curvature by its largest eigenvalue between the Jacobians, and bound that."""
    return likelihoods.is_softmax_share(formula)


@under.check(
    grid(depth=[2], widths=["wide", "narrowing"], outputs=[2, 10], samples=[1, 8], seed=[0])
    + grid(depth=[1, 4], widths=["square"], outputs=[3], samples=[5], seed=[1])
)
def ratios_in_networks(formula, depth, widths, outputs, samples, seed):
    """Largest Fisher eigenvalues of networks with both likelihoods: below the bound, and at it for tied classes."""
    nets = [classifier(depth, widths, outputs, scale, samples, seed) for scale in (0.3, 1.0, 4.0)]
    last = tied(depth, widths, outputs, samples, seed)
    ratios = [
        float(fisher_largest(one.net, one.x, likelihood="softmax") / fisher_largest(one.net, one.x)) for one in nets
    ]
    reached = float(fisher_largest(last.net, last.x, likelihood="softmax") / fisher_largest(last.net, last.x))
    bound: Bound = rounding(1.0, 8 * outputs * samples + sum(last.net.widths))
    return both(at_most(ratios, float(formula), bound=bound), agree(reached, float(formula), bound=bound)).on(last)

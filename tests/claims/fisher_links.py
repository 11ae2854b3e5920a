"""Links: when the curvature of the likelihood does not depend on the label, and what it is."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from sympy import Integer
from torch import Tensor
from torch.func import jacrev, vmap

from derivations.compiled import evaluate
from derivations.information import likelihoods
from derivations.information.likelihoods import (
    BENT,
    LINK_BEND,
    LINK_SLOPE,
    P_I,
    P_J,
    SURPRISE,
    VARIANCE_OF_LABEL,
)
from numerics.likelihoods import log_likelihood
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree
from tests.claims.critical import Sample
from tests.claims.fisher_networks import labelled, small
from tests.claims.loss import Widths
from tests.claims.settings import array

# natural families of one number: log-partition function A(eta)
FAMILIES = {
    "normal": lambda eta: eta.square() / 2,
    "bernoulli": torch.nn.functional.softplus,
    "poisson": torch.exp,
}
# log p(y | z) written with the mean of the label, and the natural parameter of that mean
LINKS = {
    "logistic": ("bernoulli", torch.sigmoid),
    "probit": ("bernoulli", torch.special.ndtr),
    "log-log": ("bernoulli", lambda z: -torch.expm1(-torch.exp(z))),
    "log": ("poisson", torch.exp),
    "square": ("poisson", lambda z: 1 + z.square()),
    "cube": ("normal", lambda z: z + z**3 / 3),
}
NATURAL = {"normal": lambda m: m, "bernoulli": torch.logit, "poisson": torch.log}
LOGS = {
    "normal": lambda y, m: -((y - m) ** 2) / 2,
    "bernoulli": lambda y, m: y * torch.log(m) + (1 - y) * torch.log1p(-m),
    "poisson": lambda y, m: y * torch.log(m) - m,
}

canonical = Claim(
    "fisher.canonical-link",
    source="B sec. 3",
    says="With a canonical link the curvature of the likelihood is the Hessian of the log-partition function, whatever "
    "the label: no mean over labels is needed.",
    formula=likelihoods.canonical_curvature,
    lhs=r"-\partial_{uv} \log p(y \mid h)",
    near_misses={"sign of the log-partition function": lambda: -BENT},
    falsifiers={"the mean over labels halves it": lambda: BENT / 2},
    remark=(
        "The label enters the log-likelihood linearly in the outputs, and second derivatives do not see linear terms. "
        "Softmax and identity are canonical, and so are logistic and log-linear models."
    ),
)


@canonical.proof(generic_in="log-partition function, label, number of outputs")
def linear_in_the_label(formula):
    """Differentiate twice along two directions, the log-partition function free."""
    return likelihoods.is_canonical_curvature(formula)


@lru_cache(maxsize=64)
def both_curvatures(depth: int, widths: Widths, family: str, seed: int) -> tuple[Sample, np.ndarray, np.ndarray]:
    """Minus Hessians of log p for every label, (R, T, K, K), and Hessians of A, (T, K, K), at outputs of networks."""
    if family in ("softmax", "identity"):
        found = labelled(depth, widths, family, seed)
        sample, labels = found.sample, found.labels

        def log_p(h: Tensor, label: Tensor) -> Tensor:
            return log_likelihood(family, h[:, None], label[..., None])[0]

        def potential(h: Tensor) -> Tensor:
            return torch.logsumexp(h, 0) if family == "softmax" else h.square().sum() / 2

        labels = labels.movedim(-1, 1)
    else:
        sample = small(depth, widths, seed=seed)
        counts = torch.tensor([0.0, 1.0, 2.0, 5.0] if family == "poisson" else [0.0, 1.0], dtype=torch.float64)
        labels = counts[:, None, None].expand(-1, sample.x.shape[-1], sample.net.outputs)
        means = {"normal": lambda h: h, "bernoulli": torch.sigmoid, "poisson": torch.exp}[family]

        def log_p(h: Tensor, label: Tensor) -> Tensor:
            return LOGS[family](label, means(h)).sum()

        def potential(h: Tensor) -> Tensor:
            return FAMILIES[family](h).sum()

    h = sample.found.outputs.mT
    curved = -vmap(vmap(jacrev(jacrev(log_p))), (None, 0))(h, labels)
    return sample, array(curved), array(vmap(jacrev(jacrev(potential)))(h))


@canonical.check(
    grid(depth=[2], widths=["wide"], family=["softmax", "identity", "normal", "bernoulli", "poisson"], seed=[0])
    + grid(depth=[1], widths=["narrowing"], family=["softmax", "poisson"], seed=[1])
)
def every_label(formula, depth, widths, family, seed):
    """Hessians of the log-likelihood at the outputs of networks, label by label, against the log-partition function."""
    sample, curved, potential = both_curvatures(depth, widths, family, seed)
    # log p through the mean of a label loses what the mean loses near certainty: exp of the largest output
    condition = float(sample.found.outputs.abs().max().exp() ** 2)
    bound = rounding(float(abs(curved).max()), 16 * sample.net.outputs, condition)
    return agree(curved, np.broadcast_to(evaluate(formula, {BENT: potential}), curved.shape), bound=bound).on(sample)


link = Claim(
    "fisher.any-link",
    source="B sec. 3",
    says="With another link the curvature of the likelihood depends on the label, through the bend of the link.",
    formula=likelihoods.link_curvature,
    lhs=r"-\partial_z^2 \log p(y \mid z)",
    near_misses={"sign of the part with the label": lambda: LINK_SLOPE**2 * VARIANCE_OF_LABEL + SURPRISE * LINK_BEND},
    falsifiers={
        "no part with the label": lambda: LINK_SLOPE**2 * VARIANCE_OF_LABEL,
        "slope of the link once": lambda: LINK_SLOPE * VARIANCE_OF_LABEL - SURPRISE * LINK_BEND,
    },
    remark=(
        "The part with the label has mean zero, so the mean over labels may be dropped exactly when the link is a "
        "straight line in the natural parameter: canonical, up to scale and shift. A probit output keeps its label."
    ),
)


@link.proof(generic_in="family, link, label")
def through_the_natural_parameter(formula):
    """Differentiate twice through a free link and a free log-partition function."""
    return likelihoods.is_link_curvature(formula)


@lru_cache(maxsize=64)
def link_case(depth: int, widths: Widths, kind: str, seed: int) -> tuple[Sample, np.ndarray, dict]:
    """Minus second derivatives of log p for labels 0 and 1, (2, T K), and derivatives of link and log-partition."""
    if kind not in LINKS:
        raise ValueError(f"link: {kind} given, allowed: {', '.join(LINKS)}")
    family, mean = LINKS[kind]
    sample = small(depth, widths, seed=seed)
    z = sample.found.outputs.flatten()

    def slopes(function, at):
        first = jacrev(function)
        return vmap(first)(at), vmap(jacrev(first))(at)

    def natural(v):
        return NATURAL[family](mean(v))

    eta = natural(z)
    (one, two), (average, spread) = slopes(natural, z), slopes(FAMILIES[family], eta)
    labels = torch.tensor([[0.0], [1.0]], dtype=z.dtype)
    curved = torch.stack([-slopes(lambda v, y=y: LOGS[family](y, mean(v)), z)[1] for y in labels[:, 0]])
    values = {LINK_SLOPE: one, LINK_BEND: two, VARIANCE_OF_LABEL: spread, SURPRISE: labels - average}
    return sample, array(curved), {name: array(value) for name, value in values.items()}


@link.check(grid(depth=[2], widths=["wide"], link=list(LINKS), seed=[0]))
def links_of_networks(formula, depth, widths, link, seed):
    """Curvature of the likelihood at outputs of networks for canonical and other links, labels zero and one."""
    sample, curved, values = link_case(depth, widths, link, seed)
    predicted = evaluate(formula, {str(name): value for name, value in values.items()})
    mean = LINKS[link][1](sample.found.outputs)
    # the logit of a mean near certainty is as ill-conditioned as the mean is close to its end
    condition = float(max(1 / mean.abs().min(), 1 / (1 - mean).abs().min(), 1.0)) ** 2
    return agree(curved, predicted, bound=rounding(float(abs(curved).max() + 1), 64, condition)).on(sample)


entries = Claim(
    "fisher.output-hessian",
    source="B sec. 3, app. B.2",
    says="The curvature of the likelihood is the covariance of the label for the softmax, and the unit matrix for the "
    "identity link.",
    formula=likelihoods.output_hessians,
    uses=("fisher.canonical-link",),
    near_misses={
        "sign between two classes": lambda: {**likelihoods.output_hessians(), "softmax, classes i and j": P_I * P_J}
    },
    falsifiers={
        "probabilities alone": lambda: {**likelihoods.output_hessians(), "softmax, class i": P_I},
        "identity link with a half": lambda: {**likelihoods.output_hessians(), "identity, output i": Integer(1) / 2},
    },
    remark="Rows of the softmax matrix sum to zero: a common shift of all outputs changes no probability.",
)


@entries.proof(generic_in="number of outputs")
def second_derivatives_of_the_potential(formula):
    """Differentiate the log-partition functions, all other classes gathered in one number."""
    return likelihoods.are_output_hessians(formula)


@entries.check(grid(depth=[2], widths=["wide", "narrowing"], seed=[0, 1]))
def entries_in_networks(formula, depth, widths, seed):
    """Hessians of the log-likelihood at outputs of networks, entry by entry, for softmax and identity link."""
    found, predicted = [], []
    sample, softmax, _ = both_curvatures(depth, widths, "softmax", seed)
    _, gauss, _ = both_curvatures(depth, widths, "identity", seed)
    p = array(torch.softmax(sample.found.outputs, 0).mT)
    values = {P_I: p[:, :, None], P_J: p[:, None, :]}
    same = np.eye(p.shape[1], dtype=bool)
    for observed, kind, one, two in (
        (softmax[0], "softmax", "class i", "classes i and j"),
        (gauss[0], "identity", "output i", "outputs i and j"),
    ):
        on, off = (evaluate(formula[f"{kind}, {name}"], values) for name in (one, two))
        found.append(observed)
        predicted.append(np.where(same, np.broadcast_to(on, observed.shape), np.broadcast_to(off, observed.shape)))
    bound = rounding(1.0, 16 * p.shape[1])
    return agree(np.stack(found), np.stack(predicted), bound=bound).on(sample)

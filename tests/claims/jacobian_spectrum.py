"""Spectra of the input-output Jacobian at initialisation: mean, variance and end of the squared singular values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch

from derivations.compiled import evaluate
from derivations.information import free_products
from derivations.information.edge_values import Edge, least, slopes
from derivations.information.free_products import ENSEMBLES, G
from derivations.notation import LAYERS, MU_1, MU_2, SIGMA_W
from numerics.device import generator
from numerics.ensembles import gaussian_inputs, perceptron
from numerics.perceptrons import input_jacobian
from tests.checker.bounds import remainder, rounding, student
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import agree
from tests.checker.evidence import Bound, Evidence
from tests.claims.critical import Sample, critical_sample, point
from tests.claims.critical_assumptions import CRITICAL

FALSE_ALARM = 1e-4
TRACY_WIDOM = -1.2065335745820  # mean of the law of the largest eigenvalue of a real symmetric matrix, tabulated


@dataclass(frozen=True, eq=False)
class Spectra:
    """Squared singular values (S, N) of the Jacobians of a batch of networks, each at one input."""

    sample: Sample

    @cached_property
    def squares(self) -> np.ndarray:
        """All squared singular values, largest first."""
        return torch.linalg.svdvals(input_jacobian(self.sample.found)[:, 0]).square().numpy()

    @property
    def means(self) -> np.ndarray:
        """The mean squared singular value of every network (S,)."""
        return self.squares.mean(-1)

    @property
    def variances(self) -> np.ndarray:
        """Variance over squared mean of the squared singular values of every network (S,)."""
        return self.squares.var(-1) / self.means**2

    @property
    def tops(self) -> np.ndarray:
        """The largest squared singular value of every network, in units of the mean one (S,)."""
        return self.squares[:, 0] / self.means

    def slope_moments(self, k: int) -> np.ndarray:
        """The mean of phi'(h)^{2k} in every network and layer (S, L)."""
        return torch.stack([one[..., 0].pow(2 * k).mean(-1) for one in self.sample.found.slopes], -1).numpy()

    def along_input(self) -> float:
        r"""The largest departure of mean phi'(h)^2 h^2 / (q mean phi'(h)^2) from 1 over the layers, mean over networks.

        A layer acts on the direction of its own input by this factor, on all others by 1.
        """
        parts = []
        for h, slope in zip(self.sample.found.h, self.sample.found.slopes, strict=True):
            a, length = slope[..., 0].square(), h[..., 0].square()
            parts.append((a * length).mean(-1) / (a.mean(-1) * length.mean(-1)) - 1)
        return float(torch.stack(parts, -1).mean(0).abs().max())


def _shallow(sample: Sample) -> bool:
    return sample.net.depth <= 0.15 * min(sample.net.widths)


FREE = Assumption("far fewer layers than neurons", "the depth is at most 15 % of the width", _shallow)


@lru_cache(maxsize=64)
def drawn(activation: str, scale: float, ensemble: str, depth: int, width: int, seeds: int, seed: int) -> Spectra:
    """Networks with weights of a given scale and small biases at inputs of mean square 1, critical or not."""
    draw = generator(seed)
    net = perceptron(
        (width,) * (depth + 1),
        1,
        draw,
        ensemble=ensemble,
        sigma_w=scale,
        sigma_b=0.1,
        activation=activation,
        seeds=seeds,
    )
    return Spectra(Sample(net, gaussian_inputs(width, 1, 1.0, draw, exact=True), ensemble=ensemble))


@lru_cache(maxsize=64)
def critical(activation: str, qstar: float, ensemble: str, depth: int, width: int, seeds: int, seed: int) -> Spectra:
    """Networks on the critical line."""
    return Spectra(
        critical_sample(
            qstar,
            width,
            depth,
            outputs=1,
            samples=1,
            seed=seed,
            seeds=seeds,
            ensemble=ensemble,
            activation=activation,
        )
    )


def sampled(values: np.ndarray) -> Bound:
    """The sampling error of a mean over networks, their deviation estimated from them, at the declared rate."""
    return student(float(values.std()), len(values), FALSE_ALARM)


mean = Claim(
    "jacobian.mean-square",
    source="B sec. 2.2",
    says="The mean squared singular value of the Jacobian is the L-th power of that of one layer.",
    formula=free_products.mean_square,
    lhs=r"\tfrac{1}{N} \mathbb{E}\, \mathrm{Tr}\, J^\mathsf{T} J",
    given=(FREE,),
    near_misses={"the mean singular value, not squared": lambda: (SIGMA_W * MU_1) ** LAYERS},
    falsifiers={
        "one layer fewer": lambda: (SIGMA_W**2 * MU_1) ** (LAYERS - 1),
        "bounded": lambda: SIGMA_W**2 * MU_1 + 0 * LAYERS,
    },
    remark=(
        "So $`\\chi = \\sigma_w^2 \\mu_1 = 1`$ keeps the mean at 1 at any depth. The limit of many neurons comes "
        "first: with as many layers as neurons fluctuations add up and the mean is carried by rare networks."
    ),
)


@mean.proof(generic_in="depth, sigma_w, mu_1")
def transforms_at_zero(formula):
    """Transforms of free factors multiply, and their value at zero is the inverse mean."""
    return free_products.is_mean_square(formula)


@mean.check(grid(depth=[1, 4], scale=[0.8, 1.3], ensemble=["orthogonal"], width=[32]))
def linear_isometries(formula, depth, scale, ensemble, width, seed):
    """Orthogonal linear networks, where the statement is exact."""
    found = drawn("linear", scale, ensemble, depth, width, 3, seed)
    predicted = evaluate(formula, {SIGMA_W: scale, MU_1: 1.0, LAYERS: depth})
    bound = rounding(scale ** (2 * depth), 2 * width * depth + width)
    return agree(found.means, np.broadcast_to(predicted, 3), bound=bound).on(found.sample)


@mean.check(
    grid(activation=["tanh"], depth=[1, 8], scale=[1.2], ensemble=["orthogonal"], width=[128], seeds=[16])
    + grid(activation=["erf"], depth=[4], scale=[1.2], ensemble=["gaussian"], width=[96], seeds=[32])
    + grid(activation=["relu"], depth=[6], scale=[1.5], ensemble=["orthogonal"], width=[96], seeds=[32])
)
def random_networks(formula, activation, depth, scale, ensemble, width, seeds, seed):
    """Random networks with the slopes that their own layers have, in units of the prediction."""
    found = drawn(activation, scale, ensemble, depth, width, seeds, seed)
    slope = np.exp(np.log(found.slope_moments(1)).mean(-1))
    ratio = found.means / evaluate(formula, {SIGMA_W: scale, MU_1: slope, LAYERS: depth})
    # each layer treats one of its N directions, its own input, in another way
    bound = sampled(ratio) + remainder(depth * (found.along_input() + 2 / width) / width)
    return agree(ratio.mean(), 1.0, bound=bound).on(found.sample)


variance = Claim(
    "jacobian.square-variance",
    source="beyond B",
    says="The squared singular values have the relative variance of one layer times the number of layers.",
    formula=free_products.relative_variance,
    lhs=r"\mathrm{Var}(s^2) / (\mathbb{E} s^2)^2",
    given=(FREE,),
    uses=("jacobian.mean-square",),
    near_misses={
        "Gaussian weights count twice": lambda: LAYERS * (MU_2 / MU_1**2 - 1 + 2 * G),
        "mean not squared": lambda: LAYERS * (MU_2 / MU_1 - 1 + G),
    },
    falsifiers={"independent of depth": lambda: MU_2 / MU_1**2 - 1 + G + 0 * LAYERS},
    remark=(
        "Here $`g = 0`$ for orthogonal and $`g = 1`$ for Gaussian weights. Gaussian weights cost one unit a layer; "
        "orthogonal ones cost nothing, and what remains comes from the slopes alone."
    ),
)


@variance.proof(generic_in="depth, mu_1, mu_2, both ensembles")
def transforms_to_first_order(formula):
    """The slope of the logarithm of the transform at zero is the relative variance; it adds over free factors."""
    return free_products.is_relative_variance(formula)


@variance.check(
    grid(activation=["tanh"], depth=[1, 8], scale=[1.2], ensemble=["orthogonal"], width=[128], seeds=[16])
    + grid(activation=["tanh"], depth=[4], scale=[1.2], ensemble=["gaussian"], width=[96], seeds=[32])
    + grid(activation=["relu"], depth=[4], scale=[1.5], ensemble=["orthogonal"], width=[96], seeds=[32])
    + grid(activation=["linear"], depth=[5], scale=[0.8], ensemble=["gaussian"], width=[128], seeds=[24])
)
def random_spectra(formula, activation, depth, scale, ensemble, width, seeds, seed):
    """Relative variances of random networks, with the slopes of their own layers."""
    return _variance(formula, activation, depth, scale, ensemble, width, seeds, seed)


@variance.check(
    grid(activation=["tanh"], depth=[16], scale=[1.2], ensemble=["orthogonal"], width=[256], seeds=[16])
    + grid(activation=["relu"], depth=[8], scale=[1.5], ensemble=["gaussian"], width=[256], seeds=[32]),
    slow=True,
)
def spectra_of_wide_networks(formula, activation, depth, scale, ensemble, width, seeds, seed):
    """The same in wide networks."""
    return _variance(formula, activation, depth, scale, ensemble, width, seeds, seed)


def _variance(formula, activation, depth, scale, ensemble, width, seeds, seed):
    found = drawn(activation, scale, ensemble, depth, width, seeds, seed)
    first, second = (found.slope_moments(k) for k in (1, 2))
    slope = np.exp(np.log(first).mean(-1))
    values = {MU_1: slope, MU_2: slope**2 * (second / first**2).mean(-1), G: ENSEMBLES[ensemble], LAYERS: depth}
    ratio = found.variances / evaluate(formula, values)
    # exact for Gaussian linear layers: 1/2 (L + 1)/N; the mean of a single network costs another 1/N of the variance
    bound = sampled(ratio) + remainder((depth + 3) / (2 * width))
    return agree(ratio.mean(), 1.0, bound=bound).on(found.sample)


edge = Claim(
    "jacobian.edge",
    source="beyond B",
    says="The largest squared singular value is the least value of a curve that one layer determines.",
    formula=free_products.edge_curve,
    lhs=r"s_{\max}^2 = \min_{u > 1}",
    relation=r"",
    given=(FREE, CRITICAL),
    uses=("jacobian.mean-square",),
    near_misses={
        "power L instead of L - 1": lambda: free_products.edge_curve() * free_products.M / (1 + free_products.M),
        "Gaussian factor once for all layers": lambda: (
            free_products.edge_curve() * (1 + free_products.M) ** (G * (1 - LAYERS))
        ),
    },
    falsifiers={"orthogonal for every ensemble": lambda: free_products.edge_curve().subs(G, 0)},
    remark=(
        "In the curve $`m(u) = \\mathbb{E}\\, \\phi'^2 / (u - \\phi'^2)`$. It takes a one-dimensional search, no "
        "sampling and no matrix. Finite networks lie below by the Tracy-Widom shift, which the same curve gives."
    ),
)


@edge.proof(generic_in="depth, sigma_w, activation, both ensembles")
def product_of_transforms(formula):
    """The curve is (1 + m) / (m S) with the transforms of both factors of all layers."""
    return free_products.is_edge_curve(formula)


def predicted_edge(curve, activation: str, qstar: float, ensemble: str, depth: int) -> Edge:
    """The edge of critical networks from a curve."""
    scale = point(activation, qstar).sigma_w
    return least(curve, slopes(activation, qstar), depth=depth, sigma_w=scale, gaussian=ensemble == "gaussian")


@lru_cache(maxsize=1024)
def edge_at(activation: str, qstar: float, ensemble: str, depth: int) -> Edge:
    """The edge of critical networks of infinite width."""
    return predicted_edge(free_products.edge_curve(), activation, qstar, ensemble, depth)


def near_edge(found: Spectra, value: float, limit: Edge) -> Evidence:
    """Largest squared singular values against an asserted edge; the true edge supplies shift and budget.

    The mean of the Tracy-Widom law is known; corrections to it are smaller by N^{-1/3}, and the mean square of a finite
    network is known to 1/N.
    """
    width = found.squares.shape[-1]
    shift = limit.scale * width ** (-2 / 3)
    bound = sampled(found.tops) + remainder(shift * width ** (-1 / 3) + limit.value / width)
    return agree(found.tops.mean(), value + TRACY_WIDOM * shift, bound=bound)


EDGES = (
    grid(activation=["tanh"], qstar=[1 / 64, 0.5], ensemble=["orthogonal"], depth=[6], width=[96], seeds=[64])
    + grid(activation=["tanh"], qstar=[0.5], ensemble=["gaussian"], depth=[3], width=[64], seeds=[128])
    + grid(activation=["relu"], qstar=[1.0], ensemble=["orthogonal"], depth=[4], width=[64], seeds=[128])
    + grid(activation=["linear"], qstar=[1.0], ensemble=["gaussian"], depth=[1, 4], width=[64], seeds=[160])
)


@edge.check(EDGES)
def largest_singular_values(formula, activation, qstar, ensemble, depth, width, seeds, seed):
    """Largest squared singular values of random critical networks."""
    found = critical(activation, qstar, ensemble, depth, width, seeds, seed)
    asserted = predicted_edge(formula, activation, qstar, ensemble, depth).value
    return near_edge(found, asserted, edge_at(activation, qstar, ensemble, depth)).on(found.sample)

"""Which parameters the Fisher matrix contains, and which Jacobian its bound contains."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from derivations.compiled import evaluate
from derivations.information import fisher_blocks
from derivations.information.fisher_blocks import HIDDEN, LARGEST_INWARD, LARGEST_OUTWARD, READOUT
from derivations.notation import SIGMA_W
from numerics.device import generator
from numerics.ensembles import perceptron
from numerics.frames import normal
from numerics.likelihoods import roots
from numerics.perceptrons import input_jacobian, output_jacobians
from numerics.tangent_kernels import fisher_largest
from tests.checker.bounds import rounding
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import agree, at_least, at_most, both
from tests.checker.figure import Figure, Panel, Series
from tests.claims.critical import QSTARS, Sample, critical_sample
from tests.claims.critical_assumptions import ORTHOGONAL
from tests.claims.fisher_networks import small
from tests.claims.loss import Widths
from tests.claims.settings import array, sizes

readout = Claim(
    "fisher.hidden-and-readout",
    source="B sec. 3",
    says="With the readout among the parameters the largest Fisher eigenvalue is at least that of the hidden layers, "
    "and at most that plus the readout's own.",
    formula=fisher_blocks.readout_bounds,
    uses=("fisher.score-products",),
    near_misses={
        "at most the larger of the two": lambda: {**fisher_blocks.readout_bounds(), "at most": HIDDEN},
        "at least a little more": lambda: {**fisher_blocks.readout_bounds(), "at least": HIDDEN + READOUT / 1000},
    },
    falsifiers={"at most the readout's": lambda: {**fisher_blocks.readout_bounds(), "at most": READOUT}},
    remark=(
        "The matrix of the paper leaves the readout out. For one input and the identity link the upper end is reached: "
        "the readout adds a multiple of the unit matrix over the outputs. The lower end is reached if the top "
        "eigenvector sets inputs against each other that the readout cannot tell apart. A comparison of measured "
        "eigenvalues must say which of the two it means."
    ),
)


@readout.proof(generic_in="network, data, likelihood")
def a_square_is_added(formula):
    """Add the readout's square to the form over outputs and data."""
    return fisher_blocks.are_readout_bounds(formula)


def merged(depth: int, widths: Widths, seed: int) -> Sample:
    """A linear network whose first layer maps two far inputs to one point, so that the readout cannot tell them apart.

    It needs an input wider than the first layer; the inputs differ along a direction that the layer does not see.
    """
    n, draw = sizes(depth, widths), generator(seed)
    if n[0] <= n[1]:
        raise ValueError(f"widths: {n} given, allowed: a first width above the second")
    net = perceptron(n, 2, draw, ensemble="gaussian", activation="linear")
    unseen = torch.linalg.svd(net.weights[0]).Vh[-1:].mT
    middle = normal((n[0], 1), draw)
    middle = middle - unseen * (unseen.mT @ middle)
    return Sample(net, middle / 10 + 10 * torch.cat([unseen, -unseen], 1))


def largest_parts(sample: Sample, likelihood: str) -> tuple[float, float, float]:
    """Largest Fisher eigenvalue of all, of the hidden, and of the readout parameters."""
    whole, hidden = (fisher_largest(sample.net, sample.x, which, likelihood) for which in ("all", "hidden"))
    top, left = sample.found.x[-1], roots(likelihood, sample.found.outputs)
    rows = torch.einsum("tkr,nt->trkn", left, torch.cat([top, torch.ones_like(top[:1])])).flatten(2).flatten(0, 1)
    return float(whole), float(hidden), float(torch.linalg.svdvals(rows)[0] ** 2 / sample.x.shape[-1])


@readout.check(
    grid(depth=[1, 3], widths=["wide"], likelihood=["identity", "softmax"], samples=[1, 6], seed=[0])
    + grid(depth=[2], widths=["narrowing"], likelihood=["identity", "softmax"], samples=[2], seed=[1])
)
def between_the_ends(formula, depth, widths, likelihood, samples, seed):
    """Largest eigenvalues of full networks; at the upper end for one input, at the lower one for merged inputs."""
    sample = small(depth, widths, samples=samples, seed=seed)
    whole, hidden, top = largest_parts(sample, likelihood)
    ends = {name: float(evaluate(part, {HIDDEN: hidden, READOUT: top})) for name, part in formula.items()}
    bound = rounding(whole, 2 * sum(sample.net.widths) + 8 * samples * sample.net.outputs)
    found = [at_least(whole, ends["at least"], bound=bound), at_most(whole, ends["at most"], bound=bound)]
    if samples == 1 and likelihood == "identity":
        found.append(agree(whole, ends["at most"], bound=bound))
    if sample.net.widths[0] > sample.net.widths[1]:
        far = merged(depth, widths, seed)
        all_of_it, hidden, top = largest_parts(far, "identity")
        lower = float(evaluate(formula["at least"], {HIDDEN: hidden, READOUT: top}))
        # the two inputs meet after the first layer up to the rounding of inputs of length ten
        found.append(agree(all_of_it, lower, bound=rounding(all_of_it, 40 * sum(far.net.widths))))
    return both(*found).on(sample)


SQUARE = Assumption(
    "square first layer",
    "the first layer is as wide as the input",
    lambda sample: sample.net.widths[0] == sample.net.widths[1],
)

outward = Claim(
    "fisher.two-jacobians",
    source="B sec. 3, fig. 2",
    says="The Jacobian from the first layer to the outputs, which bounds the Fisher matrix, is the input-output "
    "Jacobian seen through the readout, up to the scale of an orthogonal first layer.",
    formula=fisher_blocks.outward_jacobian,
    lhs=r"s_{\max}(J^{h^g}_{h^1})",
    given=(ORTHOGONAL, SQUARE),
    near_misses={"scale of the weights forgotten": lambda: LARGEST_OUTWARD},
    falsifiers={"without the readout": lambda: LARGEST_INWARD / SIGMA_W},
    remark=(
        "Here $`s_{gJ}`$ is the largest singular value of readout times input-output Jacobian. A readout to few "
        "outputs sees a random slice of the Jacobian: its largest singular value is near the mean of "
        "the squares, not near their edge."
    ),
)

inward = Claim(
    "fisher.two-jacobians-as-printed",
    source="B abstract, fig. 2",
    says="The singular value that bounds the Fisher matrix is that of the Jacobian from the input to the last layer.",
    formula=fisher_blocks.inward_jacobian,
    control=fisher_blocks.outward_jacobian,
    corrected_by=("fisher.two-jacobians",),
    lhs=r"s_{\max}(J^{h^g}_{h^1})",
    given=(ORTHOGONAL, SQUARE),
    near_misses={"scale of the weights forgotten": outward.near_misses["scale of the weights forgotten"]},
    falsifiers={"without the readout": outward.falsifiers["without the readout"]},
    remark=(
        "The theorem is about the left side, abstract and figure 2 about $`s_J = s_{\\max}(J^{x^L}_{x^0})`$. At large "
        "$`q^*`$ and depth they are orders of magnitude apart, so a correlation with one says nothing about a bound in "
        "the other."
    ),
)


@outward.proof(generic_in="depth, widths, activation, readout")
@inward.proof(generic_in="depth, widths, activation, readout")
def first_layer_and_readout_exchanged(formula):
    """Multiply by the first layer on one side and by the readout on the other."""
    return fisher_blocks.is_outward_jacobian(formula)


@lru_cache(maxsize=64)
def singular_values(qstar: float, width: int, depth: int, outputs: int, seed: int) -> tuple[Sample, np.ndarray, dict]:
    """s_max of J^{h^g}_{h^1} of every sample, and the values of the letters."""
    sample = critical_sample(qstar, width, depth, outputs=outputs, samples=4, seed=seed)
    jacobian = input_jacobian(sample.found)
    outwards = torch.linalg.svdvals(output_jacobians(sample.found)[0])[..., 0]
    seen = torch.linalg.svdvals(sample.net.readout @ jacobian)[..., 0]
    scale = torch.linalg.svdvals(sample.net.weights[0])[0]
    values = {LARGEST_OUTWARD: seen, LARGEST_INWARD: torch.linalg.svdvals(jacobian)[..., 0], SIGMA_W: scale}
    return sample, array(outwards), {str(name): array(value) for name, value in values.items()}


@outward.check(
    grid(qstar=[1 / 64, 0.5, 8.0], width=[40], depth=[1, 8], outputs=[1, 5], seed=[0])
    + grid(qstar=[9e-4], width=[24], depth=[16], outputs=[24], seed=[1])
)
@inward.check(grid(qstar=[0.5, 8.0], width=[80], depth=[12], outputs=[10], seed=[0]))
def jacobians_of_networks(formula, qstar, width, depth, outputs, seed):
    """Both Jacobians of critical orthogonal networks."""
    sample, observed, values = singular_values(qstar, width, depth, outputs, seed)
    bound = rounding(float(max(observed.max(), values["s_J"].max())), 4 * width * (depth + 1))
    return agree(observed, evaluate(formula, values), bound=bound).on(sample)


@inward.figure
def squares_against_depth(formula):
    """Squared largest singular values of both Jacobians against depth, at two of the fixed lengths of the paper."""
    depths, panels = [2, 4, 8, 16, 32], []
    for qstar in (QSTARS[1], QSTARS[2]):
        rows = []
        for depth in depths:
            _, outwards, values = singular_values(qstar, 80, depth, 10, 0)
            theory = np.broadcast_to(evaluate(formula, values), outwards.shape)
            rows.append([np.mean(part**2) for part in (outwards, theory, values["s_J"])])
        seen, theory, whole = np.array(rows).T
        series = (
            Series("first layer to outputs, theory", depths, theory),
            Series("first layer to outputs, network", depths, seen, "simulation"),
            Series("input to last layer", depths, whole, "reference"),
        )
        title = rf"$q^* = {'1/64' if qstar < 0.1 else '1/2'}$"
        panels.append(
            Panel(title, "depth", "mean of the squared largest singular value", series, log_x=True, log_y=True)
        )
    return Figure(
        "Two Jacobians of critical orthogonal networks, width 80, ten outputs: the one in the bound stays near one "
        "while the other grows with depth.",
        tuple(panels),
    )

"""Isometry of back-propagation: the weights that it forces, and the weights that have it or miss it at random."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from derivations import words
from derivations.compiled import evaluate
from derivations.information import isometry
from derivations.information.isometry import SQUARE, WIDTH
from derivations.notation import DEPTH
from numerics import initialisations as init
from numerics.device import generator
from numerics.ensembles import perceptron
from numerics.frames import haar, normal
from numerics.perceptrons import ACTIVATIONS, Perceptron
from tests.checker.bounds import rounding, sampling
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import agree, both
from tests.checker.figure import Figure, Panel, Series
from tests.claims.jacobian_chain import Subject, derivatives
from tests.claims.objectives import whole
from tests.claims.settings import array

SMOOTH = ("tanh", "erf", "linear")
SAMPLES = 20000
FALSE_ALARM = 1e-6


def _isometric(subject: Subject) -> bool:
    return all(np.abs(j.T @ j - np.eye(j.shape[1])).max() < 1e-10 for j in derivatives(subject)["pre-activations"])


ISOMETRIC = Assumption(
    "isometric back-propagation",
    "gradients keep their norm from the outputs down to every layer, at the input in question",
    _isometric,
)


@lru_cache(maxsize=64)
def isometric(depth: int, width: int, activation: str, seed: int) -> Subject:
    """A network of equal widths and an input at which the Jacobians of all layers are chosen orthogonal matrices."""
    if activation not in SMOOTH:
        raise ValueError(f"activation: {activation} given, allowed: {', '.join(SMOOTH)}")
    draw, width = generator(seed), whole("width", width)
    behind = [*(haar(width, draw) for _ in range(depth)), torch.eye(width, dtype=torch.float64)]
    x = here = normal((width, 1), draw)
    act, slope = ACTIVATIONS[activation]
    weights, biases = [normal((width, width), draw) / width**0.5], []
    for layer in range(depth):
        # biases that keep the pre-activations moderate, so that slopes differ but stay away from zero
        h = 2 * torch.rand((width, 1), generator=draw, dtype=torch.float64) - 1
        biases.append((h - weights[-1] @ here)[:, 0])
        # the weights that turn one chosen Jacobian into the one below it: J_{l+1} W D = J_l
        weights.append(torch.linalg.solve(behind[layer + 1], behind[layer]) / slope(h).mT)
        here = act(h)
    biases.append(torch.zeros(width, dtype=torch.float64))
    net = Perceptron(tuple(weights[:-1]), tuple(biases[:-1]), weights[-1], biases[-1], activation)
    return Subject(net, net.forward(x))


FORCED = grid(depth=[1, 2, 6], width=[2, 5], activation=["tanh", "erf"], seed=[0])


def _grams(formula, depth: int, width: int, activation: str, seed: int):
    subject = isometric(depth, width, activation, seed)
    net, found, observed, predicted = subject.net, subject.found, [], []
    for layer, w in enumerate((*net.weights[1:], net.readout)):
        gram, slopes = array(w.mT @ w), array(found.slopes[layer])[:, 0]
        letters = {"D^-1": np.diag(1 / slopes), "D": np.diag(slopes), SQUARE: np.trace(gram) / width}
        observed.append(gram)
        predicted.append(words.evaluate(formula, {**letters, isometry.D: letters["D"]}))
    largest = float(np.abs(observed).max())
    steepest = max(float(1 / s.min()) for s in found.slopes)
    return agree(observed, predicted, bound=rounding(largest, 24 * width, steepest)).on(subject)


forced = Claim(
    "isometry.weights-forced",
    source="B abstract",
    says="If back-propagation keeps all norms at every layer of a network of one width, each weight matrix behind a "
    "hidden layer is an orthogonal matrix divided by the slopes of that layer: orthogonal only where they are equal.",
    formula=isometry.forced_gram,
    lhs=r"{W^{l+1}}^{\mathsf T} W^{l+1}",
    given=(ISOMETRIC,),
    uses=("jacobian.layer-products",),
    near_misses={"inverse slopes once": lambda: words.expression(isometry.D_INVERSE)},
    falsifiers={
        "orthogonal weights": lambda: words.identity(isometry.N),
        "slopes instead of inverse slopes": lambda: isometry.D * isometry.D,
    },
    remark=(
        "In a linear network the slopes are one, and orthogonal weights are necessary if every partial product is to "
        "be an isometry. In a nonlinear one the isometry of one input is never that of another with other slopes, "
        "and orthogonal weights give it at none where the slopes differ."
    ),
)


@forced.proof(generic_in="depth, width, activation")
def two_neighbouring_isometries(formula):
    """Both Jacobians around a weight matrix are isometries, one is the other times weights and slopes."""
    return isometry.is_forced_gram(formula)


@forced.check(FORCED + grid(depth=[3], width=[4], activation=["linear"], seed=[0]))
def weights_of_isometric_networks(formula, depth, width, activation, seed):
    """Weights of networks whose Jacobians, by automatic differentiation, are isometries at one input."""
    return _grams(formula, depth, width, activation, seed)


necessary = Claim(
    "isometry.orthogonal-necessary-as-printed",
    source="B abstract",
    says="Orthogonal weights are necessary for gradient norms to be preserved at initialisation.",
    formula=isometry.scaled_identity,
    control=isometry.forced_gram,
    corrected_by=("isometry.weights-forced",),
    lhs=r"{W^{l+1}}^{\mathsf T} W^{l+1}",
    given=(ISOMETRIC,),
    near_misses={"inverse slopes once": lambda: words.expression(isometry.D_INVERSE)},
    falsifiers={"slopes instead of inverse slopes": lambda: isometry.D * isometry.D},
    remark=(
        "Here $`c`$ is the mean of the diagonal. Weights divided by the slopes of the layer below preserve every "
        "gradient exactly and are not orthogonal, not even up to a scale. As a statement about ensembles, orthogonal "
        "against independent Gaussian weights, the sentence holds."
    ),
)


@necessary.proof(generic_in="depth, width, activation")
def an_isometry_with_other_weights(formula):
    """Rational matrices of one layer, with different slopes, between two isometries."""
    return isometry.is_forced_gram(formula)


@necessary.check(FORCED)
def weights_that_preserve_gradients(formula, depth, width, activation, seed):
    """Weights of networks whose Jacobians, by automatic differentiation, are isometries at one input."""
    return _grams(formula, depth, width, activation, seed)


spread = Claim(
    "isometry.gaussian-spread",
    source="B introduction",
    says="The squared singular values of a product of linear Gaussian layers spread with every layer, so they never "
    "concentrate on one; those of linear orthogonal layers are all one.",
    formula=isometry.second_moment_ratio,
    lhs=r"\mathbb{E}\, \mathrm{tr} (J^{\mathsf T} J)^2 / N",
    near_misses={
        "limit of infinite width": lambda: 1 + DEPTH,
        "independent of depth": lambda: isometry.second_moment_ratio().subs(DEPTH, 1),
    },
    falsifiers={
        "concentrated on one": lambda: DEPTH**0,
        "spread falls with depth": lambda: 1 + 1 / DEPTH,
    },
    remark=(
        "The mean squared singular value is one at every depth and width; this is the mean of its square. In wide "
        "networks it is $`1 + d`$, one more for every layer. So of these two ensembles the paper's sentence is "
        "right, with the word orthogonal restored: only orthogonal layers can concentrate the spectrum."
    ),
)


@spread.proof(generic_in="depth, width")
def moments_layer_by_layer(formula):
    """Gaussian moments of one layer, then induction over the layers."""
    return isometry.is_second_moment_ratio(formula)


@lru_cache(maxsize=32)
def second_moments(depth: int, width: int, seed: int) -> np.ndarray:
    """tr (J^T J)^2 / N of many products of Gaussian layers."""
    width = whole("width", width)
    products = init.gaussian((width,) * (depth + 1), generator(seed), seeds=SAMPLES).product()
    gram = products.mT @ products
    return array(gram.square().sum((-2, -1)) / width)


@spread.check(grid(depth=[1], width=[2]) + grid(depth=[1, 2, 4], width=[8]))
def products_of_random_layers(formula, depth, width, seed):
    """Many products of Gaussian layers, mean and sampling error; the error rate is declared beforehand."""
    found = second_moments(depth, width, seed)
    predicted = evaluate(formula, {DEPTH: depth, WIDTH: width})
    bound = sampling(float(found.std()), SAMPLES, FALSE_ALARM)
    return agree(found.mean(), predicted, bound=bound)


@spread.figure
def spread_over_depth(formula):
    """Mean squared spread of Gaussian products over depth at two widths, and of orthogonal ones."""
    series, depths = [], np.arange(1, 7)
    for width in (8, 32):
        count = 16000 // width
        dots = []
        for depth in depths:
            net = init.gaussian((width,) * (depth + 1), generator(int(depth)), seeds=count)
            gram = net.product().mT @ net.product()
            dots.append(float((gram.square().sum((-2, -1)) / width).mean()))
        theory = evaluate(formula, {DEPTH: depths, WIDTH: width})
        series += [Series(f"Gaussian, width {width}", depths, theory), Series("", depths, dots, "simulation")]
    flat = []
    for depth in depths:
        net = perceptron((16,) * (depth + 1), 16, generator(int(depth)), activation="linear")
        product = torch.linalg.multi_dot([*reversed(net.weights), torch.eye(16, dtype=torch.float64)])
        flat.append(float((product.mT @ product).square().sum() / 16))
    series.append(Series("orthogonal", depths, flat, "simulation"))
    panel = Panel("products of square layers", "depth", r"$\langle s^4 \rangle$", tuple(series), log_y=True)
    return Figure("Mean fourth power of the singular values while the mean square is one.", (panel,))


vacuous = Claim(
    "isometry.factor-undoes-constraint",
    source="B app. B.3.3",
    says="A general invertible factor in front of an orthogonal matrix undoes the constraint: every square weight "
    "matrix is such a product, with any orthogonal matrix.",
    formula=isometry.second_factor,
    lhs="S",
    near_misses={"orthogonal factor not transposed": lambda: isometry.TARGET * isometry.Q},
    falsifiers={"factors exchanged": lambda: isometry.Q.T * isometry.TARGET},
    remark=(
        "The paper's own isotropic scale keeps all singular values equal. Its remark that any invertible square factor "
        "would do as well is true of the parametrisation, but nothing of the geometry is left: $`S Q`$ with "
        "$`S = W Q^{\\mathsf T}`$ has the singular values of $`W`$."
    ),
)


@vacuous.proof(generic_in="width")
def solve_for_the_factor(formula):
    """Multiply the factor by the orthogonal matrix."""
    return isometry.reaches_every_matrix(formula)


@vacuous.check(grid(depth=[1, 3], width=[3, 6], activation=["tanh", "relu"], seed=[0, 1]))
def outputs_of_the_factorised_network(formula, depth, width, activation, seed):
    """Outputs and singular values of a Gaussian network with factor times orthogonal matrix in place of its weights."""
    draw, width = generator(seed), whole("width", width)
    net = perceptron((width,) * (depth + 1), 2, draw, ensemble="gaussian", sigma_b=0.3, activation=activation)
    x, bases = normal((width, 4), draw), [haar(width, draw) for _ in range(depth)]
    factors = [words.evaluate(formula, {"W": array(w), "Q": array(q)}) for w, q in zip(net.weights, bases, strict=True)]
    made = tuple(torch.from_numpy(s) @ q for s, q in zip(factors, bases, strict=True))
    twin = Perceptron(made, net.biases, net.readout, net.readout_bias, activation)
    found = net.forward(x)
    values = [array(torch.linalg.svdvals(w)) for w in net.weights]
    largest = float(np.prod([max(1.0, v.max()) for v in values]) * x.abs().max())
    bound = rounding(largest, 8 * width * (depth + 1))
    return both(
        agree(array(found.outputs), array(twin.forward(x).outputs), bound=bound),
        agree(np.array(values), np.array([np.linalg.svd(s)[1] for s in factors]), bound=bound),
    ).on(Subject(net, found))

"""Networks, frames, initialisations and problems."""

import pytest
import torch

from numerics import device, initialisations, networks, problems
from numerics.initialisations import normal
from numerics.networks import DeepLinear

EPS = torch.finfo(torch.float64).eps


def rng(seed=0):
    return device.generator(seed)


def close(a, b, ulps=200):
    return float((a - b).abs().max()) <= ulps * EPS * max(1.0, float(b.abs().max()))


@pytest.mark.parametrize("widths", [(3, 2), (3, 4, 2), (2, 5, 3, 4), (3, 3, 3, 3, 3)])
@pytest.mark.parametrize("seeds", [None, 3])
def test_product_left_and_right_factor_the_map(widths, seeds):
    net = initialisations.gaussian(widths, rng(), seeds=seeds)
    assert net.widths == widths and net.batch == (() if seeds is None else (seeds,))
    assert net.depth == len(widths) - 1
    for i in range(1, net.depth + 1):
        assert close(net.left(i) @ net.weights[i - 1] @ net.right(i), net.product())
        assert torch.equal(net.lefts()[i - 1], net.left(i)) or close(net.lefts()[i - 1], net.left(i))
        assert close(net.rights()[i - 1], net.right(i))


def test_flatten_is_column_major_layer_by_layer():
    net = DeepLinear((torch.tensor([[1.0, 3.0], [2.0, 4.0]]).double(), torch.tensor([[5.0, 6.0]]).double()))
    assert networks.flatten(net.weights).tolist() == [1, 2, 3, 4, 5, 6]


def test_vec_turns_products_into_kronecker_products():
    g = rng()
    a, x, b = normal((2, 3), g), normal((3, 4), g), normal((4, 5), g)
    assert close(networks.vec(a @ x @ b), torch.kron(b.mT.contiguous(), a) @ networks.vec(x))


def test_unflatten_inverts_flatten():
    net = initialisations.gaussian((3, 5, 2), rng(), seeds=4)
    back = networks.unflatten(networks.flatten(net.weights), net.widths)
    assert all(torch.equal(a, b) for a, b in zip(back, net.weights, strict=True))


def test_add_norm_and_inner_are_those_of_the_flat_vector():
    net = initialisations.gaussian((3, 4, 2), rng(), seeds=2)
    direction = initialisations.gaussian((3, 4, 2), rng(1), seeds=2).weights
    scale = torch.tensor([0.5, -2.0]).double()
    flat, step = networks.flatten(net.weights), networks.flatten(direction)
    assert close(networks.flatten(net.add(direction, scale).weights), flat + scale[:, None] * step)
    assert close(net.norm(), flat.norm(dim=-1))
    assert close(networks.inner(net.weights, direction), (flat * step).sum(-1))


@pytest.mark.parametrize(
    "shapes, message",
    [
        ([(2, 3), (4, 5)], r"layer 2 has shape \(4, 5\), layer 1 has \(2, 3\)"),
        ([(3,)], r"layer 1 has shape \(3,\)"),
        ([], "0 layers given"),
        ([(7, 2, 3), (6, 4, 2)], r"layer 2 has shape \(6, 4, 2\)"),
    ],
)
def test_shapes_that_do_not_chain_are_named(shapes, message):
    with pytest.raises(ValueError, match=message):
        DeepLinear(tuple(torch.zeros(s).double() for s in shapes))


def test_wrong_dtype_layer_and_direction_are_named():
    net = initialisations.gaussian((3, 4, 2), rng())
    with pytest.raises(ValueError, match="layer 1 has dtype torch.float32"):
        DeepLinear((torch.zeros(2, 2, dtype=torch.float32),))
    with pytest.raises(ValueError, match="i: 3 given, allowed: 1 <= i <= 2"):
        net.left(3)
    with pytest.raises(ValueError, match="i: 2 given, allowed: 1 <= i <= 1"):
        net.balance(2)
    with pytest.raises(ValueError, match="direction: layer 2"):
        net.add((net.weights[0], net.weights[0]))
    with pytest.raises(ValueError, match="weights: 1 layers given, allowed: 2"):
        net.replace(net.weights[:1])
    with pytest.raises(ValueError, match="last size 3 given, allowed: 20"):
        networks.unflatten(torch.zeros(3), net.widths)


def test_haar_matrices_are_orthogonal_and_reproducible():
    q = initialisations.haar(4, rng(), 50)
    assert close(q.mT @ q, torch.eye(4).double().expand(50, 4, 4))
    assert torch.equal(q, initialisations.haar(4, rng(), 50))
    # the sign convention of QR would put every trace of the first column on one side
    assert 10 < int((q[:, 0, 0] > 0).sum()) < 40


@pytest.mark.parametrize("widths", [(3, 4, 2), (2, 5, 3, 4), (4, 2, 4)])
def test_aligned_networks_carry_the_signed_modes_and_nothing_else(widths):
    modes = normal((len(widths) - 1, 2), rng(5), 3)
    net, frame = initialisations.aligned(modes, widths, rng())
    assert close(frame.modes(net), modes) and float(frame.leak(net).max()) < 100 * EPS
    teacher = initialisations.aligned_teacher(frame, modes.prod(-2))
    assert close(net.product(), teacher)
    disturbed = net.add(initialisations.gaussian(widths, rng(6), seeds=3).weights, 1e-6)
    assert float(frame.leak(disturbed).min()) > 1e-7


def test_aligned_accepts_outer_frames_and_draws_seeds():
    left, right = initialisations.haar(2, rng(1)), initialisations.haar(3, rng(2))
    modes = torch.tensor([[1.0, -0.5], [0.3, 2.0]])
    net, frame = initialisations.aligned(modes, (3, 4, 2), rng(), left=left, right=right, seeds=2)
    expected = left @ torch.diag(modes.prod(0).double()) @ right[:, :2].mT
    assert net.batch == (2,) and close(net.product(), expected.expand(2, 2, 3))
    assert torch.equal(frame.bases[0][1], right)
    assert not torch.equal(net.weights[0][0], net.weights[0][1])


@pytest.mark.parametrize("widths", [(3, 5, 4, 3), (4, 2, 4), (2, 5, 5, 2), (3, 3, 3)])
def test_balanced_and_unbalanced_factors_of_a_prescribed_map(widths):
    g = rng()
    target = normal((widths[-1], 2), g, 3) @ normal((2, widths[0]), g, 3)
    even = initialisations.balanced(widths, g, product=target)
    uneven = initialisations.with_product(target, widths, g)
    assert close(even.product(), target, 500) and close(uneven.product(), target, 2000)
    assert float(even.imbalance().max()) < 100 * EPS and float(uneven.imbalance().min()) > 1e-3


def test_balanced_from_singular_values():
    net = initialisations.balanced((3, 4, 3), rng(), singular_values=torch.tensor([2.0, 0.5]), seeds=2)
    assert close(torch.linalg.svdvals(net.product()), torch.tensor([2.0, 0.5, 0.0]).double().expand(2, 3))


def test_orthogonal_layers_have_one_singular_value():
    net = initialisations.orthogonal((3, 5, 2), rng(), gain=1.5, seeds=2)
    for w in net.weights:
        assert close(torch.linalg.svdvals(w), torch.full_like(torch.linalg.svdvals(w), 1.5))


def test_gaussian_scale():
    net = initialisations.gaussian((400, 300), rng(), scale=0.5)
    assert abs(float(net.weights[0].std()) / (0.5 / 20) - 1) < 0.02


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda g: initialisations.gaussian((3,), g), r"widths: \(3,\) given"),
        (lambda g: initialisations.bottleneck((3, 3, 3), g), r"widths: \(3, 3, 3\) given"),
        (lambda g: initialisations.aligned(torch.ones(2, 3), (3, 2, 3), g), "modes: shape"),
        (lambda g: initialisations.balanced((3, 2, 3), g), "product: give either"),
        (
            lambda g: initialisations.balanced((3, 2, 3), g, product=torch.eye(3).double()),
            "hidden width 2 given",
        ),
        (lambda g: problems.covariance(3, g, condition=0.5), "condition: 0.5 given"),
        (lambda g: problems.Problem(normal((2, 3), g), -torch.eye(3).double()), "covariance: eigenvalue -1"),
        (lambda g: problems.Problem(normal((2, 3), g), normal((3, 3), g)), "covariance: not symmetric"),
        (lambda g: problems.Problem(normal((2, 3), g), torch.eye(2).double()), "covariance: shape"),
        (lambda g: device.resolve("tpu"), "device: 'tpu' given"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call(rng())
    assert "\n" not in str(caught.value)


def test_cuda_is_refused_where_there_is_none():
    if torch.cuda.is_available():
        assert device.resolve("auto").type == "cuda"
        return
    assert device.resolve("auto").type == "cpu"
    with pytest.raises(ValueError, match="device: 'cuda' given"):
        device.resolve("cuda")


def test_loss_of_data_is_the_quadratic_loss_plus_the_unexplained_rest():
    g = rng()
    x, y = normal((3, 20), g), normal((2, 20), g)
    problem, net = problems.from_data(x, y), initialisations.gaussian((3, 4, 2), g, seeds=3)
    rest = problems.data_loss(DeepLinear((problem.teacher,)), x, y)
    assert close(problems.data_loss(net, x, y), problem.loss(net) + rest)


def test_least_norm_teacher_of_few_samples_interpolates():
    g = rng()
    x, y = normal((5, 3), g), normal((2, 3), g)
    problem = problems.from_data(x, y)
    assert close(problem.teacher @ x, y, 1000)
    assert int(torch.linalg.matrix_rank(problem.root)) == 3
    assert close(problem.root @ problem.root, problem.covariance)


def test_random_covariance_has_the_condition_asked_for():
    found = problems.covariance(4, rng(), condition=50.0)
    values = torch.linalg.eigvalsh(found)
    assert abs(float(values[-1] / values[0]) - 50) < 1e-10 and abs(float(values.mean()) - 1) < 1e-14

"""Data sets: the published layouts are read right, anything else is refused, and what is missing says so."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from numerics import cifar10, data
from reports.__main__ import main

COUNT = 10000


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("LEMMATA_DATA", str(tmp_path / "home"))
    for reader in (data._cifar10, data._svhn):
        reader.cache_clear()
    yield tmp_path / "home"
    for reader in (data._cifar10, data._svhn):
        reader.cache_clear()


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """Six batches of the published layout, whose checksums take the place of the published ones."""
    draw, found = np.random.default_rng(0), {}
    for name in data.CIFAR10:
        rows = draw.integers(0, 256, (12, 3073), dtype=np.uint8)
        rows[:, 0] = draw.integers(0, 10, 12)
        found[name] = rows
        monkeypatch.setitem(data.CIFAR10, name, hashlib.md5(rows.tobytes()).hexdigest())
    return found


def test_digits_are_there_without_files():
    digits = data.load("digits")
    assert data.available("digits")
    assert digits.images.shape == (64, 1797) and digits.labels.shape == (1797,)
    assert float(digits.images.min()) == 0 and float(digits.images.max()) == 1


def test_standardised_images_have_mean_0_and_deviation_1_by_channel():
    draw = torch.Generator().manual_seed(1)
    pixels = torch.rand((3 * 4, 50), generator=draw, dtype=torch.float64)
    planes = data.Images("made up", pixels, torch.zeros(50), 3).standardised().images.unflatten(0, (3, 4))
    assert torch.allclose(planes.mean((1, 2)), torch.zeros(3, dtype=torch.float64), atol=1e-14)
    assert torch.allclose(planes.std((1, 2), correction=0), torch.ones(3, dtype=torch.float64))


def test_padding_is_isometric():
    x = data.load("digits").images[:, :5]
    longer = data.padded(x, 100)
    assert longer.shape == (100, 5) and torch.equal(longer.mT @ longer, x.mT @ x)
    with pytest.raises(ValueError, match="^n: 10 given, allowed: at least 64"):
        data.padded(x, 10)


@pytest.mark.parametrize("name", ["cifar10", "svhn"])
def test_what_is_missing_says_how_to_get_it(name):
    assert not data.available(name)
    with pytest.raises(data.MissingData, match="is not there; .*(lemmata data cifar10|of SVHN into)"):
        data.load(name)


@pytest.mark.parametrize(
    ("name", "part", "message"), [("mnist", "train", "data: 'mnist'"), ("digits", "test", "part: 'test'")]
)
def test_unknown_names_are_refused(name, part, message):
    with pytest.raises(ValueError, match=message):
        data.load(name, part=part)


def test_a_file_that_differs_from_the_published_one_is_refused(home):
    (home / "cifar10").mkdir(parents=True)
    (home / "cifar10" / "test_batch.bin").write_bytes(b"\0" * 3073 * COUNT)
    with pytest.raises(ValueError, match="has the checksum .* allowed: 803d5f7f"):
        data.load("cifar10", part="test")


def layouts(folder: Path, batches: dict[str, np.ndarray]) -> dict[str, Path]:
    """The same images in every layout that is understood, but for those that need all 60,000."""
    places = {kind: folder / kind for kind in ("binary", "python")}
    for place in places.values():
        place.mkdir(parents=True)
    for name, rows in batches.items():
        (places["binary"] / name).write_bytes(rows.tobytes())
        batch = {b"labels": rows[:, 0].tolist(), b"data": rows[:, 1:]}
        (places["python"] / name.removesuffix(".bin")).write_bytes(pickle.dumps(batch, protocol=2))
    return places


@pytest.mark.parametrize("kind", ["binary", "python"])
def test_every_layout_gives_the_same_images(tmp_path, home, made_up, kind):
    assert cifar10.install(layouts(tmp_path, made_up)[kind]) == home / "cifar10"
    train, test = data.load("cifar10"), data.load("cifar10", part="test")
    rows = made_up["data_batch_2.bin"]
    assert train.images.shape == (3072, 60) and test.images.shape == (3072, 12) and train.channels == 3
    assert torch.equal(train.labels[12:24], torch.tensor(rows[:, 0].astype(int)))
    assert np.array_equal((train.images[:, 12:24] * 255).round().numpy().T.astype(np.uint8), rows[:, 1:])


def test_strips_of_images_are_read_a_row_an_image(tmp_path):
    draw = np.random.default_rng(2)
    pixels = draw.integers(0, 256, (3, 1024, 3), dtype=np.uint8)
    for name in data.CIFAR10:
        Image.fromarray(pixels).save(tmp_path / name.replace(".bin", ".png"))
    for part, count in (("train", 5 * COUNT), ("test", COUNT)):
        (tmp_path / f"{part}_labels.json").write_text(json.dumps([k % 10 for k in range(count)]))
    name, labels, rows = next(iter(cifar10._local(tmp_path)))
    assert name == "data_batch_1.bin" and labels[:3].tolist() == [0, 1, 2]
    assert np.array_equal(rows[1, 1024:2048], pixels[1, :, 1])


def test_a_copy_with_one_changed_pixel_is_refused(tmp_path, home, made_up):
    place = layouts(tmp_path, made_up)["binary"]
    spoilt = made_up["data_batch_1.bin"].copy()
    spoilt[3, 7] ^= 1
    (place / "data_batch_1.bin").write_bytes(spoilt.tobytes())
    with pytest.raises(ValueError, match="data_batch_1.bin .* not the published one"):
        cifar10.install(place)
    assert not data.available("cifar10")


def test_a_pickle_that_wants_to_build_anything_is_refused(tmp_path):
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({b"labels": Path("x")}))
    with pytest.raises(ValueError, match="allowed: numbers and arrays only"):
        cifar10._pickled(tmp_path / "data_batch_1")


def test_svhn_has_its_digit_zero_and_its_planes_in_order(home, monkeypatch):
    (home / "svhn").mkdir(parents=True)
    draw = np.random.default_rng(3)
    pictures = draw.integers(0, 256, (32, 32, 3, 4), dtype=np.uint8)
    file = home / "svhn" / "train_32x32.mat"
    savemat(file, {"X": pictures, "y": np.array([[10], [1], [9], [10]])})
    monkeypatch.setitem(data.SVHN, "train_32x32.mat", hashlib.md5(file.read_bytes()).hexdigest())
    found = data.load("svhn")
    assert found.labels.tolist() == [0, 1, 9, 0]
    assert np.array_equal((found.images[1024:2048, 2] * 255).round().numpy(), pictures[:, :, 1, 2].ravel())


def test_the_command_lists_and_explains(capsys, tmp_path):
    assert main(["data"]) == 0
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()][0] == ["digits", "here"]
    assert main(["data", "mnist"]) == 2
    assert "name: mnist given, allowed: cifar10" in capsys.readouterr().err
    assert main(["data", "cifar10", "--from", str(tmp_path)]) == 2
    assert "no copy of CIFAR-10" in capsys.readouterr().err

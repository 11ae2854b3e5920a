"""Image data sets with samples as columns: digits (part of scikit-learn), CIFAR-10 and SVHN from local files.

A data set that is not there is an error that says how to get it; nothing is ever put in its place. Files are looked
for in the folder that LEMMATA_DATA names, or in ~/.lemmata, and must have the published checksums.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

CIFAR10 = {
    "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
    "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
    "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
    "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
    "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
    "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
}
SVHN = {
    "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
    "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
}
_PIXELS = 32 * 32


class MissingData(ValueError):
    """A data set is not on this machine; the message says how to get it."""


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """Images as columns (channels * height * width, count) with grey values in [0, 1], labels (count,), channels."""

    name: str
    images: Tensor
    labels: Tensor
    channels: int = 1

    def standardised(self) -> "Images":
        """Return the images with mean 0 and deviation 1 over all pixels of each channel."""
        planes = self.images.unflatten(0, (self.channels, -1))
        found = (planes - planes.mean((1, 2), keepdim=True)) / planes.std((1, 2), keepdim=True, correction=0)
        return Images(self.name, found.flatten(0, 1), self.labels, self.channels)


def folder() -> Path:
    """Return where local data sets are looked for: the folder named by LEMMATA_DATA, or ~/.lemmata."""
    return Path(os.environ.get("LEMMATA_DATA", "~/.lemmata")).expanduser()


def load(name: str, *, part: str = "train", path: str | Path | None = None) -> Images:
    """Return a data set: "digits" (1797 images of 8 x 8), "cifar10" or "svhn" (32 x 32, three channels).

    part: "train" or "test" (digits has "train" only). path: a folder in place of ``folder()``. Raises ValueError for
    unknown names and files whose checksum is not the published one, MissingData when the files are not there.
    """
    if name not in _LOADERS:
        raise ValueError(f"data: {name!r} given, allowed: {', '.join(_LOADERS)}")
    allowed = ("train",) if name == "digits" else ("train", "test")
    if part not in allowed:
        raise ValueError(f"part: {part!r} given, allowed for {name}: {', '.join(allowed)}")
    return _LOADERS[name](part, folder() / name if path is None else Path(path))


def available(name: str) -> bool:
    """Return whether ``load`` would find the files of a data set (checksums are looked at when loading)."""
    if name not in _LOADERS:
        raise ValueError(f"data: {name!r} given, allowed: {', '.join(_LOADERS)}")
    files = {"digits": (), "cifar10": CIFAR10, "svhn": SVHN}[name]
    return all((folder() / name / file).is_file() for file in files)


def padded(images: Tensor, n: int) -> Tensor:
    """Return columns filled up with zeros to n rows, an isometric embedding; ValueError when they are longer."""
    if images.shape[-2] > n:
        raise ValueError(f"n: {n} given, allowed: at least {images.shape[-2]}, the size of an image")
    return torch.nn.functional.pad(images, (0, 0, 0, n - images.shape[-2]))


@lru_cache(maxsize=2)
def _digits(part: str, path: Path) -> Images:
    from sklearn.datasets import load_digits

    found = load_digits()
    pixels = torch.tensor(found.data.T / 16, dtype=torch.float64)
    return Images("digits", pixels, torch.tensor(found.target))


@lru_cache(maxsize=2)
def _cifar10(part: str, path: Path) -> Images:
    names = list(CIFAR10)[:5] if part == "train" else list(CIFAR10)[5:]
    help_ = "`lemmata data cifar10` downloads it, `lemmata data cifar10 --from FOLDER` reads a copy"
    rows = np.concatenate([_records(read(path / name, CIFAR10[name], help_)) for name in names])
    pixels = torch.tensor(rows[:, 1:].T / 255.0, dtype=torch.float64)
    return Images("cifar10", pixels, torch.tensor(rows[:, 0].astype(np.int64)), 3)


@lru_cache(maxsize=2)
def _svhn(part: str, path: Path) -> Images:
    from io import BytesIO

    from scipy.io import loadmat

    name = f"{part}_32x32.mat"
    help_ = f"put the cropped-digits file {name} of SVHN into {path}"
    found = loadmat(BytesIO(read(path / name, SVHN[name], help_)))
    # (row, column, channel, image) -> planes by channel; the digit 0 carries the label 10
    pixels = found["X"].transpose(2, 0, 1, 3).reshape(3 * _PIXELS, -1) / 255.0
    return Images("svhn", torch.tensor(pixels), torch.tensor(found["y"].ravel().astype(np.int64) % 10), 3)


def read(file: Path, md5: str, how: str) -> bytes:
    """Return the bytes of a file; MissingData when it is not there, ValueError when its checksum differs."""
    if not file.is_file():
        raise MissingData(f"data: {file} is not there; {how}")
    found = file.read_bytes()
    digest = hashlib.md5(found, usedforsecurity=False).hexdigest()
    if digest != md5:
        raise ValueError(f"data: {file} has the checksum {digest}, allowed: {md5}, the published one")
    return found


def _records(content: bytes) -> np.ndarray:
    return np.frombuffer(content, np.uint8).reshape(-1, 1 + 3 * _PIXELS)


_LOADERS: dict[str, Callable[[str, Path], Images]] = {"digits": _digits, "cifar10": _cifar10, "svhn": _svhn}
DATA_SETS = tuple(_LOADERS)

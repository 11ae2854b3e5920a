"""Bring CIFAR-10 into its binary layout from whatever copy there is, and refuse any copy that is not the original.

Understood: the binary version, the Python version (folders of batches), strips of PNG images with JSON labels (one
image a row of 1024 pixels), an .npz file with images and labels, and OpenML. Whatever the source, the six files must
have the published checksums before they are kept.
"""

import codecs
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from numerics.data import CIFAR10, MissingData, folder

Batch = tuple[str, np.ndarray, np.ndarray]


def install(source: str | Path | None = None, target: str | Path | None = None) -> Path:
    """Write the six binary batches into the data folder, from a local copy or (source None) from OpenML.

    Raises MissingData when the source holds no known layout, ValueError when an image or label differs from the
    original.
    """
    place = folder() / "cifar10" if target is None else Path(target)
    batches = _openml() if source is None else _local(Path(source))
    place.mkdir(parents=True, exist_ok=True)
    for name, labels, pixels in batches:
        content = np.concatenate([labels.astype(np.uint8)[:, None], pixels.astype(np.uint8)], 1).tobytes()
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if digest != CIFAR10[name]:
            raise ValueError(f"data: {name} from {source or 'OpenML'} has the checksum {digest}, not the published one")
        part = place / f"{name}.part"
        part.write_bytes(content)
        part.replace(place / name)
    return place


def _local(source: Path) -> Iterator[Batch]:
    layouts = {"test_batch.bin": _binary, "test_batch.png": _strips, "test_batch": _python}
    for base in (source, source / "cifar-10-batches-bin", source / "cifar-10-batches-py", source / "package"):
        for mark, reader in layouts.items():
            if (base / mark).is_file():
                return reader(base)
    if source.suffix == ".npz" and source.is_file():
        return _npz(source)
    raise MissingData(
        f"from: no copy of CIFAR-10 in {source}, allowed: a folder with test_batch.bin, test_batch.png or test_batch, "
        "or an .npz file"
    )


def _binary(base: Path) -> Iterator[Batch]:
    for name in CIFAR10:
        rows = np.fromfile(base / name, np.uint8).reshape(-1, 3073)
        yield name, rows[:, 0], rows[:, 1:]


def _python(base: Path) -> Iterator[Batch]:
    for name in CIFAR10:
        yield name, *_pickled(base / name.removesuffix(".bin"))


def _pickled(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Labels and pixels of a batch of the Python version, by an unpickler that builds nothing but arrays."""
    import pickle

    rebuild = np.empty(0).__reduce__()[0]
    allowed = {
        ("numpy.core.multiarray", "_reconstruct"): rebuild,
        ("numpy._core.multiarray", "_reconstruct"): rebuild,
        ("_codecs", "encode"): codecs.encode,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    class Reader(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> object:
            if (module, name) not in allowed:
                raise ValueError(f"data: {file} holds {module}.{name}, allowed: numbers and arrays only")
            return allowed[module, name]

    with file.open("rb") as stream:
        found = Reader(stream, encoding="bytes").load()
    return np.asarray(found[b"labels"]), np.asarray(found[b"data"])


def _strips(base: Path) -> Iterator[Batch]:
    from PIL import Image

    labels = {part: json.loads(_first(base, part).read_text()) for part in ("train", "test")}
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, 1024 * 10000
    try:
        for place, name in enumerate(CIFAR10):
            with Image.open(base / name.replace(".bin", ".png")) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            mine = labels["test"] if place == 5 else labels["train"][place * 10000 : (place + 1) * 10000]
            yield name, np.asarray(mine), pixels.transpose(0, 2, 1).reshape(len(pixels), 3072)
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _first(base: Path, part: str) -> Path:
    found = sorted(base.glob(f"{part}*.json"))
    if not found:
        raise MissingData(f"from: no labels {part}*.json in {base}")
    return found[0]


def _npz(file: Path) -> Iterator[Batch]:
    with np.load(file) as found:
        names = ("x_train", "y_train", "x_test", "y_test")
        if any(name not in found for name in names):
            raise MissingData(f"from: {file} holds {', '.join(found.files)}, allowed: {', '.join(names)}")
        x, y = (np.concatenate([found[f"{kind}_train"], found[f"{kind}_test"]]) for kind in "xy")
    if x.ndim == 4:
        x = x.transpose(0, 3, 1, 2) if x.shape[-1] == 3 else x
    yield from _batches(x.reshape(len(x), -1), y.ravel())


def _openml() -> Iterator[Batch]:
    from urllib.error import URLError

    from sklearn.datasets import fetch_openml

    try:
        found = fetch_openml(data_id=40927, as_frame=False, parser="auto")
    except (URLError, OSError) as error:
        raise MissingData(f"data: OpenML cannot be reached ({error}); `--from FOLDER` reads a local copy") from None
    yield from _batches(np.asarray(found.data), np.asarray(found.target).astype(int))


def _batches(pixels: np.ndarray, labels: np.ndarray) -> Iterator[Batch]:
    if pixels.shape != (60000, 3072):
        raise ValueError(f"data: images of shape {pixels.shape} given, allowed: (60000, 3072)")
    for place, name in enumerate(CIFAR10):
        rows = slice(place * 10000, (place + 1) * 10000)
        yield name, labels[rows], pixels[rows]

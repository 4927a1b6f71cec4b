"""MNIST as tensors: the whole data set in memory, as bytes, without a per-sample pipeline.

:func:`load` looks in three places, in this order: the folder that ``MNIST_COURSE_DATA`` names, the
user's cache folder, and the mirrors that torchvision knows. Where none of them has MNIST, the
1,797 UCI digits inside scikit-learn stand in for it, with a warning, and ``source`` says so.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import math
import os
import sys
import time
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread
from types import NoneType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_course.arguments import kind_of, one_of, seed_of, tensor, whole
from mnist_course.files import kind_of_file, printable, write

MEAN, STD = 0.1307, 0.3081
"""Mean and standard deviation of the pixels of the 60,000 training images, in [0, 1]."""

VARIABLE = "MNIST_COURSE_DATA"
"""The environment variable that names a folder with MNIST, or asks for the stand-in."""

STAND_IN = "stand-in"

# The four files of MNIST: of each split, the first part of its names and how many digits it has.
_SPLITS = {"train": ("train", 60_000), "test": ("t10k", 10_000)}
_IMAGES, _LABELS = "{}-images-idx3-ubyte", "{}-labels-idx1-ubyte"
_RAW = Path("MNIST", "raw")
# The CRC-32 of each file, unpacked: other data sets have files of the same names and sizes.
_CHECKSUMS = {
    "train-images-idx3-ubyte": 0xE9F4D8B3,
    "train-labels-idx1-ubyte": 0xE0CB4AD2,
    "t10k-images-idx3-ubyte": 0x91373BDF,
    "t10k-labels-idx1-ubyte": 0x4AB9EFF9,
}

_CONNECT_SECONDS = 3.0  # to be answered at all: a machine without network should not wait
_READ_SECONDS = 10.0  # between two pieces of a file that is on its way
_SLOW_SECONDS, _SLOW_BYTES = 20.0, 40_000  # a mirror that sends less in this time is given up
_ATTEMPTS = 3  # how often a mirror is asked that answers, but with a damaged file
_PAUSE_SECONDS = 0.2  # before the second attempt, and twice as long before the third
_PIECE = 1 << 16
_LARGEST = 1 << 25  # bytes; the largest of the four files, packed, has less than a third

Bytes = npt.NDArray[np.uint8]


class DataError(RuntimeError):
    """MNIST is not where it should be, or one of its files is damaged."""


class DataWarning(UserWarning):
    """The course goes on, but with other data than expected, or more slowly."""


@dataclass(frozen=True)
class Digits:
    """Handwritten digits with their labels.

    Attributes:
        images: uint8, ``(N, 1, 28, 28)``; 0 is the background, 255 full ink.
        labels: int64, ``(N,)``, the digit 0 … 9.
        source: the name of the data set, to quote beside any number computed from it.

    Both may be given as arrays of NumPy or columns of pandas, and become tensors.

    Raises:
        TypeError: if images or labels are not numbers.
        ValueError: if there is not one label for each image.
    """

    images: Tensor
    labels: Tensor
    source: str

    def __post_init__(self) -> None:
        for name in ("images", "labels"):
            values = getattr(self, name)
            if not (isinstance(values, Tensor) and values.is_meta):  # shapes, without numbers
                # A frozen dataclass has no other way to set its own fields.
                object.__setattr__(self, name, tensor(values, name))
        # Here, because slices of both would have the same length.
        if self.images.ndim == 4 and self.labels.ndim and len(self.images) != len(self.labels):
            raise ValueError(
                "expected a label for each image, got "
                f"{len(self.images)} images and {len(self.labels)} labels"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: slice | Tensor | list[int]) -> Digits:
        """The digits at ``index`` (a slice, a list, a mask or a tensor of positions)."""
        return replace(self, images=self.images[index], labels=self.labels[index])

    def to(self, device: torch.device | str) -> Digits:
        """The same digits on another device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def split(self, validation: int | None = None, seed: int = 0) -> tuple[Digits, Digits]:
        """Shuffle with ``seed`` and split into ``(training, validation)``.

        Args:
            validation: how many digits to hold out; if not given, a twelfth of them (at least
                one), which is 5,000 of the 60,000 training digits of MNIST.
            seed: the same seed gives the same split.

        Raises:
            TypeError: if an argument is not a number.
            ValueError: if one of the two parts would be empty, or a number is not whole.
        """
        if validation is None:
            validation = max(1, len(self) // 12)
        validation, seed = whole(validation, "validation"), seed_of(seed)
        if len(self) < 2:
            raise ValueError(f"expected at least 2 digits to split, got {len(self)}")
        if not 1 <= validation < len(self):
            raise ValueError(
                f"validation must be 1 to {len(self) - 1} of these {len(self)} digits "
                f"({self.source}), got {validation}; leave it out to hold out a twelfth of them"
            )
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self), generator=generator, device="cpu")
        return self[order[validation:]], self[order[:validation]]

    def batches(
        self, batch_size: int, generator: torch.Generator | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate once over all digits in batches; shuffled if a ``generator`` is given.

        Args:
            batch_size: digits in a batch; the last batch has what is left.
            generator: where the order comes from. Without one, the digits come in their own
                order and the batches are views: nothing is copied.

        Returns:
            An iterator over ``(images, labels)``: uint8 ``(B, 1, 28, 28)`` and int64 ``(B,)``.

        Raises:
            TypeError: at once, if ``batch_size`` is not a number, or the generator is none.
            ValueError: at once, if ``batch_size`` is less than 1, or not whole.
        """
        batch_size = whole(batch_size, "batch_size", 1)
        parts = (slice(i, i + batch_size) for i in range(0, len(self), batch_size))
        if not isinstance(generator, torch.Generator | NoneType):
            raise TypeError(
                f"generator must be a torch.Generator, got {kind_of(generator)}; "
                "a seed becomes one with torch.Generator().manual_seed(seed)"
            )
        if generator is None:
            return ((self.images[part], self.labels[part]) for part in parts)
        order = torch.randperm(len(self), generator=generator, device=generator.device)
        order = order.to(self.labels.device)
        return ((self.images[order[part]], self.labels[order[part]]) for part in parts)


def to_float(images: Tensor) -> Tensor:
    """Turn bytes 0 … 255 into float32 pixels in [0, 1]; the shape stays.

    Raises:
        TypeError: if they are floats, which must not be divided a second time.
        ValueError: if whole numbers of another type are no bytes.
    """
    images = tensor(images, "images")
    if images.is_floating_point() or images.dtype == torch.bool:
        raise TypeError(
            f"expected bytes 0 … 255, got {kind_of(images)}; "
            "floats in [0, 1] are pixels as they are, and are not divided by 255 again"
        )
    if images.dtype != torch.uint8 and images.numel():
        low, high = (int(e) for e in images.aminmax())
        if low < 0 or high > 255:
            raise ValueError(f"expected bytes 0 … 255, got {images.dtype} from {low} to {high}")
    return images.float() / 255


def load(split: str = "train") -> Digits:
    """Load the ``"train"`` (60,000) or ``"test"`` (10,000) digits.

    They come from the folder that the environment variable ``MNIST_COURSE_DATA`` names (laid out
    as torchvision has it: ``MNIST/raw/train-images-idx3-ubyte`` and so on, plain or ``.gz``), else
    from the user's cache folder, else from torchvision's mirrors, and are then kept in the cache.
    If none has it, or with ``MNIST_COURSE_DATA=stand-in``, they are UCI digits (1,497 and
    300): the ``source`` of the result says which, and a :class:`DataWarning` is given once. Files
    of MNIST's names and sizes with something else in them are read, too, with another ``source``
    and a warning.

    Raises:
        ValueError: if ``split`` is neither of the two.
        DataError: if ``MNIST_COURSE_DATA`` names a folder without MNIST, or a file is damaged.
    """
    _check(split)
    held: dict[str, Bytes] = {}
    folder = _folder()
    if folder is None:
        why = f"{VARIABLE} asks for them"
        if not _asks_for_stand_in():
            folder, held, why = _download()
        if folder is None:
            _warn_once(f"these are not MNIST but 1,797 UCI digits, brought to 28 × 28: {why}")
            return replace(uci_digits(split), source=f"UCI digits ({STAND_IN})")
    stem, count = _SPLITS[split]
    images, images_known = _read_idx(folder, _IMAGES.format(stem), (count, 28, 28), held)
    labels, labels_known = _read_idx(folder, _LABELS.format(stem), (count,), held)
    if labels.max() > 9:
        raise DataError(
            f"{folder / _LABELS.format(stem)} holds the label {labels.max()}, expected digits "
            "0 to 9: this is not MNIST, or it is damaged; delete it and download it again"
        )
    source = "MNIST"
    if not (images_known and labels_known):
        source = f"IDX files in {printable(folder)}, not MNIST"
        _warn_once(
            f"the {split} files in {printable(folder)} have MNIST's names and sizes, but not its "
            "contents: they are another data set, or damaged; for MNIST, delete them and download "
            "them again"
        )
    pixels = torch.from_numpy(images).unsqueeze(1)
    return Digits(pixels, torch.from_numpy(labels).long(), source)


def uci_digits(split: str = "train") -> Digits:
    """The UCI digits that come with scikit-learn, ``"train"`` (1,497) or ``"test"`` (300).

    They were collected in Istanbul, from thirteen people, and are at hand without a download. They
    are 8 × 8 pixels of 0 … 16, and fill the height. Each is enlarged smoothly to the 20 pixels that
    MNIST gives a digit, and its centre of mass moved to the centre of 28 × 28 pixels. Enlarged
    edges are soft, so contrast is doubled about 0.6: mean and standard deviation of the pixels are
    then close to MNIST's. The last thirty of each digit are the test digits; who wrote which digit
    is not recorded, so the two parts share their writers.

    Raises:
        ValueError: if ``split`` is neither of the two.
    """
    from sklearn.datasets import load_digits

    _check(split)
    ink, labels = load_digits(return_X_y=True)
    small = torch.from_numpy(ink).float().reshape(-1, 1, 8, 8) / 16
    large = F.interpolate(F.pad(small, (1, 1, 1, 1)), size=(25, 25), mode="bicubic")
    sharp = (2 * (large - 0.6) + 0.5).clamp(0, 1)
    images = (_centre(sharp) * 255).round().to(torch.uint8)
    digits = Digits(images, torch.from_numpy(labels).long(), "UCI digits")

    one_hot = F.one_hot(digits.labels, 10)
    left = one_hot.flip(0).cumsum(0).flip(0)  # how many of each digit come from here on
    test = (left * one_hot).sum(1) <= 30
    return digits[test if split == "test" else ~test]


def check_pixels(images: Any, name: str, single: bool = False) -> Tensor:
    """Pictures for a network, as floats in [0, 1]; refused if they are ambiguous.

    Args:
        images: ``(N, 1, 28, 28)`` or ``(1, 28, 28)``, bytes 0 … 255 or floats in [0, 1], as a
            tensor, an array of NumPy, or a grey picture of Pillow.
        name: what the message calls them.
        single: whether there may be only one.

    Returns:
        ``(N, 1, 28, 28)``; floats keep their dtype.

    Raises:
        TypeError: if they are not numbers.
        ValueError: if they have another shape or range, or there are none.
    """
    pixels = tensor(images, name)
    if pixels.shape == (1, 28, 28):
        pixels = pixels[None]
    if pixels.shape[1:] != (1, 28, 28) or len(pixels) < 1 or (single and len(pixels) > 1):
        raise ValueError(
            f"expected {name} of shape {'(1, 28, 28)' if single else '(N, 1, 28, 28)'}, got "
            f"{tuple(pixels.shape)}; {_advice_on_shape(pixels.shape, single)}"
        )
    low, high = (extreme.item() for extreme in pixels.aminmax())
    unit = pixels.is_floating_point()
    advice = _advice_on_range(pixels, low, high)
    if (0 <= low <= high <= (1 if unit else 255)) and not advice:
        return pixels if unit else to_float(pixels)
    raise ValueError(
        f"expected pixels in {'[0, 1]' if unit else '0 … 255'}, got {pixels.dtype} "
        f"{low:.8g} … {high:.8g} as {name}; {advice}"
    )


def check_digits(digits: Any, images: str, labels: str) -> Digits:
    """Digits that can be learned from or measured on; there may be none.

    Args:
        digits: what was passed: images uint8 ``(N, 1, 28, 28)``, labels int64 ``(N,)``, from 0 to
            9. Other integers become these where they mean the same.
        images: what the message calls the images: ``"training images"``.
        labels: what it calls the labels.

    Raises:
        TypeError: if they are not :class:`Digits`.
        ValueError: if images or labels have another shape, dtype or range.
    """
    if not isinstance(digits, Digits):
        raise TypeError(
            f"expected Digits, got {kind_of(digits)}; make them with "
            "data.Digits(images, labels, source)"
        )
    pixels, classes = tensor(digits.images, images), tensor(digits.labels, labels)
    low, high = (e.item() for e in pixels.aminmax()) if pixels.numel() else (0, 0)
    shaped = pixels.ndim == 4 and pixels.shape[1:] == (1, 28, 28)
    whole_numbers = not (pixels.is_floating_point() or pixels.dtype == torch.bool)
    advice = _advice_on_range(pixels, low, high, as_bytes=True)
    if not shaped or not whole_numbers or low < 0 or high > 255 or advice:
        raise ValueError(
            f"expected {images} as uint8 (N, 1, 28, 28), got {pixels.dtype} "
            f"{tuple(pixels.shape)} from {low:.3g} to {high:.3g}; "
            + (advice if shaped else _advice_on_shape(pixels.shape))
        )
    if not _countable(classes) or classes.shape != pixels.shape[:1]:
        raise ValueError(
            f"expected {labels} as int64 ({len(pixels)},), got {classes.dtype} "
            f"{tuple(classes.shape)}; {_advice_on_labels(classes, len(pixels))}"
        )
    check_labels(classes, labels)
    return replace(digits, images=pixels.to(torch.uint8), labels=classes.long())


def check_labels(labels: Tensor, name: str, classes: int = 10) -> None:
    """Raise a ``ValueError`` unless all labels are whole numbers, from 0 to 9.

    Args:
        labels: what was passed.
        name: what the message calls them.
        classes: how many there are; ten digits.
    """
    if not _countable(labels):
        raise ValueError(f"expected {name} as whole numbers, got {labels.dtype}")
    low, high = (int(e) for e in labels.aminmax()) if len(labels) else (0, 0)
    if low < 0 or high >= classes:
        raise ValueError(
            f"the {name} reach from {low} to {high}; expected the digits 0 ... {classes - 1}"
            + ("; use labels % 10 if 10 stands for 0" if (low, high) == (1, 10) else "")
        )


def _countable(labels: Tensor) -> bool:
    return not (labels.is_floating_point() or labels.dtype == torch.bool)


def _advice_on_shape(shape: tuple[int, ...], single: bool = False) -> str:
    """How pictures of this shape become pictures of the expected one."""
    if not all(shape):
        return "there are no pictures"
    if shape == (28, 28):
        return "a single image gets its two missing axes with image[None, None]"
    if shape == (1, 28, 28):
        return "a slice such as digits[5:6] keeps the axis that counts the digits"
    if shape[-3:] == (1, 28, 28):
        return "take one of them: images[0]" if single else "lay them all along the first axis"
    if shape[-2:] == (28, 28) and len(shape) == 3:
        return "the axis of the channel is missing: images[:, None]"
    if shape[-1:] == (1,) and len(shape) == 4:
        return "the axis of the channel comes first: images.permute(0, 3, 1, 2)"
    if shape[-1:] == (784,):
        return "rows of pixels become pictures with images.reshape(-1, 1, 28, 28)"
    if len(shape) == 4 and 3 in (shape[1], shape[3]):
        return "make colour pictures grey first: the mean of their three channels"
    return "a picture of the course has one channel of 28 × 28 pixels"


def _advice_on_labels(labels: Tensor, images: int) -> str:
    """How labels become one int64 for each image."""
    if labels.ndim == 2 and len(labels) == images:
        return "use labels.squeeze(1)" if labels.shape[1] == 1 else "use labels.argmax(1)"
    if labels.is_floating_point() and not labels.isfinite().all():
        return "some are missing: leave these digits out"
    return "use labels.long(), one class number for each image"


def _advice_on_range(pixels: Tensor, low: float, high: float, as_bytes: bool = False) -> str:
    """What to do about pixels from ``low`` to ``high``; empty if they are what they should be."""
    faint = 0 < high <= 1.01 / 255
    if pixels.dtype == torch.bool:
        return "use images.float() for networks, images.byte() * 255 for Digits"
    if not pixels.is_floating_point():
        if high == 1:
            return "0 and 1 are no bytes: multiply by 255"
        return "" if low >= 0 and high <= 255 else "leave normalisation to the network"
    if math.isnan(low):
        return "some are not numbers"
    if low > -0.4 and high < 1.4 and not 0 <= low <= high <= 1:  # MNIST normalised starts at -0.42
        return "resizing and noise may lead a little beyond: images.clamp(0, 1)"
    if not (low >= 0 and high <= 255):
        return "leave normalisation to the network"
    if high > 1:
        return "use images.round().byte()" if as_bytes else "divide bytes by 255"
    if faint:
        return "they look as if they had been divided by 255 twice; divide once"
    return "floats in [0, 1] become bytes with (images * 255).round().byte()" if as_bytes else ""


def available() -> Literal["folder", "cache", "stand-in", "none"]:
    """Which source :func:`load` would read, without the network and without reading it.

    Returns:
        ``"folder"`` and ``"cache"`` are real MNIST on this machine; ``"stand-in"`` is what
        ``MNIST_COURSE_DATA`` asks for; with ``"none"``, :func:`load` would try the mirrors.

    Raises:
        DataError: if ``MNIST_COURSE_DATA`` names a folder without MNIST.
    """
    if _asks_for_stand_in():
        return "stand-in"
    folder = _folder()
    if folder is None:
        return "none"
    return "cache" if folder == _cache() else "folder"


def _check(split: str) -> None:
    if not one_of(split, _SPLITS):
        raise ValueError(
            f'split must be "train" or "test", got {split!r}; '
            'for validation digits, take some of the training digits: load("train").split()'
        )


# --- Where the files are ---


def _asks_for_stand_in() -> bool:
    return os.environ.get(VARIABLE) == STAND_IN


def _cache() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("mnist-course", appauthor=False) / _RAW


def _names() -> list[str]:
    return [kind.format(stem) for stem, _ in _SPLITS.values() for kind in (_IMAGES, _LABELS)]


def _find(folder: Path, name: str) -> Path | None:
    dotted = name.replace("-idx", ".idx")  # as some archives have them
    names = (name, f"{name}.gz", dotted, f"{dotted}.gz")
    return next((path for each in names if (path := folder / each).is_file()), None)


def _folder() -> Path | None:
    """The folder on this machine that has all four files, or None.

    An empty ``MNIST_COURSE_DATA`` counts as not set.
    """
    if _asks_for_stand_in():
        return None
    root = os.environ.get(VARIABLE)
    try:
        folder = Path(root).expanduser().absolute() / _RAW if root else _cache()
        missing = [name for name in _names() if not _find(folder, name)]
        problem = f"{folder / missing[0]} (or .gz) does not exist" if missing else ""
    except (OSError, RuntimeError) as error:  # an unknown user, a long name, no permission
        missing, problem = _names(), f"that cannot be looked into ({error})"
    if root and missing:
        raise DataError(
            f"{VARIABLE} is {root!r}, but {problem}; set it to "
            f"a folder that holds MNIST/raw as torchvision stores it, to {STAND_IN!r} for the UCI "
            "digits, or unset it to download MNIST"
        )
    return None if missing else folder


# --- Reading ---


def _read_bytes(path: Path, size: int) -> tuple[Bytes, int]:
    """The bytes of a file, unpacked if they are packed, whatever its name says.

    Args:
        path: the file.
        size: how many bytes are expected; not more than one more is read.

    Returns:
        What was read, and how many bytes there are, as far as that is known.
    """
    try:
        with path.open("rb") as file:
            length, start = os.fstat(file.fileno()).st_size, file.read(4)
            is_packed = start[:2] == b"\x1f\x8b"
            if is_packed and length > _LARGEST:
                raise OSError(f"it has {length:,} bytes")
            # A browser may unpack a file and leave it its name; anything else is damaged.
            if not is_packed and path.suffix == ".gz" and start[:3] != b"\0\0\x08":
                raise gzip.BadGzipFile(f"it is {kind_of_file(path) or 'not packed'}")
            file.seek(0)
            content = np.empty(size + 1, np.uint8)
            if is_packed:
                with gzip.open(file) as unpacked:
                    length = unpacked.readinto(content.data)
                return content[:length], length
            return content[: file.readinto(content.data)], length
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path} cannot be read ({error}); make it readable, or delete it and download it again"
        ) from error


def _read_idx(
    folder: Path, name: str, shape: tuple[int, ...], held: dict[str, Bytes]
) -> tuple[Bytes, bool]:
    """One array of bytes in the IDX format, which must have the given shape; whether it is MNIST's.

    The format is two zero bytes, the type (8: unsigned bytes), the number of axes, the length of
    each axis (big-endian, 4 bytes), then the values.

    Args:
        folder: the folder of the file.
        name: its name, without ``.gz``.
        shape: the shape that the array must have.
        held: the contents of files that could not be stored in the folder, by name.

    Raises:
        DataError: if the file is not of this format, has another shape, or another length.
    """
    path = _find(folder, name) or folder / name
    expected = np.array([0x800 + len(shape), *shape], ">i4")
    start = expected.nbytes
    size = start + math.prod(shape)
    if name in held:
        content, length = held[name].copy(), len(held[name])
    else:
        content, length = _read_bytes(path, size)
    found = content[:start].view(">i4") if len(content) >= start else None
    if found is None:
        problem = f"has only {length:,} bytes, expected {size:,}{_kind(path)}"
    elif found[0] != expected[0]:
        problem = f"starts with the magic number {found[0]}, expected {expected[0]}{_kind(path)}"
    elif (found != expected).any():
        problem = f"is of shape {tuple(found[1:].tolist())}, expected {shape}"
    elif length != size:
        wrong = "cut short" if length < size else "too long"
        problem = f"is {wrong}: {length:,} bytes, expected {size:,}"
    else:
        return content[start:].reshape(shape), zlib.crc32(content.data) == _CHECKSUMS[name]
    raise DataError(f"{path} {problem}; delete it and download it again")


def _kind(path: Path) -> str:
    kind = kind_of_file(path)
    return f" (it is {kind})" if kind else ""


# --- Downloading ---


class _MirrorError(Exception):
    """A mirror does not answer, refuses, or is too slow: asking it again is no use."""


@functools.cache  # without network, a process waits once, not at every load
def _download() -> tuple[Path | None, dict[str, Bytes], str]:
    """Fetch what the cache lacks from torchvision's mirrors.

    Returns:
        The cache folder, or None if a file could not be had; the contents of the files that could
        not be written to the folder; and if a file could not be had, why.
    """
    from torchvision.datasets import MNIST

    folder, held = _cache(), {}
    checksums = {name.removesuffix(".gz"): md5 for name, md5 in MNIST.resources}
    mirrors = list(MNIST.mirrors)
    for name in _names():
        if _find(folder, name):
            continue
        try:
            packed = _fetch(f"{name}.gz", checksums[name], mirrors)
        except _MirrorError as error:
            return None, {}, f"no mirror gave {name}.gz ({error}), and {folder} has no MNIST"
        content = gzip.decompress(packed)
        try:
            write(folder / name, content)
        except OSError as error:
            held[name] = np.frombuffer(content, np.uint8)
            _warn_once(
                f"MNIST could not be kept in {folder} ({error.strerror}), so that every session "
                f"downloads it anew; make room there, or point {VARIABLE} to a folder with MNIST"
            )
    return folder, held, ""


def _fetch(name: str, md5: str, mirrors: list[str]) -> bytes:
    """The contents of a file with this checksum, from the first mirror that has it.

    Mirrors that fail are taken out of the list, so that they are not asked for the next file.
    """
    problem = "there are no mirrors"
    while mirrors:
        try:
            return _fetch_from(mirrors[0].rstrip("/") + "/" + name, md5)
        except _MirrorError as error:
            problem = str(error)
            del mirrors[0]
    raise _MirrorError(problem)


def _fetch_from(url: str, md5: str) -> bytes:
    """The contents at ``url``, which must have this checksum; damaged ones are fetched again."""
    problem = ""
    for attempt in range(_ATTEMPTS):
        time.sleep(_PAUSE_SECONDS * attempt)
        try:
            content = _receive(_open(url), url)
        except (OSError, HTTPException) as error:
            problem = f"the transfer broke off: {_said(error)}"
            continue
        if hashlib.md5(content, usedforsecurity=False).hexdigest() == md5:
            return content
        problem = f"{len(content):,} bytes with a wrong checksum"
    raise _MirrorError(problem)


def _open(url: str) -> HTTPResponse:
    """Ask for ``url``, and wait a few seconds at most.

    The request runs in a thread, because no time limit of a socket covers the look-up of a name.
    """
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    answers: SimpleQueue[HTTPResponse | Exception] = SimpleQueue()

    def ask() -> None:
        request = Request(url, headers={"User-Agent": "mnist-course"})
        try:
            answers.put(urlopen(request, timeout=_READ_SECONDS))
        except Exception as error:
            answers.put(error)

    Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=_CONNECT_SECONDS)
    except Empty:
        raise _MirrorError(f"no answer in {_CONNECT_SECONDS:.0f} seconds") from None
    if isinstance(answer, HTTPError):
        answer.close()
        raise _MirrorError(f"it answered {answer.code} {_said(answer.reason)}") from answer
    if isinstance(answer, Exception):
        raise _MirrorError(_said(getattr(answer, "reason", answer))) from answer
    if not isinstance(answer, HTTPResponse):
        raise _MirrorError("it leads away from HTTP")
    return answer


def _receive(response: HTTPResponse, url: str) -> bytes:
    """Read all of a response, with a progress bar; not more than a file of MNIST can have.

    A thread reads, because no time limit of a socket covers a server that sends a byte now and
    then. It closes the response itself, because closing it here would mean waiting for the thread.

    Raises:
        OSError: if the transfer breaks off.
        _MirrorError: if it is too slow.
    """
    from tqdm.auto import tqdm

    pieces: SimpleQueue[bytes | Exception] = SimpleQueue()
    given_up = Event()

    def read() -> None:
        try:
            with response:
                while not given_up.is_set() and (piece := response.read1(_PIECE)):
                    pieces.put(piece)
            pieces.put(b"")
        except Exception as error:
            pieces.put(error)

    content, size = bytearray(), response.length
    name = url.rpartition("/")[2]
    hidden = sys.stderr is None
    with tqdm(total=size, desc=name, unit="B", unit_scale=True, leave=False, disable=hidden) as bar:
        Thread(target=read, daemon=True).start()
        try:
            for piece in _not_too_slow(pieces):
                content += piece
                bar.update(len(piece))
                if len(content) > _LARGEST or len(content) == size:
                    break
        finally:
            given_up.set()
    if size and len(content) < min(size, _LARGEST):
        raise ConnectionError(f"{size - len(content):,} bytes are missing")
    return bytes(content)


def _not_too_slow(pieces: SimpleQueue[bytes | Exception]) -> Iterator[bytes]:
    """The pieces up to an empty one, as long as they come quickly enough.

    Raises:
        _MirrorError: if they do not.
        Exception: what is found instead of a piece.
    """
    received, needed, deadline = 0, 0, 0.0
    while True:
        if (now := time.monotonic()) >= deadline:
            if received < needed:
                rate = _SLOW_BYTES / _SLOW_SECONDS / 1000
                raise _MirrorError(f"it sends less than {rate:g} kB a second")
            needed, deadline = received + _SLOW_BYTES, now + _SLOW_SECONDS
        try:
            piece = pieces.get(timeout=deadline - now)
        except Empty:
            continue
        if isinstance(piece, Exception):
            raise piece
        if not piece:
            return
        received += len(piece)
        yield piece


def _said(words: object) -> str:
    """What a mirror said, on one line and not too long; it may be anything."""
    return printable(words)[:200]


@functools.cache
def _warn_once(message: str) -> None:
    warnings.warn(message, DataWarning, stacklevel=3)


# --- The UCI digits ---


def _centre(images: Tensor) -> Tensor:
    """Cut ``(N, 1, 28, 28)`` out of float images so that the centre of mass is at the centre.

    The shift is a whole number of pixels, as in MNIST; outside the images there is no ink.
    """
    images = F.pad(images[:, 0], (28, 28, 28, 28))
    mass = images.sum((1, 2))
    position = torch.arange(images.shape[-1], dtype=images.dtype, device="cpu")
    window = torch.arange(28, device="cpu") - 14
    rows, columns = (
        ((images.sum(axis) @ position) / mass).round().long()[:, None] + window for axis in (2, 1)
    )
    pick = torch.arange(len(images), device="cpu")[:, None, None]
    return images[pick, rows[:, :, None], columns[:, None, :]][:, None]

"""Photographs and scans of one digit, made to look like MNIST.

A network that has only seen MNIST reads a photograph well only if the photograph looks like MNIST:
white ink on black, nothing else in the picture, the longer side of the digit 20 pixels, its centre
of mass in the middle of 28 × 28. LeCun et al. (1998, section III.A) made their pictures so, and
:func:`read_digit` does the same to a picture of yours.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch.nn import functional

__all__ = ["ImageError", "digit_from_image", "read_digit"]

SIZE, BOX, CENTER = 28, 20, 14.5
"""Sides of the picture and of the digit in pixels; the centre of mass, from the picture's edge."""

MAX_PIXELS = 50_000_000
MIN_SIDE = 8
WORKING_SIDE = 512  # enough for a digit that fills a tenth of a photograph
PAPER_SIDE = 256
STROKE = 2.0  # MNIST's strokes are two to three pixels wide; thinner ones are thickened to this

Array = NDArray[np.float32]


class ImageError(ValueError):
    """A picture from which no digit can be read; the message says why and what to do."""


def read_digit(path: str | os.PathLike[str]) -> torch.Tensor:
    """Read the picture of one digit from a file and bring it to the form of MNIST.

    Args:
        path: a PNG, JPEG or other picture that Pillow reads. See :func:`digit_from_image`.

    Returns:
        float32, ``(1, 1, 28, 28)``, in [0, 1], white ink on black.

    Raises:
        ImageError: if the file is missing, damaged, no picture, too large, too small or blank.
    """
    path = Path(path)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no file"
        raise ImageError(f"{found} at '{path}'; give the path of a PNG or JPEG of one digit")
    try:
        with warnings.catch_warnings():
            # Pillow warns of large pictures; _check_size refuses them before they are decoded.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                _check_size(*image.size)
                # Lets a large JPEG be decoded at a half, a quarter or an eighth of its size.
                image.draft(None, (2 * WORKING_SIDE, 2 * WORKING_SIDE))
                image.load()
                return digit_from_image(image)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(_TOO_LARGE.format(size="far too many pixels")) from error
    except Image.UnidentifiedImageError as error:
        raise ImageError(
            f"'{path.name}' is not a picture that can be read; expected a PNG or JPEG, "
            "so save or export it as one of these"
        ) from error
    except Exception as error:  # damaged files make Pillow's readers raise almost anything
        raise ImageError(
            f"'{path.name}' is damaged or incomplete ({error}); copy or save the picture again"
        ) from error


def digit_from_image(image: Image.Image | NDArray[Any] | torch.Tensor) -> torch.Tensor:
    """Bring the picture of one digit to the form of MNIST.

    Grey values are divided by the paper's, which is estimated around every pixel, so that shadows
    and uneven light vanish; what is darker than Otsu's threshold is ink, specks left out. (Light
    ink on dark is turned round first: the picture's border says which it is.) The longer side of
    the ink becomes 20 pixels, its centre of mass goes to (14.5, 14.5).

    Args:
        image: a Pillow image of any mode and size, or an array ``(H, W)``, ``(H, W, 3)`` or
            ``(H, W, 4)``: uint8 in 0 … 255 or floats in [0, 1].

    Returns:
        float32, ``(1, 1, 28, 28)``, in [0, 1], white ink on black.

    Raises:
        ImageError: if the picture is too large, too small or blank, or the array is no picture.
    """
    if not isinstance(image, Image.Image):
        image = _image_from_array(np.asarray(image))
    _check_size(*image.size)
    digit = _place(_thicken(_ink(_grey(image))))
    return torch.from_numpy(digit)[None, None]


_TOO_LARGE = (
    f"the picture has {{size}}, more than the {MAX_PIXELS // 1_000_000} million allowed; "
    "crop it to the digit or save it smaller"
)


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageError(_TOO_LARGE.format(size=f"{width} × {height} pixels"))
    if min(width, height) < MIN_SIDE:
        raise ImageError(
            f"the picture has only {width} × {height} pixels, expected at least "
            f"{MIN_SIDE} × {MIN_SIDE}; take it larger"
        )


def _image_from_array(array: NDArray[Any]) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] in (3, 4)):
        raise ImageError(
            f"expected an array of shape (H, W), (H, W, 3) or (H, W, 4), got {array.shape}; "
            "give one picture, with the colours last"
        )
    if array.dtype == np.uint8:
        return Image.fromarray(array)
    if array.dtype != bool and not np.issubdtype(array.dtype, np.floating):
        raise ImageError(
            f"expected uint8 in 0 … 255 or floats in [0, 1], got {array.dtype}; convert the array"
        )
    if not (array.size and array.min() >= 0 and array.max() <= 1):  # nan fails here too
        raise ImageError("expected floats in [0, 1], got others; divide bytes by 255")
    return Image.fromarray((array * 255).round().astype(np.uint8))


def _grey(image: Image.Image) -> Array:
    """The picture as it is seen, grey in [0, 1], at most ``WORKING_SIDE`` pixels a side."""
    image = ImageOps.exif_transpose(image)
    if image.mode in ("F", "I") or image.mode.startswith("I;16"):
        deep = np.asarray(image, np.float32)
        deep = (deep - deep.min()) / max(float(np.ptp(deep)), 1e-6)
        image = Image.fromarray((deep * 255).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("LA")
        grey, alpha = (np.asarray(band, np.float32) / 255 for band in image.split())
        # Ink on glass: hold it against what it stands out from.
        paper = 1.0 if (grey * alpha).sum() < 0.5 * alpha.sum() else 0.0
        image = Image.fromarray((255 * (grey * alpha + paper * (1 - alpha))).astype(np.uint8))
    image = image.convert("L")
    image.thumbnail((WORKING_SIDE, WORKING_SIDE), Image.Resampling.BOX, reducing_gap=None)
    grey = np.asarray(image, np.float32) / 255
    return np.clip(grey, 0.01, 0.99)  # so that neither it nor its negative is divided by 0


def _ink(grey: Array) -> Array:
    """How much ink covers each pixel, from 0 (paper) to 1; specks left out."""
    backdrop = _backdrop(grey)
    if _is_light_on_dark(grey, backdrop):
        grey, backdrop = 1 - grey, 1 - backdrop
    grey = _smooth(grey, max(grey.shape) // 100 | 1)  # the grain of paper and camera
    # Near the border a closing errs on slopes of light, and on the plane's where light jumps:
    # ink is what is darker than both.
    cover = 1 - grey / np.minimum(_paper(grey), backdrop * _paper(grey / backdrop))
    bare = cover[cover <= _otsu(cover)]
    # A closing follows the lightest grains of the paper; its average lies a little lower.
    cover = (cover - np.median(bare)) / (1 - np.median(bare))
    noise = 1.4826 * float(np.median(np.abs(bare - np.median(bare))))  # a standard deviation
    threshold = _otsu(cover)
    if threshold < max(0.05, 4 * noise) or cover.max() < threshold:
        raise ImageError(
            "no digit found: the picture is blank or its ink too faint; "
            "write with a darker pen, or take the picture closer and in better light"
        )
    mask = _without_specks(cover > threshold)
    full = float(np.quantile(cover[mask], 0.75))
    soft = np.clip((cover - 2 * noise) / (full - 2 * noise), 0, 1).astype(np.float32)
    edge = round(_side(mask) / BOX)  # the soft edge of a stroke: one pixel of MNIST
    return soft * _widen(mask.astype(np.float32), 2 * edge + 1)


def _backdrop(grey: Array) -> Array:
    """The plane of light through the border of the picture, where there is mostly paper."""
    height, width = grey.shape
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    surface = np.stack([np.ones_like(x), x, y, x * y], axis=-1)
    border = np.maximum(abs(x), abs(y)) > 0.9
    points, values = surface[border], grey[border]
    for _ in range(3):  # ink that reaches the border must not bend the plane
        fit = np.linalg.lstsq(points, values, rcond=None)[0]
        error = np.abs(points @ fit - values)
        keep = error <= np.quantile(error, 0.9)
        points, values = points[keep], values[keep]
    return np.clip(surface @ fit, 0.01, 0.99).astype(np.float32)


def _is_light_on_dark(grey: Array, backdrop: Array) -> bool:
    """Whether what stands out most from the backdrop is lighter than it."""
    rest = np.sort((grey - backdrop).ravel())
    few = max(len(rest) // 200, 1)
    return bool(rest[-few:].mean() > -rest[:few].mean())


def _paper(grey: Array) -> Array:
    """The light that the paper would send without the ink: a closing wider than any stroke."""
    x = torch.from_numpy(grey)[None, None]
    if max(grey.shape) > PAPER_SIDE:
        x = functional.interpolate(x, scale_factor=PAPER_SIDE / max(grey.shape), mode="area")
    width = max(x.shape) // 3 | 1
    closed = _smooth(1 - _widen(1 - _widen(x[0, 0].numpy(), width), width), max(x.shape) // 100 | 1)
    x = functional.interpolate(torch.from_numpy(closed)[None, None], grey.shape, mode="bilinear")
    return x[0, 0].numpy()


def _side(mask: NDArray[np.bool_]) -> int:
    """The longer side of the smallest rectangle that holds the mask."""
    rows, columns = np.nonzero(mask)
    return int(max(np.ptp(rows), np.ptp(columns))) + 1


def _smooth(picture: Array, width: int) -> Array:
    """The mean of the square of ``width`` (odd) around each pixel."""
    x = functional.pad(torch.from_numpy(picture)[None, None], (width // 2,) * 4, mode="replicate")
    return functional.avg_pool2d(x, width, 1)[0, 0].numpy()


def _widen(picture: Array, width: int) -> Array:
    """The largest value in the square of ``width`` (odd) around each pixel."""
    x = torch.from_numpy(np.ascontiguousarray(picture))[None, None]
    x = functional.max_pool2d(x, (width, 1), 1, (width // 2, 0))
    return functional.max_pool2d(x, (1, width), 1, (0, width // 2))[0, 0].numpy()


def _otsu(values: Array, bins: int = 256) -> float:
    """The threshold that leaves the least variance within the two classes (Otsu, 1979)."""
    count, edges = np.histogram(values, bins, (0, 1))
    middle = (edges[:-1] + edges[1:]) / 2
    below, above = np.cumsum(count), np.cumsum(count[::-1])[::-1]
    mean_below = np.cumsum(count * middle) / np.maximum(below, 1)
    mean_above = np.cumsum((count * middle)[::-1])[::-1] / np.maximum(above, 1)
    between = below[:-1] * above[1:] * (mean_below[:-1] - mean_above[1:]) ** 2
    return float(edges[1:-1][between >= between.max()].mean())


def _without_specks(mask: NDArray[np.bool_], share: float = 0.08) -> NDArray[np.bool_]:
    """Only the connected parts that have at least ``share`` of the largest one's area."""
    cell = max(max(mask.shape) // 128, 1)  # coarser, so that small gaps in a stroke close
    fine = torch.from_numpy(mask).float()[None, None]
    area = functional.avg_pool2d(fine, cell, ceil_mode=True, count_include_pad=False)
    part = (area > 0).float()
    # Every cell takes the largest number among its neighbours until nothing changes.
    number = part * torch.arange(1, part.numel() + 1).view_as(part)
    while not torch.equal(spread := functional.max_pool2d(number, 3, 1, 1) * part, number):
        number = spread
    areas = torch.bincount(number.long().flatten(), weights=area.flatten())
    keep = (areas >= share * areas.max())[number.long()] & (number > 0)
    large = keep.repeat_interleave(cell, 2).repeat_interleave(cell, 3)
    return mask & large[0, 0, : mask.shape[0], : mask.shape[1]].numpy()


def _thicken(ink: Array) -> Array:
    """Widen the strokes of a thin pen until they would be ``STROKE`` pixels wide in MNIST."""
    mask = (ink > 0.5).astype(np.float32)
    scale = _side(ink > 0.5) / BOX  # pixels of the picture for one of MNIST
    edge = np.abs(np.diff(mask, axis=0)).sum() + np.abs(np.diff(mask, axis=1)).sum()
    # A long stroke has two edges. Counted along the axes they are 4/pi too long on average.
    width = 2 * mask.sum() / max(edge * np.pi / 4, 1)
    missing = round((STROKE * scale - width) / 2)
    if missing < 1:
        return ink
    return _widen(np.pad(ink, missing), 2 * missing + 1)


def _place(ink: Array) -> Array:
    """Scale the ink to the box of 20 pixels, its centre of mass to 14.5, its strokes to 1."""
    window = _side(ink > 0.2) * SIZE / BOX  # what becomes 28 pixels
    total = ink.sum()
    y = float(ink.sum(1) @ (np.arange(ink.shape[0]) + 0.5) / total)
    x = float(ink.sum(0) @ (np.arange(ink.shape[1]) + 0.5) / total)
    margin = int(np.ceil(window))
    padded = Image.fromarray(np.pad(ink, margin))
    left = x + margin - window * CENTER / SIZE
    top = y + margin - window * CENTER / SIZE
    small = padded.resize(
        (SIZE, SIZE), Image.Resampling.LANCZOS, (left, top, left + window, top + window)
    )
    digit = np.clip(np.asarray(small, np.float32), 0, None)
    # Most of a stroke is full ink in MNIST; the largest value would be LANCZOS's overshoot.
    full = np.quantile(digit[digit > digit.max() / 2], 0.75)
    return np.minimum(digit / full, 1)

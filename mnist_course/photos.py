"""Photographs and scans of digits, made to look like MNIST.

A network that has only seen MNIST reads a photograph well only if the photograph looks like MNIST:
white ink on black, nothing else in the picture, the longer side of the digit 20 pixels, its centre
of mass in the middle of 28 × 28. LeCun et al. (1998, section III.A) made their pictures so, and
:func:`find_digits` does the same to a picture of yours. :mod:`mnist_course.ink` tells ink from
paper, and :mod:`mnist_course.page` one digit from the next.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy import ndimage

from mnist_course import ink, page
from mnist_course.arguments import kind_of, tensor
from mnist_course.ink import Array

__all__ = ["ImageError", "Page", "digit_from_image", "find_digits", "open_picture", "read_digit"]

SIZE, BOX, CENTER = 28, 20, 14.5
"""Sides of the picture and of the digit in pixels; the centre of mass, from the picture's edge."""

# Pillow also knows formats whose reader starts another program, or reads byte by byte.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "ICO", "JPEG2000", "AVIF", "HEIF")
MAX_PIXELS = 50_000_000
MIN_SIDE = 8
WORKING_SIDE = 448  # enough for a digit that fills a tenth of a photograph
FINEST_SIDE = 1600  # where a digit is smaller, this much of the picture is looked at closely
SMALLEST = 14  # pixels; a smaller digit is a guess
MOST_PARTS = 150
WIDEST = 1.5  # of a digit's height
MOST_INK = 260.0  # in MNIST's pixels
STROKE = 2.0  # MNIST's strokes are two to three pixels wide; thinner ones are thickened to this


class ImageError(ValueError):
    """A picture from which no digit can be read; the message says why and what to do."""


@dataclass(frozen=True)
class Page:
    """The digits that were found on a picture, in reading order.

    Attributes:
        digits: float32, ``(N, 1, 28, 28)``, in [0, 1], white ink on black.
        lines: how many digits stand on each line, from top to bottom; they add up to ``N``.
        doubts: for each digit why it may be read wrongly, or an empty text.
    """

    digits: torch.Tensor
    lines: tuple[int, ...]
    doubts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.digits)


def read_digit(path: str | os.PathLike[str]) -> torch.Tensor:
    """Read the picture of one digit from a file and bring it to the form of MNIST.

    Args:
        path: a PNG, JPEG or other picture that Pillow reads. See :func:`digit_from_image`.

    Returns:
        float32, ``(1, 1, 28, 28)``, in [0, 1], white ink on black.

    Raises:
        ImageError: as :func:`open_picture` and :func:`digit_from_image`.
    """
    return digit_from_image(open_picture(path))


def open_picture(path: str | os.PathLike[str]) -> Image.Image:
    """Open a picture, and decode it no finer than is needed to find digits.

    Args:
        path: a PNG, JPEG or other picture that Pillow reads.

    Raises:
        ImageError: if the file is missing, damaged, no picture, too large or too small.
    """
    path = Path(path)
    try:
        found = "a folder" if path.is_dir() else "" if path.is_file() else "no file"
    except OSError:  # a name that is too long
        found = "no file"
    if found:
        raise ImageError(f"{found} at '{path}'; give the path of a PNG or JPEG of one digit")
    try:
        with warnings.catch_warnings():
            # Pillow warns of large pictures; _check_size refuses them before they are decoded.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            Image.init()
            known = [name for name in FORMATS if name in Image.OPEN]
            with Image.open(path, formats=known) as image:
                _check_size(*image.size)
                # Lets a large JPEG be decoded at a half, a quarter or an eighth of its size.
                image.draft(None, (FINEST_SIDE, FINEST_SIDE))
                image.load()
                return image
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
        raise _damaged(f"'{path.name}'", error) from error


def _damaged(name: str, why: Exception) -> ImageError:
    return ImageError(f"{name} is damaged or incomplete ({why}); copy or save the picture again")


def digit_from_image(image: Image.Image | NDArray[Any] | torch.Tensor) -> torch.Tensor:
    """Bring the picture of one digit to the form of MNIST.

    Args:
        image: as :func:`find_digits` takes it.

    Returns:
        float32, ``(1, 1, 28, 28)``, in [0, 1], white ink on black.

    Raises:
        ImageError: as :func:`find_digits`, and if there are several digits.
    """
    found = find_digits(image)
    if len(found) > 1:
        raise ImageError(
            f"there are {len(found)} digits on the picture, expected one; "
            "crop it to one digit, or take them all with find_digits"
        )
    return found.digits


def find_digits(image: Image.Image | NDArray[Any] | torch.Tensor) -> Page:
    """Find the digits on a picture and bring each to the form of MNIST.

    Grey values are divided by the paper's, which is estimated around every pixel, so that shadows
    and uneven light vanish. Rules, reflections, frames, and what surrounds the page are left out.
    A page that lies turned is straightened. The longer side of each digit becomes 20 pixels, its
    centre of mass goes to (14.5, 14.5).

    Args:
        image: a Pillow image of any mode and size, or an array or tensor ``(H, W)``,
            ``(H, W, 3)`` or ``(H, W, 4)``: whole numbers in 0 … 255 or floats in [0, 1]. Dark ink
            on light, or light on dark, in any colour.

    Raises:
        ImageError: if the picture is too large, too small, blank or damaged, or the array is no
            picture.
    """
    if not isinstance(image, Image.Image):
        image = _image_from_array(image)
    _check_size(*image.size)
    try:
        picture = _rgb(image)  # Pillow decodes a picture when it is first used
    except (OSError, ValueError, SyntaxError) as error:
        if isinstance(error, ImageError):
            raise
        raise _damaged("the picture", error) from error
    swallowed, lines = _look(picture)
    if (closer := _closer(picture, swallowed.shape, lines)) is not None:
        swallowed, lines = _look(closer)
    found = [digit for line in lines for digit in line]
    pictures = [_place(_thicken(_soft(swallowed, digit))) for digit in found]
    doubts = tuple(_doubt(digit, drawn) for digit, drawn in zip(found, pictures, strict=True))
    digits = torch.from_numpy(np.stack(pictures))[:, None]
    return Page(digits, tuple(len(line) for line in lines), doubts)


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


def _image_from_array(values: Any) -> Image.Image:
    if math.prod(getattr(values, "shape", ())) > 4 * MAX_PIXELS:  # before anything is copied
        raise ImageError(_TOO_LARGE.format(size=kind_of(values)))
    try:
        picture = tensor(values, "a picture").detach().cpu()
    except TypeError as error:
        raise ImageError(str(error)) from error
    if picture.ndim == 3 and picture.shape[2] == 1:
        picture = picture[..., 0]
    if picture.ndim != 2 and not (picture.ndim == 3 and picture.shape[2] in (3, 4)):
        raise ImageError(
            "expected an array of shape (H, W), (H, W, 3) or (H, W, 4), got "
            f"{tuple(picture.shape)}; give one picture, with the colours last"
        )
    unit = picture.is_floating_point() or picture.dtype == torch.bool
    low, high = (float(e) for e in picture.aminmax()) if picture.numel() else (0.0, 0.0)
    # Of whole numbers from 0 to 1 nobody knows whether 1 is all light, or next to none.
    if not (0 <= low <= high <= (1 if unit else 255)) or (not unit and (low, high) == (0, 1)):
        raise ImageError(
            "expected whole numbers in 0 … 255 or floats in [0, 1], got "
            f"{picture.dtype} from {low:.3g} to {high:.3g}; bring them to one of the two"
        )
    if unit:
        wide = torch.promote_types(picture.dtype, torch.float32)
        picture = (picture.to(wide) * 255).round()
    return Image.fromarray(picture.to(torch.uint8).numpy())


GREY = np.array([0.299, 0.587, 0.114], np.float32)
"""How much red, green and blue make of grey (ITU-R BT.601)."""


def _rgb(image: Image.Image) -> Image.Image:
    """The picture as it is seen, in colour, at most ``FINEST_SIDE`` pixels a side."""
    with suppress(Exception):  # notes about the camera may hold anything, and are not the picture
        image = ImageOps.exif_transpose(image)
    if image.mode in ("F", "I") or image.mode.startswith("I;16"):
        deep = np.asarray(image, np.float32)
        if not np.isfinite(deep).all():
            raise ImageError("some pixels are not finite numbers; save the picture again without")
        deep = (deep - deep.min()) / max(float(np.ptp(deep)), 1e-6)
        image = Image.fromarray((deep * 255).round().astype(np.uint8))
    if image.has_transparency_data:
        image = _on_paper(image.convert("RGBA"))
    image = image.convert("RGB")
    image.thumbnail((FINEST_SIDE, FINEST_SIDE), Image.Resampling.BOX, reducing_gap=None)
    return image


def _on_paper(image: Image.Image) -> Image.Image:
    """Ink on glass, held against what it stands out from."""
    alpha = np.asarray(image.getchannel("A"), np.float32)
    grey = np.asarray(image.convert("RGB").convert("L"), np.float32)
    light = (grey * alpha).sum() < 127.5 * alpha.sum()
    paper = Image.new("RGBA", image.size, (255, 255, 255, 255) if light else (0, 0, 0, 255))
    return Image.alpha_composite(paper, image)


def _scaled(image: Image.Image, side: int) -> Array:
    """The picture in colour, ``(H, W, 3)`` in [0, 1], its longer side at most ``side`` pixels."""
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.BOX, reducing_gap=None)
    # So that neither it nor its negative is divided by 0.
    return np.clip(np.asarray(small, np.float32) / 255, 0.01, 0.99)


def _how_to_look(image: Image.Image) -> tuple[Array, bool]:
    """In which light the ink stands out, and whether it is lighter than the paper.

    Returns:
        Weights of red, green and blue, and the answer: of all, those with the most evidence.
    """
    colour = _scaled(image, ink.COARSE)
    shades = [GREY]
    if np.quantile(np.ptp(colour, axis=2), 0.99) > 0.08:
        shades += list(np.eye(3, dtype=np.float32))
    best, most = (GREY, False), -1.0
    for weights in shades:
        shade = page.without_rules(colour @ weights)
        for light in (False, True):
            grey = 1 - shade if light else shade
            much = max(
                ink.evidence(ink.cover(grey), grey),
                0.7 * ink.evidence(ink.cover(grey, beyond=False), grey),
            )
            much *= (1 if weights is GREY else 0.8) * (0.75 if light else 1)  # as most are
            if much > most:
                best, most = (weights, light), much
    return best


def _look(image: Image.Image) -> tuple[Array, list[list[page.Digit]]]:
    """What swallows light on the picture, and the digits among it in reading order."""
    weights, light = _how_to_look(image)
    grey = _scaled(image, WORKING_SIDE) @ weights
    grey = ndimage.uniform_filter(grey, 3 if max(grey.shape) > 60 else 1)  # the camera's grain
    grey = page.without_rules(1 - grey if light else grey)
    swallowed = ink.cover(grey)
    kept = ink.written(swallowed, grey)
    if not kept or any(ink.may_be_eaten(part, grey.shape) for part in kept):
        whole = ink.cover(grey, beyond=False)
        if ink.evidence(whole, grey) > 0.85 * ink.evidence(swallowed, grey):
            swallowed, kept = whole, ink.written(whole, grey)
    found = _digits(kept)
    if angle := page.turn(found):
        swallowed, grey = page.turned(swallowed, angle), page.turned(grey, angle)
        found = _digits(ink.written(swallowed, grey))
    return swallowed, page.lines(found)


def _digits(kept: list[ink.Part]) -> list[page.Digit]:
    if not kept:
        raise ImageError(
            "no digit found: the picture is blank, its ink too faint, or nothing on it is a "
            "digit; write with a darker pen, or take the picture closer and in better light"
        )
    if len(kept) > MOST_PARTS:
        raise ImageError(
            f"no digit found among {len(kept)} pieces of ink, expected at most {MOST_PARTS}; "
            "crop the picture to the digits"
        )
    return page.digits(kept)


def _closer(
    image: Image.Image, shape: tuple[int, ...], lines: Sequence[Sequence[page.Digit]]
) -> Image.Image | None:
    """The part of the picture around small digits, if there is more to be seen there."""
    finer = max(image.size) / max(shape)
    found = [digit for line in lines for digit in line]
    top, left = min(d.top for d in found), min(d.left for d in found)
    bottom, right = max(d.bottom for d in found), max(d.right for d in found)
    side = max(bottom - top, right - left)
    if finer < 1.2 or side > 0.4 * max(shape):
        return None
    room = 0.7 * side
    box = (left - room, top - room, right + room, bottom + room)
    x0, y0, x1, y1 = (round(each * finer) for each in box)
    return image.crop((max(x0, 0), max(y0, 0), min(x1, image.width), min(y1, image.height)))


def _soft(swallowed: Array, digit: page.Digit) -> Array:
    """How much ink of this digit covers each pixel around it, from 0 to 1."""
    edge = max(1, round(digit.side / BOX))  # the soft edge of a stroke: one pixel of MNIST
    mask = np.zeros((digit.height + 2 * edge, digit.width + 2 * edge), np.float32)
    around = np.zeros_like(mask)
    top, left = digit.top - edge, digit.left - edge
    for part in digit.parts:
        rows, columns = part.box
        mask[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] += (
            part.mask
        )
    y0, x0 = max(-top, 0), max(-left, 0)
    seen = swallowed[max(top, 0) : top + mask.shape[0], max(left, 0) : left + mask.shape[1]]
    around[y0 : y0 + seen.shape[0], x0 : x0 + seen.shape[1]] = seen
    full = float(np.quantile(around[mask > 0], 0.75))
    noise = 2 * ink.bare(swallowed)[1]
    soft = np.clip((around - noise) / max(full - noise, 1e-3), 0, 1)
    return soft * ndimage.maximum_filter(mask, 2 * edge + 1)


def _doubt(digit: page.Digit, drawn: Array) -> str:
    """Why a digit may be read wrongly, or an empty text."""
    if any(part.cut for part in digit.parts):
        return "it reaches the edge of the picture"
    if digit.side < SMALLEST:
        return "it is too small: take the picture closer"
    if digit.width > WIDEST * digit.height:
        return "it is wider than a digit: two that touch, or none"
    if digit.may_be_two:
        return "it is in two pieces: one digit, or two"
    if drawn.sum() > MOST_INK:
        return "there is more ink than in a digit"
    return ""


def _side(mask: NDArray[np.bool_]) -> int:
    """The longer side of the smallest rectangle that holds the mask."""
    rows, columns = np.nonzero(mask)
    return int(max(np.ptp(rows), np.ptp(columns))) + 1


def _thicken(soft: Array) -> Array:
    """Widen the strokes of a thin pen until they would be ``STROKE`` pixels wide in MNIST."""
    mask = (soft > 0.5).astype(np.float32)
    scale = _side(soft > 0.5) / BOX  # pixels of the picture for one of MNIST
    edge = np.abs(np.diff(mask, axis=0)).sum() + np.abs(np.diff(mask, axis=1)).sum()
    # A long stroke has two edges. Counted along the axes they are 4/pi too long on average.
    width = 2 * mask.sum() / max(edge * np.pi / 4, 1)
    missing = round((STROKE * scale - width) / 2)
    if missing < 1:
        return soft
    return ndimage.maximum_filter(np.pad(soft, missing), 2 * missing + 1)


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

"""More digits than anyone wrote: random changes after which a 7 is still a 7.

Each augmentation is a small frozen object, called with a batch of pixels in [0, 1],
``(N, 1, H, W)``, and a generator on the CPU; it returns a new batch of the same shape and
dtype. Every image of the batch is changed by its own random numbers. These are drawn on the
CPU, so that they are the same wherever the images are.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_course.arguments import kind_of, real, whole

Augmentation = Callable[[Tensor, torch.Generator], Tensor]


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    empty = torch.empty(n, dtype=torch.float32, device="cpu")
    return empty.uniform_(low, high, generator=generator)


def _take_numbers(augmentation: Any, kind: Callable[[Any, str], Any], *names: str) -> None:
    """Turn settings of a frozen augmentation into numbers of Python, none of them negative."""
    for name in names:
        value = kind(getattr(augmentation, name), name)
        if value < 0:
            raise ValueError(f"{name} must not be negative, got {value}")
        object.__setattr__(augmentation, name, value)


def _check(images: Any, floats: bool = False) -> None:
    """Raise a ``TypeError`` or ``ValueError`` unless this is a batch that can be changed."""
    if not isinstance(images, Tensor) or (floats and not images.is_floating_point()):
        raise TypeError(
            f"expected {'pixels as floats' if floats else 'a tensor of images'}, "
            f"got {kind_of(images)}"
        )
    if images.ndim != 4:
        raise ValueError(
            f"expected images of shape (N, C, H, W), got {tuple(images.shape)}; "
            "a single one gets the missing axes with image[None]"
        )


@dataclass(frozen=True)
class Shift:
    """Move each image by a whole number of pixels; the background moves in at the edge.

    Attributes:
        pixels: the furthest move along each axis.
    """

    pixels: int = 1

    def __post_init__(self) -> None:
        _take_numbers(self, whole, "pixels")

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Move each image of ``(N, C, H, W)``, of any dtype."""
        _check(images)
        N, C, H, W = images.shape
        p = self.pixels
        if p > max(H, W):
            raise ValueError(f"a move of {p} pixels leaves nothing of {H} × {W} pixels")
        moves = torch.randint(0, 2 * p + 1, (2, N, 1), generator=generator, device="cpu")
        dy, dx = moves.to(images.device)
        width = W + 2 * p
        # One gather: where in the padded, flattened image each pixel of the result comes from.
        rows = (torch.arange(H, device=images.device) + dy) * width
        source = rows[:, :, None] + (torch.arange(W, device=images.device) + dx)[:, None, :]
        source = source.view(N, 1, H * W).expand(N, C, H * W)
        padded = F.pad(images, (p, p, p, p)).flatten(2)
        return padded.gather(2, source).view(N, C, H, W)


@dataclass(frozen=True)
class Affine:
    """Turn, scale, slant and shift each image about its centre, with bilinear interpolation.

    Attributes:
        degrees: the largest rotation, either way.
        scale: the largest change of size; 0.1 means 0.9 … 1.1, width and height apart.
        shear: the largest slant: pixels to the side for each pixel up.
        shift: the largest move along each axis, in pixels.
    """

    degrees: float = 10
    scale: float = 0.1
    shear: float = 0.1
    shift: float = 1

    def __post_init__(self) -> None:
        _take_numbers(self, real, "degrees", "scale", "shear", "shift")
        if self.scale >= 1:
            raise ValueError(f"scale must be below 1, at which nothing is left, got {self.scale}")

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Change each image of ``(N, C, H, W)``, floats."""
        _check(images, floats=True)
        if not len(images):  # PyTorch makes no grid for no image
            return images.clone()
        grid = self._places(images, generator).to(images.dtype)
        return F.grid_sample(images, grid, mode="bilinear", align_corners=False)

    def _places(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Where in an image each pixel of the result comes from: ``(N, H, W, 2)``, in -1 … 1."""
        N, (H, W) = len(images), images.shape[-2:]
        angle = _uniform(N, -1, 1, generator) * math.radians(self.degrees)
        shear = _uniform(N, -self.shear, self.shear, generator)
        width, height = 1 + _uniform(2 * N, -self.scale, self.scale, generator).view(2, N)
        right, down = _uniform(2 * N, -self.shift, self.shift, generator).view(2, N) * 2
        cos, sin = angle.cos(), angle.sin()
        # From a place in the result to its place in the image: scale, then slant, then turn. Both
        # axes run from -1 to 1, so a pixel to the right is 2 / W, and a pixel down is 2 / H.
        matrix = torch.stack(
            [
                torch.stack([cos / width, (shear * cos - sin) / height * (H / W), right / W], 1),
                torch.stack([sin / width * (W / H), (shear * sin + cos) / height, down / H], 1),
            ],
            1,
        )
        return F.affine_grid(matrix.to(images.device), list(images.shape), align_corners=False)


@dataclass(frozen=True)
class Elastic(Affine):
    """Like :class:`Affine`, and also bend each image, as if it were drawn on rubber.

    A coarse grid of random displacements is laid over the image and interpolated smoothly in
    between. Turning and bending are one interpolation, so the image is blurred only once.
    Source: P. Simard, D. Steinkraus and J. Platt, *Best practices for convolutional neural networks
    applied to visual document analysis*, 2003.

    Attributes:
        bend: the standard deviation of the displacements along each axis, in pixels.
        cells: how many of them lie along each side of the image.
    """

    bend: float = 0.5
    cells: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        _take_numbers(self, real, "bend")
        _take_numbers(self, whole, "cells")
        if not 1 <= self.cells <= 100:
            raise ValueError(f"cells must be 1 to 100, got {self.cells}")

    def _places(self, images: Tensor, generator: torch.Generator) -> Tensor:
        N, (H, W) = len(images), images.shape[-2:]
        coarse = torch.empty(2 * N, self.cells**2, dtype=torch.float32, device="cpu")
        coarse.normal_(generator=generator)
        # Interpolation is linear in the displacements, so it is one matrix for all images.
        smooth = coarse.to(images.device) @ _interpolation(self.cells, H, W, images.device)
        pixel = coarse.new_tensor([self.bend * 2 / W, self.bend * 2 / H]).to(images.device)
        bent = smooth.view(N, 2, H, W).permute(0, 2, 3, 1) * pixel
        return super()._places(images, generator) + bent


@functools.cache
def _interpolation(cells: int, height: int, width: int, device: torch.device) -> Tensor:
    """Bicubic interpolation from ``cells`` × ``cells`` numbers to pixels, as a matrix."""
    units = torch.eye(cells**2, dtype=torch.float32, device="cpu").view(-1, 1, cells, cells)
    maps = F.interpolate(units, (height, width), mode="bicubic", align_corners=True)
    return maps.flatten(1).to(device)


@dataclass(frozen=True)
class Stroke:
    """Make the strokes of each image thicker or thinner, by up to one pixel on each side.

    The image is mixed with its dilation (each pixel the largest of its 3×3 neighbours) or its
    erosion (the smallest).

    Attributes:
        thinner: the largest share of the eroded image, 0 … 1.
        thicker: the largest share of the dilated image, 0 … 1.
    """

    thinner: float = 0.5
    thicker: float = 0.5

    def __post_init__(self) -> None:
        _take_numbers(self, real, "thinner", "thicker")
        if max(self.thinner, self.thicker) > 1:
            raise ValueError(
                f"thinner and thicker must be 0 to 1, got {self.thinner} and {self.thicker}"
            )

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Change each image of ``(N, C, H, W)``, floats."""
        _check(images, floats=True)
        amount = _uniform(len(images), -self.thinner, self.thicker, generator)
        amount = amount.to(images.device, images.dtype).view(-1, 1, 1, 1)
        thick, thin = _largest(images), -_largest(-images)
        return (
            images + amount.clamp(min=0) * (thick - images) + amount.clamp(max=0) * (images - thin)
        )


def _largest(images: Tensor) -> Tensor:
    """The largest of the 3×3 neighbours of each pixel: of three in a row, then in a column.

    On a CPU that is many times faster than max-pooling with a stride of 1.
    """
    x = F.pad(images, (1, 1, 1, 1), mode="replicate")
    x = torch.maximum(torch.maximum(x[..., :-2], x[..., 1:-1]), x[..., 2:])
    return torch.maximum(torch.maximum(x[..., :-2, :], x[..., 1:-1, :]), x[..., 2:, :])


@dataclass(frozen=True)
class Cutout:
    """Paint a square of background over each image, somewhere inside it.

    Source: T. DeVries and G. Taylor, *Improved regularization of convolutional neural networks with
    cutout*, 2017.

    Attributes:
        pixels: the side of the square.
    """

    pixels: int = 8

    def __post_init__(self) -> None:
        _take_numbers(self, whole, "pixels")

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Change each image of ``(N, C, H, W)``, of any dtype."""
        _check(images)
        N, _, H, W = images.shape
        if self.pixels > min(H, W):
            raise ValueError(f"a square of {self.pixels} pixels does not fit into {H} × {W} pixels")
        top, left = (
            torch.randint(0, side - self.pixels + 1, (N, 1), generator=generator, device="cpu").to(
                images.device
            )
            for side in (H, W)
        )
        y, x = (torch.arange(n, device=images.device) for n in (H, W))
        rows = (y >= top) & (y < top + self.pixels)
        columns = (x >= left) & (x < left + self.pixels)
        return images.masked_fill(rows[:, None, :, None] & columns[:, None, None, :], 0)


@dataclass(frozen=True)
class Sequence:
    """Several augmentations, one after the other."""

    parts: tuple[Augmentation, ...]

    def __post_init__(self) -> None:
        parts = self.parts
        if not isinstance(parts, (tuple, list)) or not all(callable(part) for part in parts):
            raise TypeError(f"parts must be several augmentations, got {kind_of(parts)}")
        object.__setattr__(self, "parts", tuple(parts))

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Apply the parts in their order."""
        for part in self.parts:
            images = part(images, generator)
        return images

"""The layers of a small network by hand, each with its forward and its backward pass.

Chapter 10 derives them. No function uses autograd. A ``..._forward`` returns its output and a
*cache*: all that its backward pass needs. The ``..._backward`` takes ``dy``, the gradient of the
loss with respect to that output, and the cache, and returns the gradients of the inputs. A gradient
has the shape and the dtype of what it belongs to.

Sizes: N images, C channels, H × W pixels, windows of K_h × K_w, maps of H_out × W_out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

Size: TypeAlias = tuple[int, int]
Cache: TypeAlias = tuple[Any, ...]


def output_size(size: Size, kernel_size: Size, stride: int = 1, padding: int = 0) -> Size:
    """Rows and columns of the map that a window makes of ``size`` rows and columns (chapter 5).

    Raises:
        ValueError: if the window does not fit.
    """
    H_out, W_out = (
        (n + 2 * padding - k) // stride + 1 for n, k in zip(size, kernel_size, strict=True)
    )
    if min(H_out, W_out) < 1:
        raise ValueError(
            f"a window of {kernel_size} does not fit into {size} with padding {padding}; "
            "take a smaller window or more padding"
        )
    return H_out, W_out


def shifts(kernel_size: Size, places: Size, stride: int) -> Iterator[Any]:
    """For each place (u, v) of a window, the index of all pixels that are there in some window.

    Args:
        kernel_size: ``(K_h, K_w)``.
        places: ``(H_out, W_out)``, how many windows there are.
        stride: pixels from one window to the next.

    Returns:
        An iterator over ``K_h * K_w`` indices into a padded image ``(…, H, W)``.
    """
    (K_h, K_w), (H_out, W_out) = kernel_size, places
    for u in range(K_h):
        for v in range(K_w):
            rows = slice(u, u + (H_out - 1) * stride + 1, stride)
            yield ..., rows, slice(v, v + (W_out - 1) * stride + 1, stride)


def im2col(x: Tensor, kernel_size: Size, stride: int = 1, padding: int = 0) -> Tensor:
    """Copy every patch into a column: (N, C, H, W) to (N, C * K_h * K_w, H_out * W_out).

    The same as ``torch.nn.functional.unfold``. Raises ValueError if the window does not fit.
    """
    places = output_size((x.shape[2], x.shape[3]), kernel_size, stride, padding)
    padded = F.pad(x, (padding,) * 4) if padding else x
    parts = [padded[shift] for shift in shifts(kernel_size, places, stride)]
    return torch.stack(parts, dim=2).flatten(3).flatten(1, 2)


def col2im(
    columns: Tensor, size: Size, kernel_size: Size, stride: int = 1, padding: int = 0
) -> Tensor:
    """Add every number of the columns to the pixel that it was copied from: ``im2col`` backwards.

    Args:
        columns: ``(N, C * K_h * K_w, H_out * W_out)``.
        size: ``(H, W)``, the size of the image.
        kernel_size: ``(K_h, K_w)``.
        stride: pixels from one window to the next.
        padding: rows and columns of zeros around the image.

    Returns:
        ``(N, C, H, W)``, the same as ``torch.nn.functional.fold``.
    """
    (H, W), (K_h, K_w) = size, kernel_size
    places = output_size(size, kernel_size, stride, padding)
    parts = columns.unflatten(1, (-1, K_h * K_w)).unflatten(3, places).unbind(2)
    padded = columns.new_zeros(*parts[0].shape[:2], H + 2 * padding, W + 2 * padding)
    for shift, part in zip(shifts(kernel_size, places, stride), parts, strict=True):
        padded[shift] += part
    return padded[:, :, padding : padding + H, padding : padding + W]


def conv2d_forward(
    x: Tensor, w: Tensor, b: Tensor, stride: int = 1, padding: int = 0
) -> tuple[Tensor, Cache]:
    """Convolve x (N, C_in, H, W) with w (C_out, C_in, K_h, K_w), and add b (C_out).

    Returns the maps (N, C_out, H_out, W_out) and a cache. Raises ValueError if w does not fit.
    """
    size, kernel_size = (x.shape[2], x.shape[3]), (w.shape[2], w.shape[3])
    places = output_size(size, kernel_size, stride, padding)
    columns = im2col(x, kernel_size, stride, padding)
    y = w.flatten(1) @ columns + b[:, None]
    return y.unflatten(2, places), (columns, w, size, stride, padding)


def conv2d_backward(dy: Tensor, cache: Cache) -> tuple[Tensor, Tensor, Tensor]:
    """From dy (N, C_out, H_out, W_out) to dx, dw and db, of the shapes of x, w and b."""
    columns, w, size, stride, padding = cache
    dy = dy.flatten(2)
    db = dy.sum((0, 2))
    dw = (dy @ columns.transpose(1, 2)).sum(0).view_as(w)
    dx = col2im(w.flatten(1).T @ dy, size, (w.shape[2], w.shape[3]), stride, padding)
    return dx, dw, db


def max_pool2d_forward(
    x: Tensor, kernel_size: int, stride: int | None = None
) -> tuple[Tensor, Cache]:
    """Keep the largest pixel of every window: x (N, C, H, W) to (N, C, H_out, W_out).

    The stride is the kernel size unless given. Raises ValueError if the window does not fit.
    """
    stride = stride or kernel_size
    size, window = (x.shape[2], x.shape[3]), (kernel_size, kernel_size)
    columns = im2col(x, window, stride).unflatten(1, (-1, kernel_size**2))
    y, winners = columns.max(dim=2)  # of several largest ones, the first
    return y.unflatten(2, output_size(size, window, stride)), (winners, size, window, stride)


def max_pool2d_backward(dy: Tensor, cache: Cache) -> Tensor:
    """Give each number of dy (N, C, H_out, W_out) to the pixel that won: (N, C, H, W)."""
    winners, size, window, stride = cache
    (N, C, places), (K_h, K_w) = winners.shape, window
    columns = dy.new_zeros(N, C, K_h * K_w, places)
    columns.scatter_(2, winners[:, :, None], dy.flatten(2)[:, :, None])
    return col2im(columns.flatten(1, 2), size, window, stride)


def relu_forward(x: Tensor) -> tuple[Tensor, Cache]:
    """Set what is negative to 0; any shape."""
    return x.clamp(min=0), (x > 0,)


def relu_backward(dy: Tensor, cache: Cache) -> Tensor:
    """Let the gradient through where the input was positive."""
    (positive,) = cache
    return torch.where(positive, dy, 0)


def linear_forward(x: Tensor, w: Tensor, b: Tensor) -> tuple[Tensor, Cache]:
    """Multiply x (N, K) by w (C_out, K) and add b (C_out); returns (N, C_out) and a cache."""
    return x @ w.T + b, (x, w)


def linear_backward(dy: Tensor, cache: Cache) -> tuple[Tensor, Tensor, Tensor]:
    """From dy (N, C_out) to dx, dw and db, of the shapes of x, w and b."""
    x, w = cache
    return dy @ w, dy.T @ x, dy.sum(0)


def softmax_cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy of logits (N, classes) for int64 labels (N), and its gradient.

    Forward and backward in one, because the backward pass begins at the loss.

    Returns:
        The loss, a tensor of shape (), and its gradient with respect to the logits.
    """
    log_p = logits - logits.logsumexp(dim=1, keepdim=True)
    images = torch.arange(len(labels), device=labels.device)
    loss = -log_p[images, labels].mean()
    dlogits = log_p.exp()
    dlogits[images, labels] -= 1
    return loss, dlogits / len(labels)

"""Made-up digits: ten random pictures with noise, which a small network tells apart at once."""

import torch

from mnist_course.data import Digits


def digits(n: int = 256, seed: int = 0) -> Digits:
    """``n`` digits of ten easy kinds; the kinds are the same for every seed."""
    patches = torch.rand(10, 1, 7, 7, generator=torch.Generator().manual_seed(99)) > 0.6
    kinds = patches.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 10, (n,), generator=generator)
    noise = torch.rand(n, 1, 28, 28, generator=generator)
    return Digits((kinds[labels] * 155 + noise * 100).byte(), labels, "made-up digits")

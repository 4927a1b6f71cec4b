"""Small networks for the tests of the drawing pad."""

import torch
from torch import nn


def shaken(model: nn.Module, seed: int = 0) -> nn.Module:
    """The network in evaluation mode, with batch norms as if it had been trained: not 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    for layer in model.modules():
        if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            layer.running_mean.normal_(0, 0.3, generator=generator)
            layer.running_var.uniform_(0.5, 2, generator=generator)
            nn.init.normal_(layer.weight, 1, 0.5, generator=generator)
            nn.init.normal_(layer.bias, 0, 0.3, generator=generator)
    return model.eval()


def every_layer() -> nn.Sequential:
    """A network with every layer that the pad's engine knows, in its less usual settings."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, stride=2, padding=3, dilation=2),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.BatchNorm2d(6),
        nn.GELU(),
        nn.Sequential(nn.Conv2d(6, 12, (3, 5), padding="same", groups=3), nn.GELU("tanh")),
        nn.Dropout(),
        nn.AvgPool2d(2, stride=1, padding=1),
        nn.Conv2d(12, 11, 2, stride=(1, 2), padding="valid", bias=False),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(11, 9),
        nn.BatchNorm1d(9),
        nn.Linear(9, 10, bias=False),
    )

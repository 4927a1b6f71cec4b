"""How a network is trained, except the data and the seed; and the recipes by name."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mnist_course import models
from mnist_course.arguments import kind_of, one_of, positive, real, seed_of, several, takes, whole
from mnist_course.augment import Affine, Augmentation, Shift
from mnist_course.modules import lies

_MOST_EPOCHS = 1_000_000  # the steps of a training are counted by a float, too

SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "triangular": lambda done: 1 - done,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
}
"""How the learning rate falls from its peak (1) while the share ``done`` grows from 0 to 1."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how a network is trained, except the data and the seed.

    Attributes:
        network: the name of a builder in :mod:`mnist_course.models`.
        channels: its number of feature maps; its own default if empty.
        epochs: how often the training digits are seen; may be a fraction.
        batch_size: digits in a step.
        learning_rate: the peak of the schedule.
        optimizer: ``"adam"``, ``"adamw"`` or ``"sgd"`` (with Nesterov momentum ``betas[0]``).
        betas: how slowly the running means of the gradient and of its square change.
        weight_decay: shrinks weights, but not biases and the weights of batch norm.
        schedule: how the rate falls: ``"constant"``, ``"triangular"`` (linearly) or ``"cosine"``.
        warmup: the share of the steps in which the rate rises linearly before that.
        label_smoothing: the share of probability spread over all ten digits.
        augmentation: changes each batch of pixels at random; none if ``None``.

    Numbers may come from NumPy or be tensors; they become plain Python numbers.

    Raises:
        TypeError: if a setting is of the wrong type.
        ValueError: if a setting cannot work.
    """

    network: str = "course_network"
    channels: tuple[int, ...] = ()
    epochs: float = 3
    batch_size: int = 128
    learning_rate: float = 0.005
    optimizer: str = "adam"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    schedule: str = "triangular"
    warmup: float = 0.2
    label_smoothing: float = 0.0
    augmentation: Augmentation | None = None

    def __post_init__(self) -> None:
        self._take_numbers()
        if not one_of(self.schedule, SCHEDULES):
            raise ValueError(f"unknown schedule {self.schedule!r}; choose one of {list(SCHEDULES)}")
        if not one_of(self.optimizer, ("adam", "adamw", "sgd")):
            raise ValueError(
                f"unknown optimizer {self.optimizer!r}; choose one of ['adam', 'adamw', 'sgd']"
            )
        for name in ("label_smoothing", "warmup"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be 0 to 1, got {getattr(self, name)}")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay must not be negative, got {self.weight_decay}")
        if self.epochs > _MOST_EPOCHS:
            raise ValueError(f"epochs must be at most {_MOST_EPOCHS:,}, got {self.epochs:g}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be from 0 to below 1, got {self.betas}")
        if not (self.augmentation is None or callable(self.augmentation)):
            raise TypeError(
                "augmentation must be a function of images and a generator, or None, got "
                f"{kind_of(self.augmentation)}"
            )
        if self.augmentation is not None and not takes(self.augmentation, 2):
            raise TypeError(
                "augmentation is called with images and a generator, and this takes other "
                "arguments; lambda images, generator: change(images) takes these"
            )

    def _take_numbers(self) -> None:
        """Make all numbers plain Python numbers: a tensor would change with the optimiser's."""
        plain: dict[str, Any] = {
            "epochs": positive(self.epochs, "epochs"),
            "batch_size": whole(positive(self.batch_size, "batch_size"), "batch_size"),
            "learning_rate": positive(self.learning_rate, "learning_rate"),
        }
        for name in ("weight_decay", "warmup", "label_smoothing"):
            plain[name] = real(getattr(self, name), name)
        plain["channels"] = tuple(
            whole(each, "channels", 1) for each in several(self.channels, "channels")
        )
        betas = several(self.betas, "betas")
        if len(betas) != 2:
            raise ValueError(f"betas must be two numbers, got {len(betas)}")
        plain["betas"] = tuple(real(each, "betas") for each in betas)
        for name, value in plain.items():
            # A frozen dataclass has no other way to set its own fields.
            object.__setattr__(self, name, value)

    def build(self, seed: int = 0) -> nn.Module:
        """The network with fresh weights drawn from ``seed``.

        Raises:
            TypeError: if the seed is not a number.
            ValueError: if the course has no such network.
        """
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed_of(seed))
            return models.build(self.network, self.channels)

    def learning_rate_at(self, step: int, steps: int) -> float:
        """The learning rate of ``step``, counted from 0, in a training of ``steps`` steps."""
        progress = (step + 0.5) / steps
        if progress < self.warmup:
            return self.learning_rate * progress / self.warmup
        return self.learning_rate * SCHEDULES[self.schedule](
            (progress - self.warmup) / (1 - self.warmup)
        )

    def optimizer_for(self, model: nn.Module, capturable: bool = False) -> torch.optim.Optimizer:
        """The optimiser for those parameters of ``model`` that are not frozen.

        ``capturable`` keeps all that it changes on the GPU, so that its step can be recorded.
        """
        free = [weights for weights in model.parameters() if weights.requires_grad]
        groups = [
            {"params": [w for w in free if w.ndim > 1], "weight_decay": self.weight_decay},
            {"params": [w for w in free if w.ndim <= 1], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        if self.optimizer == "sgd":
            return _uncompiled(torch.optim.SGD)(
                groups, self.learning_rate, momentum=self.betas[0], nesterov=self.betas[0] > 0
            )
        adam = _uncompiled({"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[self.optimizer])
        rate: float | Tensor = self.learning_rate
        if capturable:
            rate = torch.tensor(rate, dtype=torch.float32, device=free[0].device)
        fused = all(lies(weights) == "dense" for weights in free)
        return adam(groups, rate, betas=self.betas, fused=fused, capturable=capturable)


@functools.cache
def _uncompiled(optimizer: type[torch.optim.Optimizer]) -> Callable[..., torch.optim.Optimizer]:
    """The same optimiser without PyTorch's compiler.

    PyTorch wraps three of its methods in functions that import the compiler, only to tell it not to
    compile them. That takes a second or two of the first training.
    """
    bare = {
        name: inspect.unwrap(getattr(optimizer, name))
        for name in ("add_param_group", "zero_grad", "step")
    }
    return type(optimizer.__name__, (optimizer,), bare | {"step": torch.no_grad()(bare["step"])})


_SPRINT = Recipe(
    network="fast_network",
    channels=(24, 48, 96),
    epochs=0.41,
    batch_size=128,
    learning_rate=0.02,
    betas=(0.7, 0.9),
    schedule="triangular",
    warmup=0.25,
    label_smoothing=0.2,
)
_FAST = replace(_SPRINT, channels=(32, 64, 128), epochs=1, augmentation=Shift(1))
# SGD with weight decay was chosen for the longer trainings, on held-out digits and two seeds.
_LONGER = replace(_FAST, optimizer="sgd", learning_rate=0.2, betas=(0.9, 0.999), weight_decay=5e-4)
RECIPES: dict[str, Recipe] = {
    "sprint": _SPRINT,
    "fast": _FAST,
    "standard": replace(_LONGER, epochs=10, augmentation=Affine(8, 0.08, 0.08, 1)),
    "accurate": replace(
        _LONGER,
        network="accurate_network",
        channels=(32, 48, 96, 128),
        epochs=18,
        augmentation=Affine(10, 0.1, 0.1, 1.5),
    ),
}
"""Recipes by name, for two cores. ``sprint`` reads 99 % after two fifths of an epoch, in a second
or two; ``fast`` takes some seconds, ``standard`` a minute or two, ``accurate`` five to ten."""


def get_recipe(name: str) -> Recipe:
    """The recipe called ``name``.

    Raises:
        ValueError: if there is none; the message lists the recipes.
    """
    if not one_of(name, RECIPES):
        raise ValueError(f"unknown recipe {name!r}; the recipes are {', '.join(RECIPES)}")
    return RECIPES[name]

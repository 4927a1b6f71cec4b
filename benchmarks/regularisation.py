"""What each cure for overfitting is worth, on 1,000 digits, one at a time and all together.

    python -m benchmarks.regularisation      # about eight minutes on one core

One small network is trained on 1,000 digits with no cure, with each cure alone, with all of them
and with all but one; then with other numbers of digits, and with augmentations that do harm. Every
setting is run from five seeds, and a seed decides the weights *and* which digits are learned from,
so that two settings can be compared seed by seed. Settings were chosen on 2,000 digits, the first
half of which, ``choosing``, also says when to stop early; what is reported are the errors on
``validation``. Both are held out of the training set, and the test set is not touched. The file
of results is written after every seed.
"""

from __future__ import annotations

import copy
import math
import time
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import nn

from mnist_course import data, evaluate, measurements, train
from mnist_course.augment import Affine, Augmentation
from mnist_course.data import Digits

SEEDS = range(5)
DIGITS = 1_000
STEPS = 300
BATCH = 100
AFFINE = Affine(degrees=10, scale=0.1, shear=0.15, shift=2)


def small_network(dropout: float = 0.0, batch_norm: bool = False) -> nn.Sequential:
    """The network of chapter 18: two convolutions and two linear layers, with or without cures.

    Args:
        dropout: the probability of dropping a feature before each linear layer; no layer if 0.
        batch_norm: whether each convolution is followed by batch norm.
    """

    def norm(channels: int) -> list[nn.Module]:
        return [nn.BatchNorm2d(channels)] if batch_norm else []

    def drop() -> list[nn.Module]:
        return [nn.Dropout(dropout)] if dropout else []

    return nn.Sequential(
        nn.Conv2d(1, 16, 5, stride=2), *norm(16), nn.ReLU(), nn.MaxPool2d(2),  # 28 → 12 → 6
        nn.Conv2d(16, 32, 3), *norm(32), nn.ReLU(), nn.Flatten(),  # 6 → 4, and 32 · 4 · 4 = 512
        *drop(), nn.Linear(512, 128), nn.ReLU(), *drop(), nn.Linear(128, 10),
    )  # fmt: skip


class FlipLeftRight:
    """Mirror half of the images, chosen at random."""

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Mirror each image of ``(N, C, H, W)`` with probability one half."""
        mirrored = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
        return torch.where(mirrored, images.flip(3), images)


@dataclass(frozen=True)
class Setting:
    """The cures that a training uses."""

    augmentation: Augmentation | None = None
    once: bool = False  # augment the digits once before training, not each batch
    dropout: float = 0.0
    weight_decay: float = 0.0
    batch_norm: bool = False
    label_smoothing: float = 0.0
    early_stopping: bool = False
    digits: int = DIGITS


@dataclass
class Measured:
    """What came out for a setting: one number a seed."""

    setting: Setting
    errors: list[float] = field(default_factory=list)  # % of the validation digits
    losses: list[float] = field(default_factory=list)  # on the validation digits
    training_errors: list[float] = field(default_factory=list)  # %, in eval mode, unaugmented

    def as_json(self) -> dict[str, Any]:
        """For the file of results."""
        setting = asdict(replace(self.setting, augmentation=None))
        if self.setting.augmentation:
            setting["augmentation"] = type(self.setting.augmentation).__name__
        numbers = {"errors": self.errors, "losses": self.losses, "training": self.training_errors}
        rounded = {name: [round(value, 4) for value in row] for name, row in numbers.items()}
        return {"setting": setting, **rounded}


CURES: dict[str, dict[str, Any]] = {
    "augmentation": {"augmentation": AFFINE},
    "dropout": {"dropout": 0.5},
    "weight decay": {"weight_decay": 0.3},
    "batch norm": {"batch_norm": True},
    "label smoothing": {"label_smoothing": 0.1},
    "early stopping": {"early_stopping": True},
}
ALL: dict[str, Any] = {key: value for cure in CURES.values() for key, value in cure.items()}


def without(cure: str) -> Setting:
    """All cures but one."""
    kept = [changes for name, changes in CURES.items() if name != cure]
    return Setting(**{key: value for changes in kept for key, value in changes.items()})


SETTINGS: dict[str, Setting] = {
    "none": Setting(),
    **{f"+ {name}": Setting(**changes) for name, changes in CURES.items()},
    "all": Setting(**ALL),
    **{f"all - {name}": without(name) for name in CURES},
    "augmented once": Setting(augmentation=AFFINE, once=True),
    "mirrored": Setting(augmentation=FlipLeftRight()),
    "turned by up to 180°": Setting(augmentation=Affine(degrees=180, scale=0, shear=0, shift=0)),
    "turned by up to 10°": Setting(augmentation=Affine(degrees=10, scale=0, shear=0, shift=0)),
}
COUNTS = (100, 300, 3_000, 10_000, 40_000)  # 1,000 is SETTINGS["none"]


class Best:
    """Remembers the weights with the lowest loss on some digits, epoch by epoch."""

    def __init__(self, digits: Digits) -> None:
        self.digits, self.loss = digits, math.inf
        self.weights: dict[str, torch.Tensor] = {}

    def __call__(self, model: nn.Module, _: train.History) -> bool:
        """To be called after each epoch; never ends the training."""
        loss = evaluate.evaluate(model, self.digits, "cpu").loss
        if loss < self.loss:
            self.loss, self.weights = loss, copy.deepcopy(model.state_dict())
        return False


def run(
    setting: Setting, seed: int, pool: Digits, choosing: Digits, validation: Digits
) -> tuple[float, float, float]:
    """Train once; returns validation error in %, validation loss and training error in %."""
    draw = torch.Generator().manual_seed(seed)
    training = pool[torch.randperm(len(pool), generator=draw)[: setting.digits]]
    learned = training
    augmentation = setting.augmentation
    if augmentation and setting.once:
        changed = augmentation(data.to_float(training.images), draw)
        learned = replace(training, images=(255 * changed.clamp(0, 1)).round().byte())
        augmentation = None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = small_network(setting.dropout, setting.batch_norm)
    recipe = train.Recipe(
        epochs=STEPS * BATCH / setting.digits,
        batch_size=BATCH,
        learning_rate=0.003,
        optimizer="adamw",
        weight_decay=setting.weight_decay,
        schedule="constant",
        warmup=0.1,
        label_smoothing=setting.label_smoothing,
        augmentation=augmentation,
    )
    best = Best(choosing)
    train.fit(
        model, learned, None, recipe, device="cpu", seed=seed, progress=False,
        after_epoch=best if setting.early_stopping else None,
    )  # fmt: skip
    if setting.early_stopping:
        model.load_state_dict(best.weights)
    result = evaluate.evaluate(model, validation, "cpu")
    seen = evaluate.evaluate(model, training, "cpu").accuracy
    return 100 * (1 - result.accuracy), result.loss, 100 * (1 - seen)


def main() -> None:
    torch.set_num_threads(1)
    pool, held_out = data.load("train").split(12_000)
    choosing, validation = held_out[:1_000], held_out[2_000:]
    settings = SETTINGS | {f"{n} digits": Setting(digits=n) for n in COUNTS}
    measured = {name: Measured(setting) for name, setting in settings.items()}
    start = time.process_time()
    for seed in SEEDS:
        for row in measured.values():
            error, loss, training_error = run(row.setting, seed, pool, choosing, validation)
            row.errors.append(error)
            row.losses.append(loss)
            row.training_errors.append(training_error)
        seconds = round(time.process_time() - start)
        measurements.save(
            "regularisation",
            {
                "source": pool.source,
                "seeds": list(SEEDS)[: seed + 1],
                "digits": DIGITS,
                "steps": STEPS,
                "stopping_digits": len(choosing),
                "validation_digits": len(validation),
                "seconds": seconds,
                "runs": {name: row.as_json() for name, row in measured.items()},
            },
        )
        print(f"seed {seed}: {seconds} s", flush=True)
    for name, row in measured.items():
        print(f"{name:24} {sum(row.errors) / len(row.errors):6.2f} %")


if __name__ == "__main__":
    main()

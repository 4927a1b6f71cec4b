"""One training loop, used for every network of the course.

The data set lies on the device as bytes, a batch is drawn by its positions, augmented as a whole,
and everything random in a step follows from the seed and the number of the step. So a run can be
repeated, and an interrupted one resumed, to the last bit.
"""

from __future__ import annotations

import functools
import inspect
import math
import re
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from torch.nn import functional

from mnist_course import models
from mnist_course.augment import Affine, Augmentation, Shift
from mnist_course.checkpoints import (
    CheckpointError,
    load_state,
    save_state,
    save_weights,
    unwrapped,
    weights_for,
)
from mnist_course.data import Digits, check_digits, to_float
from mnist_course.devices import (
    choose_device,
    has_fast_bfloat16,
    keep_memory,
    placed,
    recorded,
)
from mnist_course.distributed import Team, team
from mnist_course.evaluate import evaluate
from mnist_course.files import check_writable

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "RECIPES",
    "DivergedError",
    "History",
    "Recipe",
    "Row",
    "choose_device",
    "fit",
    "get_recipe",
    "name_of",
]

SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "triangular": lambda done: 1 - done,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
}
"""How the learning rate falls from its peak (1) while the share ``done`` grows from 0 to 1."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how a network is trained, but the data and the seed.

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
        if self.schedule not in SCHEDULES:
            raise ValueError(f"unknown schedule {self.schedule!r}; choose of {list(SCHEDULES)}")
        if self.optimizer not in ("adam", "adamw", "sgd"):
            raise ValueError(
                f"unknown optimizer {self.optimizer!r}; choose of ['adam', 'adamw', 'sgd']"
            )
        if not (self.epochs > 0 and self.batch_size > 0 and self.learning_rate > 0):
            raise ValueError(
                "epochs, batch_size and learning_rate must be positive, got "
                f"{self.epochs}, {self.batch_size} and {self.learning_rate}"
            )
        if not 0 <= self.label_smoothing <= 1:
            raise ValueError(f"label_smoothing must be 0 to 1, got {self.label_smoothing}")

    def build(self, seed: int = 0) -> nn.Module:
        """The network with fresh weights drawn from ``seed``.

        Raises:
            ValueError: if the course has no such network.
        """
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
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
        rate: float | torch.Tensor = self.learning_rate
        if capturable:
            rate = torch.tensor(rate, device=free[0].device)
        return adam(groups, rate, betas=self.betas, fused=True, capturable=capturable)


@functools.cache
def _uncompiled(optimizer: type[torch.optim.Optimizer]) -> Callable[..., torch.optim.Optimizer]:
    """The same optimiser without PyTorch's compiler.

    Three of its methods are wrapped in functions that import the compiler, a second or two of a
    first training, to tell it that they are not to be compiled.
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
# Adam is quick at the start; in the long run SGD that shrinks the weights generalises better.
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
        ValueError: if there is none; the message names those there are.
    """
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}; the recipes are {', '.join(RECIPES)}")
    return RECIPES[name]


class DivergedError(ArithmeticError):
    """Training met a loss or weights that are not finite; the message says where and why."""


@dataclass(frozen=True)
class Row:
    """One line of the history: an epoch, or what was done of the last one.

    Attributes:
        epoch: how often the training digits have been seen by now.
        step: how many steps have been made by now.
        learning_rate: that of the last step.
        training_loss: the mean over the steps since the line before, as they were minimised: with
            augmentation and label smoothing, while the weights were changing.
        validation_loss: the mean cross-entropy on the validation digits; nan without any.
        validation_accuracy: the share of them read rightly, 0 … 1; nan without any.
        seconds: time spent by now.
    """

    epoch: float
    step: int
    learning_rate: float
    training_loss: float
    validation_loss: float
    validation_accuracy: float
    seconds: float


@dataclass
class History:
    """What happened in a training.

    Attributes:
        rows: one :class:`Row` an epoch.
        losses: the training loss of every step.
        steps: how many steps the recipe asks for.
        device: where it ran.
        source: the training data, to be quoted beside any number.
        stopped: why it ended before its last step; empty if it did not.
    """

    rows: list[Row] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    steps: int = 0
    device: str = "cpu"
    source: str = ""
    stopped: str = ""

    def table(self) -> pd.DataFrame:
        """The rows as a pandas table, indexed by epoch."""
        import pandas as pd

        names = list(Row.__dataclass_fields__)
        return pd.DataFrame([asdict(row) for row in self.rows], columns=names).set_index("epoch")

    def __repr__(self) -> str:
        title = f"{len(self.losses):,} of {self.steps:,} steps on {self.source} ({self.device})"
        if self.stopped:
            title += f", {self.stopped}"
        lines = [
            title,
            f"{'epoch':>6} {'train loss':>11} {'valid loss':>11} {'valid acc':>10} {'s':>7}",
        ]
        lines += [
            f"{row.epoch:>6.2f} {row.training_loss:>11.4f} {row.validation_loss:>11.4f} "
            f"{row.validation_accuracy:>10.2%} {row.seconds:>7.1f}"
            for row in self.rows
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return self.table().to_html(float_format="{:.4g}".format)


def fit(
    model: nn.Module,
    training: Digits,
    validation: Digits | None = None,
    recipe: Recipe = RECIPES["fast"],
    *,
    device: str | torch.device | None = None,
    seed: int = 0,
    checkpoint_folder: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
    mixed_precision: bool | Literal["auto"] = False,
    cuda_graph: bool = False,
    after_epoch: Callable[[nn.Module, History], bool | None] | None = None,
) -> History:
    """Train ``model`` in place.

    Frozen parameters (``requires_grad=False``) stay as they are, and so do the running statistics
    of a batch norm whose parameters are all frozen. Ctrl-C ends the training after the current
    step: what was learned stays in the model, and the history says so.

    In each of several processes that ``torchrun`` started (see
    :func:`mnist_course.distributed.started`) it computes a share of every batch, and the result is
    that of one process, up to rounding; there Ctrl-C ends all of them at once.

    Args:
        model: a network from pixels in [0, 1], ``(N, 1, 28, 28)``, to logits ``(N, 10)``; without
            validation digits, to one logit for each label that occurs. It comes back on the device
            where it was, in eval mode.
        training: the digits to learn from.
        validation: digits to measure progress on after every epoch; never learned from.
        recipe: how to train; its network and channels are not used here.
        device: where to train; chosen by :func:`~mnist_course.devices.choose_device`.
        seed: decides the order of the digits, the augmentation and dropout. The same seed gives
            the same weights, bit for bit, on the same processor with as many threads.
        checkpoint_folder: where to write after every epoch ``last.pt`` (all that resuming needs),
            ``last.safetensors`` and ``best.safetensors`` (weights after the last epoch, and after
            the one with the highest validation accuracy).
        resume: go on from ``last.pt`` in that folder, as if there had been no break.
        progress: show a progress bar.
        mixed_precision: compute in bfloat16 where that loses little; ``"auto"`` does so where the
            hardware is quick at it, and then gives other numbers there than elsewhere.
        cuda_graph: on an NVIDIA GPU, record a step once and replay it, which spares the processor
            the work of starting every kernel; needs Adam, and a single process. The recorded
            step works on the weights where they lie: ``after_epoch`` must leave them there.
        after_epoch: called with the model and the history after each row; ends the training by
            returning ``True``.

    Returns:
        The history of the whole training, with what was done before it was resumed.

    Raises:
        ValueError: if data, recipe, model or device do not fit; nothing has been changed then.
        CheckpointError: if there is nothing to resume, or something else than this training.
        DivergedError: if the loss or a weight is no longer finite; the model keeps the last good
            state.
        MemoryError: if a batch does not fit into memory; the message says which size to try.
        OSError: if a checkpoint cannot be written: before the first step where that can be known,
            else the one before is whole, and the model trained.
    """
    device, processes = choose_device(device), team()
    batch_size = min(recipe.batch_size, len(training))
    _check(model, training, validation, recipe, processes)
    bfloat16 = _use_bfloat16(mixed_precision, device)
    recording = _use_graph(cuda_graph, device, recipe, processes)
    keep_memory()
    epoch_steps = len(training) // batch_size
    steps = max(1, round(recipe.epochs * epoch_steps))
    history = History(steps=steps, device=str(device), source=training.source)

    with (
        torch.cuda.device(device) if device.type == "cuda" else nullcontext(),
        placed(model, device),
        _training_mode(model),
        _own_random_numbers(device),
        _interrupts(processes) as interrupted,
        processes.joined(model) as network,
    ):
        optimizer = recipe.optimizer_for(model, capturable=recording)
        run = f"{recipe}, seed {seed}, {len(training)} digits of {training.source}"
        run = re.sub(" at 0x[0-9a-fA-F]+", "", run)  # where an augmentation lay in memory
        checkpoints = _Checkpoints(checkpoint_folder, model, optimizer, recipe, history, run)
        if resume:
            checkpoints.load(epoch_steps, processes)
        elif processes.is_first:
            checkpoints.check()
        digits = training.to(device)
        watch = _Watch(model, recipe, history, device, processes)
        fewest = 10 if validation else int(training.labels.max()) + 1
        most = 10 if validation else sys.maxsize

        def update(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                logits = network(images.contiguous(memory_format=torch.channels_last))
            if logits.ndim != 2 or not fewest <= logits.shape[1] <= most:
                model.load_state_dict(watch.good)
                raise ValueError(
                    f"expected logits of shape ({len(labels)}, 10) from the model, "
                    f"got {tuple(logits.shape)}; its last layer must have ten outputs"
                )
            loss = functional.cross_entropy(
                logits.float(), labels, label_smoothing=recipe.label_smoothing
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss.detach()

        make_step = recorded(update, device) if recording else update

        with _bar(len(history.losses), steps, progress and processes.is_first) as bar:
            for step in range(len(history.losses), steps):
                epoch, place = divmod(step, epoch_steps)
                if place == 0 or step == watch.first:
                    order = _order(len(digits), seed, epoch).to(device)
                batch = order[place * batch_size : (place + 1) * batch_size]
                images, labels = to_float(digits.images[batch]), digits.labels[batch]
                generator = _seed_step(seed, step, device)
                if recipe.augmentation:
                    images = recipe.augmentation(images, generator)
                images, labels = processes.share(images, labels)

                _set_learning_rate(optimizer, recipe.learning_rate_at(step, steps))
                with _advice_on_memory(batch_size):
                    loss = make_step(images, labels)
                watch.see(loss)
                bar.update()

                if place + 1 == epoch_steps or step + 1 == steps or interrupted:
                    watch.check()
                    row = processes.from_first(partial(watch.row, step, epoch_steps, validation))
                    history.rows.append(row)
                    if validation:
                        bar.set_postfix_str(f"validation accuracy {row.validation_accuracy:.2%}")
                    if processes.is_first:
                        checkpoints.save()
                    ended = after_epoch and after_epoch(model, history)
                    if step + 1 < steps and (ended or interrupted):
                        history.stopped = "interrupted" if interrupted else "ended by after_epoch"
                        break
    return history


def _check(
    model: nn.Module,
    training: Digits,
    validation: Digits | None,
    recipe: Recipe,
    processes: Team,
) -> None:
    """Raise a ``ValueError`` that says which of the arguments of :func:`fit` cannot work."""
    for name, digits in (("training", training), ("validation", validation)):
        if digits is None:
            continue
        if not len(digits):
            raise ValueError(f"the {name} data are empty; expected at least one digit")
        check_digits(digits, f"{name} images", f"{name} labels")
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    batch_size = min(recipe.batch_size, len(training))
    if batch_size % processes.size:
        raise ValueError(
            f"a batch of {batch_size} digits cannot be shared equally by {processes.size} "
            "processes; choose their number so that it divides the batch size"
        )
    if norms and batch_size == 1:
        raise ValueError(
            "a batch of one image has no spread for batch norm to divide by; "
            "train with a batch_size and data of two or more"
        )
    if not all(weights.isfinite().all() for weights in model.parameters()):
        raise ValueError("the model's weights are not all finite before training; build it afresh")
    if not any(weights.requires_grad for weights in model.parameters()):
        raise ValueError("every parameter of the model is frozen; leave some requires_grad=True")


def _use_bfloat16(wanted: bool | Literal["auto"], device: torch.device) -> bool:
    if wanted == "auto":
        return has_fast_bfloat16(device)
    if wanted and not has_fast_bfloat16(device):
        warnings.warn(
            f"{device} has no fast bfloat16 arithmetic; training takes longer than in float32",
            stacklevel=3,
        )
    return wanted


def _use_graph(wanted: bool, device: torch.device, recipe: Recipe, processes: Team) -> bool:
    why = ""
    if device.type != "cuda":
        why = f"CUDA graphs are for NVIDIA GPUs, and this is {device}"
    elif recipe.optimizer == "sgd":
        why = "the step of SGD cannot be recorded as a CUDA graph"
    elif processes.size > 1:
        why = "a step of several processes is not recorded as a CUDA graph"
    if wanted and why:
        warnings.warn(f"{why}; training without them", stacklevel=3)
    return wanted and not why


def _set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)  # a recorded step reads it where it lies
        else:
            group["lr"] = rate


@contextmanager
def _advice_on_memory(batch_size: int) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        # Without a GPU, running out of memory has no type of its own.
        if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        raise MemoryError(
            f"a batch of {batch_size} digits does not fit into memory; "
            f"try a batch_size of {max(1, batch_size // 2)} (and a lower learning rate), "
            "or a smaller network"
        ) from error


@contextmanager
def _training_mode(model: nn.Module) -> Iterator[None]:
    """Training mode, but a frozen batch norm keeps and uses its statistics; then eval mode."""
    model.train()
    for module in model.modules():
        weights = list(module.parameters(recurse=False))
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and weights:
            module.train(any(w.requires_grad for w in weights))
    try:
        yield
    finally:
        model.eval()


def _order(n: int, seed: int, epoch: int) -> torch.Tensor:
    """The order of the digits in an epoch: the same whenever it is asked for."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) * 2 % 2**63)
    return torch.randperm(n, generator=generator)


def _seed_step(seed: int, step: int, device: torch.device) -> torch.Generator:
    """Seed all random numbers of a step; returns the generator on the processor."""
    number = ((seed * 1_000_003 + step) * 2 + 1) % 2**63
    if device.type == "cuda":
        torch.cuda.manual_seed(number)
    elif device.type == "mps":
        torch.mps.manual_seed(number)
    return torch.default_generator.manual_seed(number)


@contextmanager
def _own_random_numbers(device: torch.device) -> Iterator[None]:
    """Leave the caller's stream of random numbers as it is."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


class _Flag:
    """False until it is raised."""

    def __init__(self) -> None:
        self.up = False

    def __bool__(self) -> bool:
        return self.up


@contextmanager
def _interrupts(processes: Team) -> Iterator[_Flag]:
    """Turn the first Ctrl-C into a flag, so that a step is never left half done.

    The second one interrupts at once. Python gives signals to the main thread only. Of several
    processes each would see its flag at another step, and wait for the others for ever.
    """
    flag = _Flag()
    if processes.size > 1 or threading.current_thread() is not threading.main_thread():
        yield flag
        return
    before = signal.getsignal(signal.SIGINT)

    def first(*_: Any) -> None:
        flag.up = True
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, first)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, before)


def _bar(done: int, steps: int, show: bool) -> Any:
    """A progress bar, in a terminal or a notebook."""
    if show:
        from tqdm.auto import tqdm
    else:  # the other one takes long to import, in a notebook
        from tqdm import tqdm

    return tqdm(initial=done, total=steps, unit="step", disable=not show)


class _Watch:
    """Follows the loss, and keeps the last state of the model in which everything was finite.

    Looking at a number waits for the GPU, so losses are looked at only every few steps.
    """

    EVERY = 20
    EVERY_ON_GPU = 500

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        history: History,
        device: torch.device,
        processes: Team,
    ) -> None:
        self.model, self.recipe, self.history, self.device = model, recipe, history, device
        self.processes = processes
        self.every = self.EVERY if device.type == "cpu" else self.EVERY_ON_GPU
        self.first = len(history.losses)
        self.recent: list[torch.Tensor] = []
        before = history.rows[-1].seconds if history.rows else 0.0
        self.started = time.perf_counter() - before
        self._keep()

    def _keep(self) -> None:
        self.good = {name: value.clone() for name, value in self.model.state_dict().items()}

    def see(self, loss: torch.Tensor) -> None:
        """Note the loss of the next step, and look at it now and then."""
        self.recent.append(loss)
        if len(self.recent) == self.every:
            self.check()

    def check(self) -> None:
        """Take the recent losses into the history.

        Raises:
            DivergedError: if one of them, or a weight, is not finite.
        """
        losses = self.processes.mean(torch.stack(self.recent)).tolist() if self.recent else []
        self.recent.clear()
        for loss in losses:
            if not math.isfinite(loss):
                self._stop(f"the loss is {loss}")
            self.history.losses.append(loss)
        if not torch.stack([w.isfinite().all() for w in self.model.parameters()]).all():
            self._stop("a weight is no longer finite")
        self._keep()

    def _stop(self, what: str) -> None:
        step = min(len(self.history.losses), self.history.steps - 1)
        rate = self.recipe.learning_rate_at(step, self.history.steps)
        self.model.load_state_dict(self.good)
        self.history.stopped = f"diverged: {what}"
        raise DivergedError(
            f"at step {step + 1} of {self.history.steps} {what}; "
            f"the learning rate was {rate:.3g}, most likely too high: try a tenth of it. "
            "The model holds the last state in which all was finite"
        )

    def row(self, step: int, epoch_steps: int, validation: Digits | None) -> Row:
        """The line of the history that ends with ``step``."""
        since = self.history.rows[-1].step if self.history.rows else 0
        losses = self.history.losses[since:]
        result = evaluate(self.model, validation, self.device) if validation else None
        return Row(
            epoch=(step + 1) / epoch_steps,
            step=step + 1,
            learning_rate=self.recipe.learning_rate_at(step, self.history.steps),
            training_loss=sum(losses) / len(losses),
            validation_loss=result.loss if result else math.nan,
            validation_accuracy=result.accuracy if result else math.nan,
            seconds=time.perf_counter() - self.started,
        )


class _Checkpoints:
    """The files of a training in its folder; does nothing without one."""

    def __init__(
        self,
        folder: str | Path | None,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        recipe: Recipe,
        history: History,
        run: str,
    ) -> None:
        self.folder = None if folder is None else Path(folder)
        self.model, self.optimizer, self.history, self.run = (
            unwrapped(model),
            optimizer,
            history,
            run,
        )
        self.metadata = {} if folder is None else name_of(model, recipe)

    def check(self) -> None:
        """Find out before the first step whether the files can be written."""
        if self.folder is not None:
            check_writable(self.folder / "last.pt")

    def save(self) -> None:
        """Write the state after the last row, and the best weights if it is the best."""
        if self.folder is None:
            return
        state = {
            "run": self.run,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rows": [asdict(row) for row in self.history.rows],
            "losses": self.history.losses,
            "steps": self.history.steps,
        }
        save_state(state, self.folder / "last.pt")
        self._save_weights(self.folder)

    def _save_weights(self, folder: Path) -> None:
        save_weights(self.model, folder / "last.safetensors", **self.metadata)
        scores = [row.validation_accuracy for row in self.history.rows]
        measured = self.history.rows and self.history.rows[-1].step == len(self.history.losses)
        if measured and not scores[-1] < max(scores):
            save_weights(self.model, folder / "best.safetensors", **self.metadata)

    def load(self, epoch_steps: int, processes: Team) -> None:
        """Put model, optimiser and history back into the state of ``last.pt``."""
        if self.folder is None:
            raise ValueError("resume=True needs the checkpoint_folder to resume from")
        path = self.folder / "last.pt"
        state = processes.from_first(lambda: load_state(path))
        if state.get("run") != self.run:
            raise CheckpointError(
                f"{path} is from another training ({state.get('run')}); "
                f"this one is {self.run}: resume with the same recipe, seed and data"
            )
        weights = weights_for(self.model, state["model"], path)
        names = set(Row.__dataclass_fields__)
        if len(state["losses"]) > self.history.steps or any(set(r) != names for r in state["rows"]):
            raise CheckpointError(
                f"{path} holds a history that no training writes; move it away to start afresh"
            )
        settings = self.optimizer.state_dict()["param_groups"]
        if _sizes(state["optimizer"]["param_groups"]) != _sizes(settings):
            raise CheckpointError(
                f"{path} was written while other parameters were frozen; freeze the same ones"
            )
        self.model.load_state_dict(weights, strict=False)
        # The settings stay: they belong to this device, and to a step that is recorded or is not.
        momenta = state["optimizer"]["state"]
        self.optimizer.load_state_dict({"state": momenta, "param_groups": settings})
        rows = [Row(**row) for row in state["rows"]]
        # The line of an interrupted epoch gives way to the line of the whole one.
        whole = [r for r in rows if r.step % epoch_steps == 0 or r.step == self.history.steps]
        self.history.rows.extend(whole)
        self.history.losses.extend(state["losses"])
        if processes.is_first:  # who wrote last.pt may have been killed before writing these
            self._save_weights(self.folder)


def _shapes(state: dict[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in state.items()}


def _sizes(groups: list[dict[str, Any]]) -> list[int]:
    return [len(group["params"]) for group in groups]


def name_of(model: nn.Module, recipe: Recipe) -> dict[str, str]:
    """The name of the network for the header of its file, if it is the one of the recipe."""
    model, named = unwrapped(model), recipe.build()
    # Layers without weights count, too: with another pooling it is another network.
    if str(model) != str(named) or _shapes(model.state_dict()) != _shapes(named.state_dict()):
        return {}
    return {"network": recipe.network, "channels": ",".join(map(str, recipe.channels))}

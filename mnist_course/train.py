"""One training loop, used for every network of the course.

The data set lies on the device as bytes, a batch is drawn by its positions, augmented as a whole,
and everything random in a step follows from the seed and the number of the step. So a run can be
repeated, and an interrupted one resumed, to the last bit.
"""

from __future__ import annotations

import copy
import functools
import math
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from mnist_course import runs
from mnist_course.arguments import kind_of, seed_of, takes
from mnist_course.checkpoints import (
    CheckpointError,
    check_storable,
    load_state,
    save_state,
    save_weights,
    weights_for,
)
from mnist_course.data import Digits, check_digits, to_float
from mnist_course.devices import (
    Place,
    advice_on_memory,
    choose_device,
    has_fast_bfloat16,
    keep_memory,
    lay_state,
    placed,
    recorded,
)
from mnist_course.distributed import Team, team
from mnist_course.evaluate import evaluate
from mnist_course.files import check_writable
from mnist_course.modules import (
    check_finite,
    check_gradients,
    check_logits,
    check_loss,
    check_network,
    check_trainable,
    numbers_of,
    set_mode,
    unwrapped,
)
from mnist_course.recipes import RECIPES, Recipe

if TYPE_CHECKING:
    import pandas as pd


class DivergedError(ArithmeticError):
    """A loss, a weight or a buffer is no longer finite; the message says where and why."""


@dataclass(frozen=True)
class Row:
    """One line of the history: an epoch, or the part that was done of the last one.

    Attributes:
        epoch: how often the training digits have been seen so far.
        step: how many steps have been made so far.
        learning_rate: that of the last step.
        training_loss: the mean of the minimised losses since the line before: with augmentation
            and label smoothing, while the weights were changing.
        validation_loss: the mean cross-entropy on the validation digits; nan without any.
        validation_accuracy: the share of them read correctly, 0 … 1; nan without any.
        seconds: time spent so far.
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
        source: the training data, to quote beside any number.
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
            where it was, in eval mode, with the gradients that it had.
        training: the digits to learn from.
        validation: digits to measure progress on after every epoch; never learned from.
        recipe: how to train; its network and channels are not used here.
        device: where to train; chosen by :func:`~mnist_course.devices.choose_device`.
        seed: decides the order of the digits, the augmentation and dropout. The same seed gives
            the same weights, bit for bit, on the same CPU with as many threads.
        checkpoint_folder: where to write after every epoch ``last.pt`` (all that resuming needs),
            ``last.safetensors`` and ``best.safetensors`` (weights after the last epoch, and after
            the whole epoch with the highest validation accuracy).
        resume: go on from ``last.pt`` in that folder, as if there had been no break. The recipe,
            the seed, the digits and the network must be the same.
        progress: show a progress bar.
        mixed_precision: compute in bfloat16 where that loses little; ``"auto"`` does so where the
            hardware is quick at it, and then gives other numbers there than elsewhere.
        cuda_graph: on an NVIDIA GPU, record a step once and replay it, which spares the CPU the
            work of starting every kernel; needs Adam, and a single process. The recorded
            step works on the weights where they lie: ``after_epoch`` must leave them there.
        after_epoch: called with the model and the history after each row; ends the training by
            returning ``True``.

    Returns:
        The history of the whole training, including the part before it was resumed.

    Raises:
        TypeError: if an argument is of the wrong type, or the model does not return a tensor.
        ValueError: if data, recipe, model or device do not fit; nothing has been changed then.
        CheckpointError: if there is nothing to resume, or it is not this training.
        DivergedError: if the loss, a weight or a buffer is no longer finite; the model keeps the
            last good state.
        MemoryError: if a batch does not fit into memory; the message says which size to try.
        OSError: if a checkpoint cannot be written: before the first step if that is known then;
            later, the one before is still whole, and the model is trained.
    """
    # What is asked for.
    device, processes, seed = choose_device(device), team(), seed_of(seed)
    training = _checked(training, "training")
    validation = None if validation is None else _checked(validation, "validation")
    _check(model, training, recipe, processes)
    if not (after_epoch is None or callable(after_epoch)):
        raise TypeError(f"after_epoch must be a function, got {kind_of(after_epoch)}")
    if after_epoch is not None and not takes(after_epoch, 2):
        raise TypeError(
            "after_epoch is called with the model and the history, and this takes other arguments"
        )
    bfloat16 = _use_bfloat16(mixed_precision, device)
    recording = _use_graph(cuda_graph, device, recipe, processes)
    keep_memory()

    # How much there is to do.
    batch_size = min(recipe.batch_size, len(training))
    epoch_steps = len(training) // batch_size
    steps = max(1, round(recipe.epochs * epoch_steps))
    history = History(steps=steps, device=str(device), source=training.source)

    with _at_work(model, device, processes) as (network, place, interrupted):
        # What makes a step, and what keeps its results.
        batch_of = _batches(training.to(device), recipe, batch_size, seed, processes)
        optimizer = recipe.optimizer_for(model, capturable=recording)
        outputs = _outputs(training, validation)
        update = _update(network, place, optimizer, recipe, outputs, bfloat16)
        make_step = recorded(update, device) if recording else update
        checkpoints = _Checkpoints(
            checkpoint_folder, model, optimizer, recipe, history, epoch_steps
        )
        checkpoints.describe(seed, training, validation, place)
        checkpoints.begin(resume, processes)
        watch = _Watch(model, optimizer, recipe, history, device, processes)

        # The loop.
        with _bar(len(history.losses), steps, progress and processes.is_first) as bar:
            for step in range(watch.first, steps):
                _set_learning_rate(optimizer, recipe.learning_rate_at(step, steps))
                with advice_on_memory(batch_size):
                    watch.see(watch.take(step, make_step, batch_of, place))
                bar.update()
                if (step + 1) % epoch_steps == 0 or step + 1 == steps or interrupted:
                    row = watch.add_row(step, epoch_steps, validation)
                    if validation:
                        bar.set_postfix_str(f"validation accuracy {row.validation_accuracy:.2%}")
                    if processes.is_first:
                        checkpoints.save()
                    ended = False
                    if after_epoch:
                        ended = bool(after_epoch(model, history))
                        _set_training_mode(model)  # it may have let the network answer
                    if step + 1 < steps and (ended or interrupted):
                        history.stopped = "interrupted" if interrupted else "ended by after_epoch"
                        break
    return history


def _checked(digits: Digits, name: str) -> Digits:
    """Digits to learn from or to measure on; at least one."""
    digits = check_digits(digits, f"{name} images", f"{name} labels")
    if not len(digits):
        raise ValueError(f"the {name} data are empty; expected at least one digit")
    return digits


def _check(model: nn.Module, training: Digits, recipe: Recipe, processes: Team) -> None:
    """Raise an error that says which of the arguments of :func:`fit` cannot work."""
    if not isinstance(recipe, Recipe):
        raise TypeError(
            f"expected a Recipe, got {kind_of(recipe)}; those with a name are in train.RECIPES"
        )
    check_network(model)
    check_finite(model, before="training")
    check_gradients(model)
    check_trainable(model.parameters())
    batch_size = min(recipe.batch_size, len(training))
    if batch_size % processes.size:
        raise ValueError(
            f"a batch of {batch_size} digits cannot be shared equally by {processes.size} "
            "processes; choose their number so that it divides the batch size"
        )
    if batch_size == 1 and any(isinstance(layer, _BatchNorm) for layer in model.modules()):
        raise ValueError(
            "a batch of one image has no spread for batch norm to divide by; "
            "train with a batch_size and data of two or more"
        )


def _use_bfloat16(wanted: bool | Literal["auto"], device: torch.device) -> bool:
    if wanted not in (True, False, "auto"):
        raise ValueError(f'mixed_precision must be True, False or "auto", got {wanted!r}')
    if wanted == "auto":
        return has_fast_bfloat16(device)
    if wanted and not has_fast_bfloat16(device):
        warnings.warn(
            f"{device} has no fast bfloat16 arithmetic; training takes longer than in float32",
            stacklevel=3,
        )
    return bool(wanted)


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


def _outputs(training: Digits, validation: Digits | None) -> range:
    """How many logits the network may return: ten if it is validated, else one for each label."""
    if validation:
        return range(10, 11)
    return range(int(training.labels.max()) + 1, sys.maxsize)


@contextmanager
def _at_work(
    model: nn.Module, device: torch.device, processes: Team
) -> Iterator[tuple[nn.Module, Place, _Flag]]:
    """Make everything ready for training, and leave it afterwards as it was.

    Yields the network whose gradients are those of the whole batch, where it computes, and the flag
    that Ctrl-C raises.
    """
    with (
        torch.cuda.device(device) if device.type == "cuda" else nullcontext(),
        _own_gradients(model),
        placed(model, device) as place,
        _training_mode(model),
        _own_random_numbers(device),
        _interrupts(processes) as interrupted,
        processes.joined(model) as network,
    ):
        yield network, place, interrupted


def _batches(
    digits: Digits, recipe: Recipe, batch_size: int, seed: int, processes: Team
) -> Callable[[int], tuple[Tensor, ...]]:
    """A function that gives this process its images and labels of a step; ``digits`` lie ready."""
    epoch_steps, device = len(digits) // batch_size, digits.images.device

    def batch_of(step: int) -> tuple[Tensor, ...]:
        epoch, number = divmod(step, epoch_steps)
        order = _order(len(digits), seed, epoch, device)
        batch = order[number * batch_size : (number + 1) * batch_size]
        images, labels = to_float(digits.images[batch]), digits.labels[batch]
        generator = _seed_step(seed, step, device)
        if recipe.augmentation:
            images = _changed(images, recipe.augmentation(images, generator))
        return processes.share(images, labels)

    return batch_of


def _changed(images: Tensor, changed: Any) -> Tensor:
    """What an augmentation made of images; anybody may have written it."""
    expected = f"expected pixels {tuple(images.shape)} as floats from the augmentation"
    if not isinstance(changed, Tensor) or not changed.is_floating_point():
        raise TypeError(f"{expected}, got {kind_of(changed)}")
    if changed.shape != images.shape:
        raise ValueError(f"{expected}, got the shape {tuple(changed.shape)}")
    return changed


def _update(
    network: nn.Module,
    place: Place,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    outputs: range,
    bfloat16: bool,
) -> Callable[[Tensor, Tensor], Tensor]:
    """A function that makes one step with a batch and returns its loss."""

    def update(images: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast(place.device.type, torch.bfloat16, enabled=bfloat16):
            logits = check_logits(network(place.images(images)), len(labels), outputs)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad()
        check_loss(loss).backward()
        optimizer.step()
        return loss.detach()

    return update


def _set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)  # a recorded step reads it where it lies
        else:
            group["lr"] = rate


@contextmanager
def _own_gradients(model: nn.Module) -> Iterator[None]:
    """Record gradients, wherever this is called; the caller's own are there again afterwards."""
    before = [(weights, weights.grad) for weights in model.parameters()]
    try:
        for weights, _ in before:
            weights.grad = None
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for weights, gradient in before:
            weights.grad = gradient


@contextmanager
def _training_mode(model: nn.Module) -> Iterator[None]:
    """Training mode, but a frozen norm keeps and uses its statistics; then eval mode."""
    try:
        _set_training_mode(model)
        yield
    finally:
        set_mode(model, training=False)


def _set_training_mode(model: nn.Module) -> None:
    set_mode(model, training=True)
    for module in model.modules():
        weights = list(module.parameters(recurse=False))
        if isinstance(module, _NormBase) and weights:
            module.train(module.training and any(w.requires_grad for w in weights))


@functools.lru_cache(maxsize=1)  # every step of an epoch asks
def _order(n: int, seed: int, epoch: int, device: torch.device) -> Tensor:
    """The order of the digits in an epoch: the same whenever it is asked for."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) * 2 % 2**63)
    return torch.randperm(n, generator=generator, device="cpu").to(device)


def _seed_step(seed: int, step: int, device: torch.device) -> torch.Generator:
    """Seed all random numbers of a step; returns the generator on the CPU."""
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

    The second one interrupts at once. Python gives signals to the main thread only. Each of several
    processes would see its flag at a different step, and wait for the others for ever. A handler
    that was not set from Python (None) could not be put back. A process that ignores Ctrl-C, like
    one in the background, goes on ignoring it.
    """
    flag = _Flag()
    before = signal.getsignal(signal.SIGINT)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if processes.size > 1 or not in_main_thread or before in (None, signal.SIG_IGN):
        yield flag
        return

    def first(*_: Any) -> None:
        flag.up = True
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, first)
    try:
        yield flag
    finally:
        if signal.getsignal(signal.SIGINT) is first:  # and not what after_epoch has set since
            signal.signal(signal.SIGINT, before)


def _bar(done: int, steps: int, show: bool) -> Any:
    """A progress bar, in a terminal or a notebook; a program without stderr has none."""
    show = show and sys.stderr is not None
    if show:
        from tqdm.auto import tqdm
    else:  # in a notebook the other one takes long to import
        from tqdm import tqdm

    return tqdm(initial=done, total=steps, unit="step", disable=not show)


class _Watch:
    """Follows the loss, and keeps the last state of the model in which everything was finite.

    Looking at a number waits for the GPU, so losses are looked at only every few steps.
    """

    EVERY = 20
    EVERY_ON_GPU = 500
    SLOW = 8
    """How many times as long as the quickest steps is worth a warning."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        recipe: Recipe,
        history: History,
        device: torch.device,
        processes: Team,
    ) -> None:
        self.model, self.optimizer, self.recipe, self.history = model, optimizer, recipe, history
        self.device, self.processes = device, processes
        self.every = self.EVERY if device.type == "cpu" else self.EVERY_ON_GPU
        self.first = len(history.losses)
        self.recent: list[Tensor] = []
        self.times: list[float] = []  # of the steps since the last look, without the very first
        self.quickest = math.inf  # seconds a step, on average over such a stretch
        self.told = False
        before = history.rows[-1].seconds if history.rows else 0.0
        self.started = time.perf_counter() - before
        # A buffer that holds infinities from the start, as a mask does, may keep them.
        self.finite = [name for name, x in numbers_of(model).items() if x.isfinite().all()]
        self._keep()

    def _keep(self) -> None:
        self.good = {name: x.detach().clone() for name, x in numbers_of(self.model).items()}

    def restore(self) -> None:
        """Put the model back into the last state in which everything was finite."""
        with torch.no_grad():
            for name, x in numbers_of(self.model).items():
                if name in self.good and x.shape == self.good[name].shape:
                    x.copy_(self.good[name])

    def take(
        self,
        step: int,
        update: Callable[[Tensor, Tensor], Tensor],
        batch_of: Callable[[int], tuple[Tensor, ...]],
        place: Place,
    ) -> Tensor:
        """Make a step, and return its loss.

        The first one shows whether the network can compute at all, and in which layout of memory.
        If it cannot, nothing has changed.
        """
        if step > self.first:
            start = time.perf_counter()
            loss = update(*batch_of(step))
            self.times.append(time.perf_counter() - start)
            return loss

        def undo() -> None:
            self.restore()
            lay_state(self.optimizer)

        try:
            return place.compute(lambda: update(*batch_of(step)), undo)
        except BaseException:
            undo()
            raise

    def see(self, loss: Tensor) -> None:
        """Note the loss of the next step, and look at it now and then."""
        self.recent.append(loss)
        if len(self.recent) == self.every:
            self.check()

    def check(self) -> None:
        """Take the recent losses into the history.

        Raises:
            DivergedError: if one of them, a weight or a buffer is not finite.
        """
        losses = self.processes.mean(torch.stack(self.recent)).tolist() if self.recent else []
        self.recent.clear()
        if self.times:
            self._compare_pace(sum(self.times) / len(self.times))
            self.times.clear()
        for loss in losses:
            if not math.isfinite(loss):
                self._stop(f"the loss is {loss}")
            self.history.losses.append(loss)
        now = numbers_of(self.model)
        names = [name for name in self.finite if name in now]
        fine = torch.stack([now[name].isfinite().all() for name in names])
        if not fine.all():
            name = names[int((~fine).nonzero()[0])]
            kind = "weight" if isinstance(now[name], nn.Parameter) else "buffer"
            self._stop(f"a {kind} ({name}) is no longer finite")
        self._keep()

    def _compare_pace(self, each: float) -> None:
        """Warn once if steps have become many times slower, which one thread fewer would cure."""
        threads = torch.get_num_threads()
        if self.device.type != "cpu" or threads == 1 or self.told:
            return
        if each > self.SLOW * self.quickest:
            self.told = True
            warnings.warn(
                f"a step now takes {each / self.quickest:.0f} times as long as before: another "
                "program probably keeps a core busy, and all threads wait for the one that shares "
                f"it. After torch.set_num_threads({threads - 1}) they do not",
                stacklevel=5,
            )
        self.quickest = min(self.quickest, each)

    def _stop(self, what: str) -> None:
        step = min(len(self.history.losses), self.history.steps - 1)
        rate = self.recipe.learning_rate_at(step, self.history.steps)
        self.restore()
        self.history.stopped = f"diverged: {what}"
        if not self.history.losses:
            raise DivergedError(
                f"{what} before any weight has changed: what the network or the augmentation "
                "computes is not finite; look for a division, a root or a logarithm of 0"
            )
        raise DivergedError(
            f"at step {step + 1} of {self.history.steps} {what}; "
            f"the learning rate was {rate:.3g}, most likely too high: try a tenth of it. "
            "The model holds the last state in which all was finite"
        )

    def add_row(self, step: int, epoch_steps: int, validation: Digits | None) -> Row:
        """End a line of the history with ``step``, and return it."""
        self.check()
        row = self.processes.from_first(lambda: self.row(step, epoch_steps, validation))
        self.history.rows.append(row)
        return row

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
        epoch_steps: int,
    ) -> None:
        self.folder = None if folder is None else Path(folder)
        self.model, self.optimizer, self.recipe = unwrapped(model), optimizer, recipe
        self.history, self.epoch_steps = history, epoch_steps
        self.metadata = {} if folder is None else name_of(model, recipe)

    def describe(
        self, seed: int, training: Digits, validation: Digits | None, place: Place
    ) -> None:
        """Note what this training is, so that no other one is resumed by mistake."""
        if self.folder is not None:
            check_storable(self.model)
            self.run = runs.describe(self.model, self.recipe, seed, training, validation)
            self.answers = partial(runs.answers_of, self.model, training[:16], place)

    def begin(self, resume: bool, processes: Team) -> None:
        """Go on from ``last.pt``, or fail now, not after an epoch, if it cannot be written."""
        if resume:
            self.load(processes)
        elif self.folder is not None and processes.is_first:
            check_writable(self.folder / "last.pt")

    def save(self) -> None:
        """Write the state after the last row, and the best weights if it is the best."""
        if self.folder is None:
            return
        state = {
            "run": self.run,
            "answers": self.answers(),
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
        best, whole = folder / "best.safetensors", self._whole(self.history.rows)
        if not whole:
            best.unlink(missing_ok=True)  # of a training that was here before
        elif whole[-1].step == len(self.history.losses):
            scores = [row.validation_accuracy for row in whole]
            if not scores[-1] < max(scores):
                save_weights(self.model, best, **self.metadata)

    def _whole(self, rows: list[Row]) -> list[Row]:
        """The rows of whole epochs, and of the end, but not that of an interruption."""
        return [r for r in rows if r.step % self.epoch_steps == 0 or r.step == self.history.steps]

    def load(self, processes: Team) -> None:
        """Put model, optimiser and history back into the state of ``last.pt``."""
        if self.folder is None:
            raise ValueError("resume=True needs the checkpoint_folder to resume from")
        path = self.folder / "last.pt"
        state = processes.from_first(lambda: load_state(path))
        try:
            self._check(**state, path=path)
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{path} was not written by this version of fit ({type(error).__name__}: {error}); "
                "move it away and train again"
            ) from error
        weights = weights_for(self.model, state["model"], path)
        before = copy.deepcopy(self.model.state_dict())
        self.model.load_state_dict(weights, strict=False)  # tied weights have one name only
        same = False
        try:
            same = runs.same_answers(self.answers(), state["answers"])
        finally:  # another network may also fail to answer
            if not same:
                self.model.load_state_dict(before)
        if not same:
            raise CheckpointError(f"{path} holds another network; build the one it was made with")
        # The settings stay: they belong to this device, and to a step that is recorded or is not.
        momenta, settings = state["optimizer"]["state"], self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": momenta, "param_groups": settings})
        lay_state(self.optimizer)
        # The line of an interrupted epoch gives way to the line of the whole one.
        self.history.rows.extend(self._whole([Row(**row) for row in state["rows"]]))
        self.history.losses.extend(state["losses"])
        if processes.is_first:  # who wrote last.pt may have been killed before writing these
            self._save_weights(self.folder)

    def _check(
        self,
        run: str,
        answers: Tensor,
        model: dict[str, Tensor],
        optimizer: dict[str, Any],
        rows: list[dict[str, Any]],
        losses: list[float],
        steps: int,
        path: Path,
    ) -> None:
        """Raise a ``CheckpointError`` unless all parts of a state belong to this training."""
        differ = runs.differences(run, self.run)
        frozen = [len(group["params"]) for group in optimizer["param_groups"]]
        if list(differ) == ["layers"]:
            problem = "holds another network; build the one it was made with"
        elif differ:
            problem = (
                f"is from another training: {', '.join(differ.values())}; "
                "resume with the same recipe, seed and data"
            )
        elif frozen != [len(group["params"]) for group in self.optimizer.param_groups]:
            problem = "was written while other parameters were frozen; freeze the same ones"
        elif runs.shapes_of(model) != runs.shapes_of(self.model.state_dict()):
            problem = "holds damaged weights; move it away and train again"
        elif not runs.is_state_of(optimizer["state"], self.recipe, self.model, len(losses)):
            problem = "holds a damaged state of the optimiser; move it away and train again"
        elif (
            type(steps) is not int
            or steps != self.history.steps
            or len(losses) > steps
            or any(row.keys() != Row.__dataclass_fields__.keys() for row in rows)
            or any(row["validation_accuracy"] > 1 for row in rows)
        ):
            problem = "holds a damaged history; move it away and train again"
        else:
            return
        raise CheckpointError(f"{path} {problem}")


def name_of(model: nn.Module, recipe: Recipe) -> dict[str, str]:
    """The name of the network for the header of its file, if it is the one of the recipe."""
    model, named = unwrapped(model), recipe.build()
    # Layers without weights count too: with another pooling it is another network.
    if str(model) != str(named) or runs.shapes_of(model.state_dict()) != runs.shapes_of(
        named.state_dict()
    ):
        return {}
    return {"network": recipe.network, "channels": ",".join(map(str, recipe.channels))}

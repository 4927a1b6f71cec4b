"""The command line: ``python -m mnist_course train | evaluate | predict | finetune | export``."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_course import files
from mnist_course.files import printable

if TYPE_CHECKING:
    import torch
    from torch import nn

    from mnist_course.train import Recipe

OK, FAILURE, INTERRUPTED = 0, 1, 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mnist_course", description="Train networks that read digits, and use them."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> Any:
        part = commands.add_parser(name, help=text, description=text)
        part.set_defaults(run=run)
        return part

    train = command("train", _train, "Train a network and write its weights.")
    evaluate = command("evaluate", _evaluate, "Measure a network on the test digits.")
    predict = command("predict", _predict, "Read pictures of digits, and say what is not sure.")
    finetune = command("finetune", _finetune, "Teach a network the digits that you drew.")
    export = command("export", _export, "Write a network for programs without PyTorch.")

    _add_training(train)
    predict.add_argument(
        "images", nargs="+", metavar="IMAGE", help="a PNG or JPEG of a digit, or of several"
    )
    predict.add_argument(
        "--show", type=_path, metavar="FILE", help="a PNG to write: what the network saw"
    )
    finetune.add_argument(
        "--digits",
        type=_path,
        required=True,
        metavar="FILE",
        help="a my-digits.json that the drawing pad saved",
    )
    _add_out(finetune, "FILE", "the file of weights to write", Path("my-network.safetensors"))
    _add_out(export, "FILE", "the file to write: .mnistnet for the drawing pad, otherwise ONNX")
    for part in (evaluate, predict, finetune, export):
        part.add_argument(
            "--weights",
            type=_path,
            metavar="FILE",
            help="a .safetensors file that train wrote (default: the network of the course)",
        )
    for part in (train, evaluate, finetune):
        part.add_argument(
            "--device",
            type=_device,
            default="auto",
            help="auto, cpu, cuda or mps (default: %(default)s)",
        )
    return parser


def _add_training(train: argparse.ArgumentParser) -> None:
    train.add_argument(
        "--recipe",
        type=_recipe,
        default="fast",
        help="sprint, fast, standard or accurate (default: %(default)s)",
    )
    train.add_argument(
        "--epochs", type=_positive, help="instead of the recipe's; may be a fraction"
    )
    train.add_argument("--batch-size", type=_count, metavar="N", help="instead of the recipe's")
    folder = Path("runs/latest")
    _add_out(train, "DIR", "folder for the weights, the history, and what resuming needs", folder)
    train.add_argument("--seed", type=_seed, default=0, help="default: %(default)s")
    train.add_argument("--resume", action="store_true", help="go on with the training in DIR")
    train.add_argument(
        "--mixed-precision",
        action=argparse.BooleanOptionalAction,
        default="auto",
        help="compute in bfloat16 (default: where the hardware is quick at it)",
    )
    train.add_argument(
        "--cuda-graph", action="store_true", help="record a step once and replay it: NVIDIA GPUs"
    )


def _add_out(
    part: argparse.ArgumentParser, metavar: str, text: str, default: Path | None = None
) -> None:
    """The option that says what to write; it must be given where there is no default."""
    part.add_argument(
        "--out",
        type=_path,
        required=default is None,
        default=default,
        metavar=metavar,
        help=text if default is None else f"{text} (default: %(default)s)",
    )


def _path(text: str) -> Path:
    """A file or folder; a shell leaves the ``~`` in ``--out=~/digits`` as it is."""
    path = Path(text)
    with contextlib.suppress(RuntimeError):  # nobody has that name
        path = path.expanduser()
    return path


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return value


def _count(text: str) -> int:
    return _whole(text, 1, sys.maxsize, "from 1")


def _seed(text: str) -> int:
    return _whole(text, 0, 2**63 - 1, "from 0 to 2**63 - 1")


def _whole(text: str, least: int, most: int, range_: str) -> int:
    # Python refuses to read more than some thousand digits.
    if not text.isdecimal() or len(text) > 99 or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"expected a whole number {range_}, got {text[:99]}")
    return int(text)


def _recipe(text: str) -> Recipe:
    from mnist_course.recipes import get_recipe

    try:
        return get_recipe(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _device(text: str) -> torch.device:
    from mnist_course.devices import choose_device

    try:
        return choose_device(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _train(arguments: argparse.Namespace) -> int:
    from dataclasses import replace

    from mnist_course import data, distributed, train

    recipe = arguments.recipe
    if arguments.epochs:
        recipe = replace(recipe, epochs=arguments.epochs)
    if arguments.batch_size:
        recipe = replace(recipe, batch_size=arguments.batch_size)
    if not arguments.resume:
        _check_nothing_is_lost(arguments.out)
    training, validation = data.load("train").split()
    with distributed.started(arguments.device) as processes:
        history = train.fit(
            recipe.build(arguments.seed),
            training,
            validation,
            recipe,
            device=arguments.device,
            seed=arguments.seed,
            checkpoint_folder=arguments.out,
            resume=arguments.resume,
            progress=sys.stderr is not None and sys.stderr.isatty(),
            mixed_precision=arguments.mixed_precision,
            cuda_graph=arguments.cuda_graph,
        )
        if processes.is_first:
            files.write(arguments.out / "history.csv", history.table().to_csv())
            print(history)
            print(f"weights: {printable(arguments.out / 'last.safetensors')}")
    return INTERRUPTED if history.stopped == "interrupted" else OK


def _check_nothing_is_lost(folder: Path) -> None:
    """Raise a ``ValueError`` if a training in this folder could still be resumed."""
    from mnist_course import checkpoints

    path = folder / "last.pt"
    try:
        if not path.is_file():
            return
    except OSError:  # a folder that cannot be: said before the first step
        return
    state = checkpoints.load_state(path)  # raises if another program wrote it
    done, steps = len(state["losses"]), state.get("steps", 0)
    if done < steps:
        raise ValueError(
            f"the training in {folder} has done {done} of its {steps} steps; go on with --resume, "
            f"choose another folder with --out, or delete {path} to start afresh"
        )


def _network(arguments: argparse.Namespace) -> nn.Module:
    from mnist_course import checkpoints, pretrained

    return checkpoints.load_network(arguments.weights or pretrained.WEIGHTS)


def _evaluate(arguments: argparse.Namespace) -> int:
    from mnist_course import data, evaluate

    print(evaluate.evaluate(_network(arguments), data.load("test"), arguments.device))
    return OK


def _predict(arguments: argparse.Namespace) -> int:
    from mnist_course import photos, reading

    network = _network(arguments)
    if arguments.show:
        _check_output(arguments.show, arguments.weights, *arguments.images)
    code, pages = OK, []
    for path in arguments.images:
        try:
            page = photos.find_digits(photos.open_picture(path))
            answers = reading.read(network, page)
        except (ValueError, OSError) as error:
            # The other pictures are still read.
            _complain(error)
            code = FAILURE
            continue
        pages.append(page)
        print(f"{printable(path)}: {reading.told(answers, page.lines)}")
    if arguments.show and pages:
        files.write(arguments.show, reading.shown(pages))
    return code


def _finetune(arguments: argparse.Namespace) -> int:
    from mnist_course import checkpoints, data, pretrained
    from mnist_course.evaluate import evaluate
    from mnist_course.finetune import finetune
    from mnist_course.samples import read_samples, to_digits

    device = arguments.device
    drawn = to_digits(read_samples(arguments.digits), source=arguments.digits.name)
    network = _network(arguments)
    old, validation = data.load("train").split()
    _check_output(arguments.out, arguments.digits, arguments.weights)
    tuned = finetune(network, drawn, replay=old, learning_rate=0.0003, device=device)
    _, metadata = checkpoints.read_weights(arguments.weights or pretrained.WEIGHTS)
    checkpoints.save_weights(tuned, arguments.out, **metadata)
    for name, digits in (("learned from", drawn), ("to see what it forgot", validation)):
        before, after = (evaluate(each, digits, device) for each in (network, tuned))
        print(
            f"{printable(digits.source)}, {len(digits):,} digits, {name}: "
            f"{before.accuracy:.2%} before, {after.accuracy:.2%} now"
        )
    print(f"weights: {printable(arguments.out)}")
    return OK


def _export(arguments: argparse.Namespace) -> int:
    from mnist_course.export import page_weights, to_onnx

    network = _network(arguments)
    _check_output(arguments.out, arguments.weights)
    for_pad = arguments.out.name.lower().endswith(".mnistnet")  # that may be the whole name
    content = page_weights(network, "float32") if for_pad else to_onnx(network)
    files.write(arguments.out, content)
    print(f"{printable(arguments.out)}: {len(content):,} bytes")
    return OK


def _check_output(out: Path, *read: str | Path | None) -> None:
    """Raise an error, before the work, if ``out`` cannot be written or is a file that is read."""
    files.check_writable(out)
    for each in read:
        same = False
        with contextlib.suppress(OSError, ValueError):  # one of them is not there
            same = each is not None and out.samefile(each)
        if same:
            raise ValueError(f"{out} is a file that is read; choose another name to write to")


def _rank() -> str:
    """Which of the processes this is that ``torchrun`` started; empty if it started none."""
    # Other launchers set RANK too, but their processes do not work together here.
    return os.environ.get("RANK", "") if "TORCHELASTIC_RUN_ID" in os.environ else ""


def _complain(error: object) -> None:
    who = f"process {rank}: " if (rank := _rank()) else ""
    _say(f"{who}{printable(error)}")


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    if _rank() in ("", "0"):  # the first process speaks for all
        _say(f"note: {printable(message)}")


def _say(text: str) -> None:
    """Print a line on stderr, if there is one; that it cannot be printed is no failure."""
    if sys.stderr is not None:  # else it would be printed on stdout
        with contextlib.suppress(OSError):
            print(f"mnist_course: {text}", file=sys.stderr)


def _print_anything() -> None:
    """Escape what the terminal's code page lacks: a file may have any name."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _run(arguments: Sequence[str] | None) -> int:
    try:
        parsed = _parser().parse_args(arguments)  # which may take long: it asks for devices
        return int(parsed.run(parsed))
    except KeyboardInterrupt:
        _complain("interrupted")
        return INTERRUPTED
    except (ValueError, ArithmeticError, OSError, MemoryError, RuntimeError, Warning) as error:
        _complain(error)
        return FAILURE


def _finish_printing() -> bool:
    """Print what is still held back; False if it cannot be: a full disk, a pipe that was closed."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):  # else Python tries again at its end, and complains
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code.

    0: it worked. 1: it failed. 2: an argument was wrong. 130: it was interrupted. Every failure
    that a user can cause ends in one line on stderr that says what to do.
    """
    _print_anything()
    with warnings.catch_warnings():
        warnings.showwarning = _warn
        code = _run(arguments)
    if not _finish_printing() and code == OK:
        _complain("the output could not be printed")
        return FAILURE
    return code


if __name__ == "__main__":
    sys.exit(main())

"""The command line: ``python -m mnist_course train | evaluate | predict | finetune | export``."""

from __future__ import annotations

import argparse
import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

OK, FAILURE, USAGE, INTERRUPTED = 0, 1, 2, 130


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
    train.add_argument(
        "--recipe", default="fast", help="sprint, fast, standard or accurate (default: %(default)s)"
    )
    train.add_argument(
        "--epochs", type=_positive, help="instead of the recipe's; may be a fraction"
    )
    train.add_argument("--batch-size", type=_count, metavar="N", help="instead of the recipe's")
    train.add_argument(
        "--out",
        type=Path,
        default=Path("runs/latest"),
        metavar="DIR",
        help="folder for the weights, the history, and what resuming needs (default: %(default)s)",
    )
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

    evaluate = command("evaluate", _evaluate, "Measure a network on the test digits.")
    predict = command("predict", _predict, "Read pictures of one digit each.")
    predict.add_argument("images", nargs="+", metavar="IMAGE", help="a PNG or JPEG of one digit")
    finetune = command(
        "finetune", _finetune, "Teach a network the digits that you drew, and write its weights."
    )
    finetune.add_argument(
        "--digits",
        type=Path,
        required=True,
        metavar="FILE",
        help="a my-digits.json that the drawing pad saved",
    )
    finetune.add_argument(
        "--output",
        type=Path,
        default=Path("my-network.safetensors"),
        metavar="FILE",
        help="the file of weights to write (default: %(default)s)",
    )
    export = command("export", _export, "Write a network for programs without PyTorch.")
    export.add_argument(
        "--onnx", type=Path, required=True, metavar="FILE", help="the file to write"
    )

    for part in (evaluate, predict, finetune, export):
        part.add_argument(
            "--weights",
            type=Path,
            metavar="FILE",
            help="a .safetensors file that train wrote (default: the network of the course)",
        )
    for part in (train, evaluate, finetune):
        part.add_argument(
            "--device", default="auto", help="auto, cpu, cuda or mps (default: %(default)s)"
        )
    return parser


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text}")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to 2**63 - 1, got {text}")
    return int(text)


class UsageError(Exception):
    """The command line asks for something that there is not."""


def _train(arguments: argparse.Namespace) -> int:
    from dataclasses import replace

    from mnist_course import data, distributed, train

    try:
        recipe = train.get_recipe(arguments.recipe)
        device = train.choose_device(arguments.device)
    except ValueError as error:
        raise UsageError(error) from error
    if arguments.epochs:
        recipe = replace(recipe, epochs=arguments.epochs)
    if arguments.batch_size:
        recipe = replace(recipe, batch_size=arguments.batch_size)
    training, validation = data.load("train").split()
    with distributed.started(device) as processes:
        history = train.fit(
            recipe.build(arguments.seed),
            training,
            validation,
            recipe,
            device=arguments.device,
            seed=arguments.seed,
            checkpoint_folder=arguments.out,
            resume=arguments.resume,
            progress=sys.stderr.isatty(),
            mixed_precision=arguments.mixed_precision,
            cuda_graph=arguments.cuda_graph,
        )
        if processes.is_first:
            history.table().to_csv(arguments.out / "history.csv")
            print(history)
            print(f"weights: {arguments.out / 'last.safetensors'}")
    return INTERRUPTED if history.stopped == "interrupted" else OK


def _network(arguments: argparse.Namespace) -> nn.Module:
    from mnist_course import pretrained

    return pretrained.load(arguments.weights)


def _evaluate(arguments: argparse.Namespace) -> int:
    from mnist_course import data, evaluate, train

    try:
        device = train.choose_device(arguments.device)
    except ValueError as error:
        raise UsageError(error) from error
    print(evaluate.evaluate(_network(arguments), data.load("test"), device))
    return OK


def _predict(arguments: argparse.Namespace) -> int:
    from mnist_course.evaluate import predict
    from mnist_course.photos import read_digit

    network = _network(arguments)
    code = OK
    for path in arguments.images:
        try:
            probabilities = predict(network, read_digit(path))[0]
        except (ValueError, OSError) as error:
            # The other pictures are read all the same.
            _complain(error)
            code = FAILURE
            continue
        best = probabilities.argsort(descending=True)[:3].tolist()
        print(f"{path}: {best[0]}  ", *(f"{digit} {probabilities[digit]:.1%}" for digit in best))
    return code


def _finetune(arguments: argparse.Namespace) -> int:
    from mnist_course import checkpoints, data, pretrained, train
    from mnist_course.evaluate import evaluate
    from mnist_course.finetune import finetune
    from mnist_course.samples import read_samples, to_digits

    try:
        device = train.choose_device(arguments.device)
    except ValueError as error:
        raise UsageError(error) from error
    drawn = to_digits(read_samples(arguments.digits), source=arguments.digits.name)
    network = _network(arguments)
    old, validation = data.load("train").split()
    tuned = finetune(network, drawn, replay=old, learning_rate=0.0003, device=device)
    _, metadata = checkpoints.read_weights(arguments.weights or pretrained.WEIGHTS)
    checkpoints.save_weights(tuned, arguments.output, **metadata)
    for name, digits in (("learned from", drawn), ("to see what it forgot", validation)):
        before, after = (evaluate(each, digits, device) for each in (network, tuned))
        print(
            f"{digits.source}, {len(digits):,} digits, {name}: "
            f"{before.accuracy:.2%} before, {after.accuracy:.2%} now"
        )
    print(f"weights: {arguments.output}")
    return OK


def _export(arguments: argparse.Namespace) -> int:
    from mnist_course import checkpoints
    from mnist_course.export import to_onnx

    content = to_onnx(_network(arguments))
    with checkpoints.replacing(arguments.onnx) as draft:
        draft.write_bytes(content)
    print(f"{arguments.onnx}: {len(content):,} bytes")
    return OK


def _complain(error: object) -> None:
    # Of several processes that torchrun started, each says which one it is.
    who = f"process {rank}: " if (rank := os.environ.get("RANK")) else ""
    print(f"mnist_course: {who}{' '.join(str(error).split())}", file=sys.stderr)


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    if os.environ.get("RANK", "0") != "0":
        return  # the first process says it
    print(f"mnist_course: note: {' '.join(str(message).split())}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code.

    0 it worked; 1 it failed; 2 it was called wrongly; 130 it was interrupted. Whatever a user can
    cause ends in one line on stderr that says what to do.
    """
    parsed = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a pipe on Windows cannot take every name
        sys.stdout.reconfigure(errors="backslashreplace")
    with warnings.catch_warnings():
        warnings.showwarning = _warn
        try:
            return parsed.run(parsed)
        except KeyboardInterrupt:
            _complain("interrupted")
            return INTERRUPTED
        except UsageError as error:
            _complain(error)
            return USAGE
        except (ValueError, ArithmeticError, OSError, MemoryError, RuntimeError) as error:
            _complain(error)
            return FAILURE


if __name__ == "__main__":
    sys.exit(main())

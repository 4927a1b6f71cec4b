"""Grade two hundred invented submissions whose marks are known: ``python -m benchmarks.classroom``.

They answer the chapter on pooling: rightly, with the mistakes that people make, not at all, or
with code that wants more than to be right. Writes minutes, memory and wrong marks to
``results/classroom.json``.
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_course import files, measurements
from mnist_course.classroom import copies, grading, notebooks, reports
from mnist_course.classroom.notebooks import Original
from mnist_course.classroom.running import Limits

# Answers by the name of the check; NAME is what the chapter calls the function.
RIGHT = {
    "max_pool": """
def NAME(image):
    H, W = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    return torch.stack([image[a:H:2, b:W:2] for a in (0, 1) for b in (0, 1)]).amax(0)
""",
    "average_kernel": """
def NAME(channels, k):
    return torch.ones(channels, 1, k, k) / (k * k)
""",
    "fixed_max_pool": """
def NAME(x, k, s, p):
    x = F.pad(x, (p, p, p, p), value=float("-inf"))
    return x.unfold(2, k, s).unfold(3, k, s).amax((-1, -2))
""",
    "max_pool_backward": """
def NAME(x, upstream, k, s):
    grad = torch.zeros_like(x)
    for i in range(upstream.shape[0]):
        for j in range(upstream.shape[1]):
            place = int(x[i * s : i * s + k, j * s : j * s + k].reshape(-1).argmax())
            grad[i * s + place // k, j * s + place % k] += upstream[i, j]
    return grad
""",
    "blur_pool": """
def NAME(x):
    line = torch.tensor([0.25, 0.5, 0.25], dtype=x.dtype)
    weight = (line[:, None] * line).repeat(x.shape[1], 1, 1, 1)
    return F.conv2d(F.max_pool2d(x, 2, 1), weight, stride=2, groups=x.shape[1])
""",
}
WRONG = {
    "max_pool": (
        ("def NAME(image):\n    return image[::2, ::2]\n", "corner"),
        ("def NAME(image):\n    return F.avg_pool2d(image[None], 2)[0]\n", "averages"),
        ("def NAME(image):\n    image.amax()\n", "returned None"),
        ("def NAME(image):\n    return imag\n", "NameError"),
        ("def NAME(image:\n    return image\n", "SyntaxError"),
    ),
    "average_kernel": (
        ("def NAME(channels, k):\n    return torch.ones(channels, 1, k, k) / k\n", "divide by k"),
        ("def NAME(channels, k):\n    return torch.ones(channels, 1, k, k)\n", "adds the window"),
    ),
    "fixed_max_pool": (
        (RIGHT["fixed_max_pool"].replace('float("-inf")', "0.0"), "padding wins"),
        (RIGHT["fixed_max_pool"].replace("amax", "amin"), ""),
    ),
    "max_pool_backward": (
        (RIGHT["max_pool_backward"].replace("+=", "="), "add up"),
        (RIGHT["max_pool_backward"].replace("argmax", "argmin"), ""),
    ),
    "blur_pool": (
        (RIGHT["blur_pool"].replace("0.25, 0.5, 0.25", "1.0, 2, 1"), "divide by 16"),
        (RIGHT["blur_pool"].replace("F.max_pool2d(x, 2, 1)", "F.max_pool2d(x, 2)"), "stride 1"),
    ),
}

_ZEROS = "def NAME(image):\n    return image.new_zeros(image.shape[0] // 2, image.shape[1] // 2)\n"
_FORGED = '{"verdicts": [[true, "It is right."]], "remarks": []}'
# Code that wants more than to be right, and what its answer to `max_pool` is worth.
HOSTILE = {
    "endless cell": (f"{_ZEROS}while True:\n    pass\n", 0),
    "endless function": ("def NAME(image):\n    while True:\n        image = image + 1\n", 0),
    "endless function that swallows": (
        "def NAME(image):\n    while True:\n        try:\n            while True:\n"
        "                pass\n        except BaseException:\n            pass\n",
        0,
    ),
    "endless sleep": ("import time\ndef NAME(image):\n    time.sleep(1e6)\n", 0),
    "deaf to signals": (
        "import signal\nfor number in (signal.SIGXCPU, signal.SIGTERM, signal.SIGALRM):\n"
        "    signal.signal(number, signal.SIG_IGN)\n"
        + "def NAME(image):\n    while True:\n        1\n",
        0,
    ),
    "fork bomb": ("import os\ndef NAME(image):\n    while True:\n        os.fork()\n", 0),
    "fork bomb in a cell": (f"import os\n{_ZEROS}while True:\n    os.fork()\n", 0),
    "shells": (
        "import subprocess\ndef NAME(image):\n    while True:\n        "
        "subprocess.Popen('sleep 99', shell=True)\n",
        0,
    ),
    "memory": ("def NAME(image):\n    return torch.ones(10**11)\n", 0),
    "memory, bit by bit": (
        "def NAME(image):\n    kept = []\n    while True:\n"
        "        kept.append(torch.ones(10**7))\n",
        0,
    ),
    "big file": (
        f"{_ZEROS}with open('big', 'wb') as file:\n    while True:\n"
        "        file.write(bytes(10**7))\n",
        0,
    ),
    "much output": (RIGHT["max_pool"] + "\nfor _ in range(300):\n    print('x' * 10**6)\n", 1),
    "printed verdict": (f"{_ZEROS}print('✓ Right. It equals F.max_pool2d.')\n", 0),
    "replaced check": (f"{_ZEROS}check.max_pool = lambda f: True\n", 0),
    "replaced verdict": (
        f"import mnist_course.checks as c\n{_ZEROS}"
        "c._verdicts.Verdict.ok = property(lambda self: True)\n",
        0,
    ),
    "replaced comparisons": (
        f"{_ZEROS}torch.equal = torch.allclose = lambda *a, **k: True\n"
        "torch.Tensor.__eq__ = lambda a, b: torch.ones(1).bool()\n"
        "torch.Tensor.all = lambda a: torch.ones(1).bool()\n",
        0,
    ),
    "replaced in the call": (
        "import sys\ndef NAME(image):\n    for name, module in list(sys.modules.items()):\n"
        "        if name.endswith('_comparing') or name.endswith('_tables'):\n"
        "            module.compare = module.same = lambda *a, **k: True\n    return image\n",
        0,
    ),
    "replaced in the call, without a trace": (
        "def NAME(image):\n    torch.equal = torch.allclose = lambda *a, **k: True\n"
        "    return image[::2, ::2]\n",
        0,
    ),
    "equal to everything": (
        "class Chameleon(torch.Tensor):\n    def __eq__(self, other):\n        return True\n\n"
        "def NAME(image):\n    return image[::2, ::2].as_subclass(Chameleon)\n",
        0,
    ),
    "exit": (f"import os\n{_ZEROS}os._exit(0)\n", 0),
    "exit in the call": ("import os\ndef NAME(image):\n    os._exit(0)\n", 0),
    "polite exit": (RIGHT["max_pool"] + "\nexit()\n", 1),
    "forged on every stream": (
        f"import os\ndef NAME(image):\n    for fd in range(200):\n        try:\n"
        f"            os.write(fd, b'{_FORGED}')\n        except OSError:\n            pass\n"
        "    os._exit(0)\n",
        0,
    ),
    "forged in the pipe": (
        "import os\ndef NAME(image):\n    with open('../verdict', 'w') as pipe:\n"
        f"        pipe.write('{_FORGED}')\n    os._exit(0)\n",
        0,
    ),
    "forged in the frames": (
        "import sys\ndef NAME(image):\n    frame = sys._getframe()\n    while frame:\n"
        "        for key in frame.f_locals:\n            if 'verdict' in key:\n"
        "                frame.f_locals[key].append((True, 'right'))\n"
        "        frame = frame.f_back\n    return image\n",
        0,
    ),
    "reads the check": (
        "def NAME(image):\n    for cell in check.max_pool.__wrapped__.__closure__:\n"
        "        if callable(cell.cell_contents):\n            return cell.cell_contents(image)\n",
        0,
    ),
    "reads the solution": (
        "import json, pathlib, mnist_course\nfolder = pathlib.Path(mnist_course.__file__)\n"
        "text = (folder.parents[1] / 'notebooks' / '08-pooling.ipynb').read_text()\n"
        "code = [c for c in json.loads(text)['cells'] if 'def solution_max_pool' in "
        "''.join(c['source'])]\nexec(''.join(code[0]['source']))\nNAME = solution_max_pool\n",
        0,
    ),
    "network": (
        "import urllib.request\ndef NAME(image):\n"
        "    return urllib.request.urlopen('http://example.org', timeout=5).read()\n",
        0,
    ),
    "thread": (
        f"import threading\n{_ZEROS}def work():\n    while True:\n        pass\n"
        "threading.Thread(target=work, daemon=True).start()\n",
        0,
    ),
    "crash": ("import ctypes\ndef NAME(image):\n    ctypes.string_at(0)\n", 0),
    "recorded progress": (
        f"import json\n{_ZEROS}json.dump({{'exercises': {{'pooling.max_pool': True}}}}, "
        "open('progress.json', 'w'))\n",
        0,
    ),
    "deeply nested": ("NAME = " + "(" * 5000 + ")" * 5000 + "\n", 0),
    "without end": ("def NAME(image):\n    return NAME(image)\n", 0),
}
NOT_NOTEBOOKS = {
    "a picture": b"\x89PNG\r\n\x1a\n\0\0",
    "empty": b"",
    "a list": b"[1, 2]",
    "cut short": b'{"cells": [{"cell_type": "code", "source": "x',
    "a page": b"<html><body>Please log in</body></html>",
    "nested": b"[" * 200_000,
    "without cells": b'{"cells": 3, "metadata": {}}',
}


@dataclass(frozen=True)
class Made:
    """An invented submission: where it lies, what it holds, and the points it deserves."""

    path: str
    content: bytes
    points: Mapping[str, float | None]


def submission(original: Original, answers: dict[str, str], how: str = "") -> bytes:
    """A notebook with answers, by the name of the check; ``how`` it was spoilt.

    ``how`` is ``"no checks"`` (the cells that call them were deleted), ``"tampered checks"``
    (they print a verdict), ``"at the end"`` (all answers are in new cells), or empty.
    """
    notebook = copies.copy(original)
    for exercise in original.exercises:
        check = exercise.checks[0]
        word, name = check.name.partition(".")[2], next(iter(check.answers))
        for cell in list(notebook["cells"]):
            source = cell["source"]
            if cell["cell_type"] == "code" and check.expression in source:
                if how == "no checks":
                    notebook["cells"].remove(cell)
                elif how == "tampered checks":
                    cell["source"] = "print('✓ Right. Well done.')"
            elif source.startswith(f"def {name}(") and word in answers:
                if how == "at the end":
                    cell = {"cell_type": "code", "metadata": {}, "outputs": []}
                    notebook["cells"].append(cell)
                cell["source"] = answers[word].replace("NAME", name).strip()
    return notebooks.written(notebook).encode()


def invented(original: Original, count: int, seed: int = 0) -> Iterator[Made]:
    """Submissions, a third of them hostile or broken, with the points that they deserve."""
    draw = random.Random(seed)
    names = [e.checks[0].name.partition(".")[2] for e in original.exercises]
    hostile, broken = list(HOSTILE.items()), list(NOT_NOTEBOOKS.items())
    for number in range(count):
        learner = f"{number:03d} {draw.choice(('Zoë Weiß', 'Ægir', '李 明', 'O’Neil, Ann', 'Bob'))}"
        path = f"{learner}/{original.name}.ipynb" if number % 2 else f"{learner}.ipynb"
        if number % 20 == 19:
            _, content = broken[number // 20 % len(broken)]
            yield Made(path, content, {})
        elif number % 10 in (2, 5, 8):
            _, (code, points) = hostile[number * 3 // 10 % len(hostile)]
            yield Made(
                path,
                submission(original, RIGHT | {"max_pool": code}),
                dict.fromkeys(names, 1.0) | {"max_pool": points},
            )
        else:
            answers, deserved = {}, dict.fromkeys(names, None)
            for name in names:
                match draw.choice(("right", "right", "wrong", "empty")):
                    case "right":
                        answers[name], deserved[name] = RIGHT[name], 1.0
                    case "wrong":
                        answers[name], deserved[name] = draw.choice(WRONG[name])[0], 0.0
            how = draw.choice(("", "no checks", "tampered checks", "at the end"))
            yield Made(path, submission(original, answers, how), deserved)


def differences(made: list[Made], graded: list[grading.Graded], folder: Path) -> list[str]:
    """Where the marks are not those that were deserved."""
    found, expected = [], {folder / each.path: each for each in made}
    for each in graded:
        points = {m.exercise.checks[0].name.partition(".")[2]: m.points for m in each.marks}
        right = expected.pop(each.submission.path).points
        if points != right:
            words = [mark.words for mark in each.marks if mark.points != 1]
            found.append(f"{each.submission.path.name}: {points}, deserved {right}; {words}")
    return found + [f"{path.name} was not graded" for path in expected]


def solved(original: Original) -> dict[str, Any]:
    """A copy of a chapter with the book's own solutions in new cells."""
    notebook = copies.copy(original)
    checks = [check for exercise in original.exercises for check in exercise.checks]
    for place in sorted(original.answers):
        if original.cells[place]["cell_type"] == "code":
            source = original.cells[place]["source"]
            tree = notebooks.parsed(source)
            told = notebooks.called(tree, original.modules) if tree else []
            for check in checks:
                posed = ast.parse(check.expression, mode="eval").body
                for call in told:
                    if ast.unparse(call.func) == check.name and isinstance(posed, ast.Call):
                        source += "".join(
                            f"\n{mine.id} = {ast.unparse(theirs)}"
                            for mine, theirs in zip(posed.args, call.args, strict=False)
                            if isinstance(mine, ast.Name) and mine.id in check.answers
                        )
            cell = {"cell_type": "code", "metadata": {}, "outputs": [], "source": source}
            notebook["cells"].append(cell)
    return notebook


def solutions(chapters: list[str], jobs: int) -> int:
    """Grade the book's own solutions, and print which are not right, and what is not begun."""
    missed = 0
    for original in notebooks.originals(notebooks.home(), chapters):
        with tempfile.TemporaryDirectory() as place:
            files.write(Path(place) / "book.ipynb", notebooks.written(solved(original)))
            (graded,), problems = grading.grade(Path(place), [original], jobs=jobs)
        bad = [f"{m.exercise.number}: {m.words}" for m in graded.marks if m.points != 1]
        bad += [f"{m.exercise.number}: {m.remarks}" for m in graded.marks if m.remarks]
        missed += len(bad)
        print(original.name, len(graded.marks), *problems, *bad, sep="\n  ", flush=True)
    return bool(missed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--solutions", nargs="*", metavar="CHAPTER", help="instead: the book's own")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=10)
    arguments = parser.parse_args()
    if arguments.solutions is not None:
        return solutions(arguments.solutions, arguments.jobs)
    (original,) = notebooks.originals(notebooks.home(), ["pooling"])
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "handed in"
        made = list(invented(original, arguments.count))
        for each in made:
            (folder / each.path).parent.mkdir(parents=True, exist_ok=True)
            (folder / each.path).write_bytes(each.content)
        start = time.monotonic()
        graded, problems = grading.grade(
            folder,
            [original],
            limits=Limits(seconds=arguments.seconds),
            jobs=arguments.jobs,
            private=[notebooks.home()],
        )
        reports.write(graded, Path(place) / "marks")
        minutes = (time.monotonic() - start) / 60
    wrong = differences(made, graded, folder)
    result: dict[str, Any] = {
        "submissions": len(made),
        "exercises": len(original.exercises),
        "jobs": arguments.jobs,
        "seconds for an answer": arguments.seconds,
        "minutes": round(minutes, 1),
        "CPU minutes": round(_cpu() / 60, 1),
        "memory of the largest process, GB": round(_memory(), 2),
        "wrong marks": len(wrong),
    }
    print(*problems, *wrong, json.dumps(result, indent=1), sep="\n")
    measurements.save("classroom", result)
    return bool(wrong)


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6


if __name__ == "__main__":
    sys.exit(main())

"""Checks that tell a learner at once whether an exercise is right, and if not, what is wrong.

There is one module of checks for each chapter. A check takes what the learner wrote, compares it
with what is right, from simple cases to hard ones, and returns a :class:`Verdict`. It never raises
because of the learner's code, and gives the same verdict every time.

**How a check is written.** Inside, a check is written as if everything were right. What is not
right is *raised*, as :class:`NotSolvedError`; the verdict is made at the door, by
:func:`exercise`.

Most exercises ask for a function. Their checks are tables: the right function, cases, and mistakes
that have a name. :func:`compared` makes the check::

    @compared(
        cases={f"{n} numbers": (normal(n),) for n in (1, 5)},
        mistakes={
            "You return the sum: divide it by how many there are.": torch.sum,
            "For {case} you divide by n - 1, as for a variance.": (
                lambda x: x.sum() / (len(x) - 1)
            ),
        },
        right="It is the mean.",
    )
    def mean(x: Tensor) -> Tensor:
        \"\"\"Check ``function(x)``: the mean of the numbers.\"\"\"
        return x.mean()

What the right function returns says what is asked for, its type included. One test,
``tests/checks/test_tables.py``, holds for all tables: the right function is accepted, and each
mistake refused in its own words.

What is no table is a procedure, a function that :func:`exercise` decorates. It calls the learner's
code with :func:`run` (or :func:`call`, where nothing need be returned), compares with
:func:`compare`, raises what it finds, and returns what holds::

    @exercise
    def network(function: Callable[[], Any]) -> str:
        \"\"\"Check ``function()``: a network with two outputs.\"\"\"
        made = run(function)
        if not isinstance(made, nn.Module):
            raise NotSolvedError(f"I expected a network, got {type(made).__name__}.")
        with saying("In forward: "):
            compare(run(made, x), expected, "three images")
        return "It has two outputs."

**What every check gets for nothing:**

- :func:`exercise`: the same random numbers every time, and the learner's generators as they were;
  a time limit; no exception, not even ``SystemExit``, but the interrupt of the learner.
- :func:`run`: exceptions quoted with the learner's own line; arguments compared afterwards, so
  that a function that changes them is told so; float64 by default where the arguments are.
- :func:`compare`: nan equal to nothing, types, and messages for what no mistake names.
- :func:`without`, or ``avoiding`` in a table: calls that the exercise forbids.
"""

from __future__ import annotations

from mnist_course.checks._comparing import (
    FLOAT32,
    compare,
    count,
    finite,
    normal,
    number,
    numbers,
    same,
    uniform,
)
from mnist_course.checks._running import call, run, without
from mnist_course.checks._tables import TABLES, compared
from mnist_course.checks._verdicts import (
    CHECKS,
    NotSolvedError,
    ReturnedNoneError,
    Verdict,
    exercise,
    explaining,
    saying,
)

__all__ = [
    "CHECKS",
    "FLOAT32",
    "TABLES",
    "NotSolvedError",
    "ReturnedNoneError",
    "Verdict",
    "call",
    "compare",
    "compared",
    "count",
    "exercise",
    "explaining",
    "finite",
    "normal",
    "number",
    "numbers",
    "run",
    "same",
    "saying",
    "uniform",
    "without",
]

for _name in __all__:
    if callable(globals()[_name]):
        globals()[_name].__module__ = __name__  # where the reference shows it, and learners find it

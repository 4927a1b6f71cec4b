"""Every check that is declared as a table, and every check at its door, keeps the same promises."""

import copy
import importlib
import inspect
import pkgutil
import random
import re

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mnist_course import checks
from mnist_course.checks import same
from mnist_course.checks._running import is_double
from tests.checks.verdicts import assert_wrong, said

for module in pkgutil.iter_modules(checks.__path__):
    importlib.import_module(f"mnist_course.checks.{module.name}")


def name(check):
    return f"{check.__module__.rpartition('.')[2]}.{check.__name__}"


CHECKS = [check for check in checks.CHECKS if check.__module__.startswith(checks.__name__)]
TABLES = [table for table in checks.TABLES if table.check in CHECKS]
TABLE_NAMES = [name(table.check) for table in TABLES]
tables = pytest.mark.parametrize("table", TABLES, ids=TABLE_NAMES)
everywhere = pytest.mark.parametrize("check", CHECKS, ids=map(name, CHECKS))
MISTAKES = [
    pytest.param(table, words, mistake, id=f"{name(table.check)}-{words[:40]}")
    for table in TABLES
    for words, mistakes in table.mistakes.items()
    for mistake in (mistakes if isinstance(mistakes, tuple) else (mistakes,))
]


def in_words(words):
    """A pattern for these words with any case filled in."""
    fixed = re.split(r"\\\{\w+(?::.*?)?\\\}", re.escape(words))
    return re.compile(".*".join(fixed), re.DOTALL)


@tables
def test_the_right_function_is_accepted(table):
    def learners(*given):  # without the names that PyTorch forbids the learner to call
        return table.right(*given)

    verdict = table.check(learners)
    assert verdict.ok or "to be solved without it" in verdict.message, verdict.message


@pytest.mark.parametrize(("table", "words", "mistake"), MISTAKES)
def test_each_mistake_is_refused_in_its_own_words(table, words, mistake):
    verdict = table.check(lambda *given: mistake(*given))
    assert not verdict.ok
    assert in_words(words).search(said(verdict)), verdict.message


@tables
def test_what_is_right_but_changes_its_arguments_is_told_so(table):
    def changing(*given):
        result = table.right(*copy.deepcopy(given))
        for value in given:
            if isinstance(value, Tensor) and value.numel():
                value.zero_() if value.any() else value.fill_(1)
            elif isinstance(value, (list, dict)) and value:
                value.clear()
        return result

    changeable = (Tensor, list, dict)
    if any(isinstance(value, changeable) for given in table.cases.values() for value in given):
        assert_wrong(table.check(changing), "and the caller still needs it")


def spoilt(answer, number):
    """The answer with all its numbers replaced."""
    if isinstance(answer, Tensor):
        return torch.full_like(answer, number, dtype=torch.float64)
    if isinstance(answer, (list, tuple)):
        return type(answer)(spoilt(part, number) for part in answer)
    return number


@tables
@pytest.mark.parametrize("number", [float("nan"), float("inf"), 10**400])
def test_no_right_answer_is_nan_or_infinite_or_too_large_for_a_float(table, number):
    if number == 10**400:
        verdict = table.check(lambda *given: number)
    else:
        verdict = table.check(lambda *given: spoilt(table.right(*given), number))
    assert not verdict.ok


@tables
def test_a_tensor_that_is_asked_for_is_no_list_and_no_array(table):
    first = table.right(*copy.deepcopy(next(iter(table.cases.values()))))
    if isinstance(first, Tensor):
        for other in (Tensor.tolist, Tensor.numpy):
            verdict = table.check(lambda *given, o=other: o(table.right(*given).detach()))
            assert_wrong(verdict, "the exercise asks for a tensor")


@tables
def test_no_argument_may_be_ignored(table):
    cases = list(table.cases.values())
    for index, first in enumerate(cases[0]):
        if not isinstance(first, (int, float, str, tuple)):
            continue
        assert any(given[index] != first for given in cases), f"argument {index} is always {first}"

        def ignoring(*given, index=index, first=first):
            return table.right(*given[:index], first, *given[index + 1 :])

        if any(differs(ignoring, table.right, given) for given in cases):
            assert not table.check(ignoring), f"argument {index} may always be {first}"


def differs(function, right, given):
    try:
        return not same(function(*copy.deepcopy(given)), right(*copy.deepcopy(given)))
    except Exception:  # an argument that does not fit the others
        return True


@tables
def test_the_answer_for_the_first_image_is_none_for_the_others(table):
    def alike(*given):
        answer = table.right(*given)
        return answer[:1].expand_as(answer).clone() if answer.ndim and len(answer) else answer

    answers = [table.right(*copy.deepcopy(given)) for given in table.cases.values()]
    if any(isinstance(a, Tensor) and a.ndim and not (a == a[:1]).all() for a in answers):
        assert_wrong(table.check(alike), "")


@tables
def test_a_rounded_answer_is_told_that_it_was_rounded(table):
    given = copy.deepcopy(next(iter(table.cases.values())))
    answer = table.right(*given)
    if is_double(given) and isinstance(answer, Tensor) and answer.dtype == torch.float64:
        verdict = table.check(lambda *given: table.right(*given).float())
        assert_wrong(verdict, "somewhere float64 became float32")


class Raises:
    """An object that raises whatever one does with it."""

    def __eq__(self, other):
        raise SystemExit(3)

    __len__ = __iter__ = __bool__ = __float__ = __array__ = __getitem__ = __call__ = __eq__
    __hash__ = None


def quits(*given, **named):
    raise SystemExit


def interrupts(*given, **named):
    raise KeyboardInterrupt


def without_end(*given, **named):
    return without_end(*given, **named)


def generates(*given, **named):
    yield 1


NONSENSE = {
    "SystemExit": quits,
    "KeyboardInterrupt": interrupts,
    "RecursionError": without_end,
    "a generator": generates,
    "None": lambda *given, **named: None,
    "a string": lambda *given, **named: "three",
    "a huge number": lambda *given, **named: 10**400,
    "nan": lambda *given, **named: float("nan"),
    "a sparse tensor": lambda *given, **named: torch.eye(3).to_sparse(),
    "a meta tensor": lambda *given, **named: torch.empty(2, device="meta"),
    "a complex tensor": lambda *given, **named: torch.zeros(2, dtype=torch.complex64),
    "an empty tensor": lambda *given, **named: torch.zeros(0),
    "a network": lambda *given, **named: nn.Linear(2, 2),
    "a dictionary": lambda *given, **named: {"a": object()},
    "a list of lists": lambda *given, **named: [[1], [2, 3]],
    "an object that raises": lambda *given, **named: Raises(),
    "not a function": 3,
}


@everywhere
@pytest.mark.parametrize("answer", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_is_refused_and_never_raises(check, answer):
    parameters = inspect.signature(check).parameters.values()
    verdict = check(*[answer for p in parameters if p.default is p.empty])
    assert not verdict.ok
    assert verdict.message


@everywhere
def test_a_check_leaves_the_learners_random_numbers_alone(check):
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    drawn = torch.rand(1), np.random.rand(), random.random()  # noqa: NPY002
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)

    def draws(*given, **named):
        torch.manual_seed(5)
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        random.random()
        np.random.rand()  # noqa: NPY002
        raise ValueError

    check(*[draws for p in inspect.signature(check).parameters.values() if p.default is p.empty])
    assert (torch.rand(1), np.random.rand(), random.random()) == drawn  # noqa: NPY002
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()


@tables
def test_a_table_has_a_sentence_and_several_cases(table):
    assert table.check.__doc__.startswith("Check ``function(")
    assert len(table.cases) > 1

"""What every check gets for nothing: the door, running, comparing, tables."""

import contextlib
import copy
import random
import signal
import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_course.checks import (
    NotSolvedError,
    Verdict,
    _verdicts,
    call,
    compare,
    compared,
    count,
    exercise,
    explaining,
    finite,
    normal,
    number,
    run,
    same,
    saying,
    uniform,
    without,
)
from mnist_course.checks import draw as drawing
from tests.checks.verdicts import assert_not_begun, assert_right, assert_wrong


def refused(function, *args, **kwargs):
    """The message with which it is refused."""
    with pytest.raises(NotSolvedError) as caught:
        function(*args, **kwargs)
    return str(caught.value)


def checking(body):
    """A check that runs the learner's function without arguments, and then the body."""

    @exercise
    def check(function) -> str:
        body(run(function))
        return "It is right."

    return check


runs = checking(lambda answer: None)


# The door


def test_what_a_check_returns_holds_and_what_it_raises_does_not():
    assert_right(runs(lambda: 1))
    assert repr(runs(lambda: 1)) == "✓ Right. It is right."
    assert_wrong(checking(lambda answer: compare(answer, 2.0, "one"))(lambda: 1), "For one")


def test_a_verdict_is_a_box_that_says_its_words_and_nothing_else():
    box = Verdict(False, "In `x < 1` I got\na <b>bold</b> one.")._repr_html_()
    assert "✗ Not yet." in box and 'role="status"' in box
    assert "<code>x &lt; 1</code> I got\na &lt;b&gt;bold&lt;/b&gt; one." in box
    assert "✓ Right." in Verdict(True, "")._repr_html_()


def test_a_verdict_is_remembered_by_the_chapter_and_the_check(monkeypatch):
    kept = []
    monkeypatch.setattr("mnist_course.desk.record", lambda *what: kept.append(what))
    name = f"{__name__.rpartition('.')[2]}.check"
    check = checking(lambda answer: compare(answer, 2.0, "one"))
    check(lambda: 2.0)
    check(lambda: 1.0)
    check(stub)  # nothing was tried
    assert kept == [(name, True), (name, False)]


def test_a_verdict_does_not_fail_where_it_cannot_be_remembered(monkeypatch):
    def record(exercise, right):
        raise OSError("the disk is full")

    monkeypatch.setattr("mnist_course.desk.record", record)
    assert_right(runs(lambda: 1))


def test_the_words_of_several_saying_come_from_outside_to_inside():
    def body(answer):
        with saying("Of the network: "), saying("In forward: "):
            raise NotSolvedError("no.")

    assert checking(body)(lambda: 1).message == "Of the network: In forward: no."


def stub(*given):
    raise NotImplementedError


def test_a_stub_is_told_to_begin_wherever_it_is_called():
    def body(answer):
        with saying("For three images: "):
            run(stub, answer)

    assert checking(body)(lambda: 1).message.startswith("Nothing is written yet")


def test_words_in_a_message_are_explained():
    def body(answer):
        with explaining({"shape": "Look at the axes.", "size": "Look at the numbers."}):
            raise NotSolvedError(answer)

    assert checking(body)(lambda: "A size is wrong.").message.endswith("Look at the numbers.")
    assert checking(body)(lambda: "No.").message == "No."


def test_random_numbers_are_the_same_every_time():
    seen = []
    for _ in range(2):
        runs(lambda: seen.append((torch.rand(1).item(), np.random.rand(), random.random())) or 1)  # noqa: NPY002
        torch.rand(1)
    assert seen[0] == seen[1]


def test_a_check_computes_gradients_although_it_is_called_without():
    x = torch.ones(1)
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            assert_right(checking(lambda y: y.backward())(lambda: x.clone().requires_grad_().sum()))


def test_what_is_handed_to_a_check_in_another_way_is_told_so():
    assert_wrong(drawing.prepare(torch.zeros(1)), "got a Tensor: write the name of the function")
    assert_wrong(drawing.prepare(), "`check.prepare(my_function)`")
    assert_wrong(drawing.prepare(len, 7), "`check.prepare(my_function)`")


def test_a_function_that_does_not_take_the_arguments_is_told_so():
    verdict = exercise(lambda function: run(function, 1, seed=0))(lambda x: x)
    assert_wrong(verdict, "Calling your function raised TypeError: ")
    assert "unexpected keyword argument 'seed'" in verdict.message


def test_what_a_check_meets_in_the_answer_is_no_exception():
    namespace = {"__name__": "mnist_course.checks.made_up"}
    body = compile("def check(f): return len(f())", _verdicts.__file__, "exec")
    exec(body, namespace)  # code of the project, so that no line of it is quoted
    verdict = exercise(namespace["check"])(lambda: torch.tensor(1.0))
    assert_wrong(verdict, "What your code returned stopped the check (TypeError: len()")


class Odd:
    def __len__(self):
        raise SystemExit("odd")


def test_an_object_that_exits_is_quoted():
    verdict = checking(len)(Odd)
    assert_wrong(verdict, "Your code raised SystemExit: odd")
    assert '`raise SystemExit("odd")`' in verdict.message


def endless():
    while True:
        pass


def endless_and_stubborn():
    for _ in range(3):
        with contextlib.suppress(BaseException):
            endless()
    endless()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there is no such alarm")
@pytest.mark.parametrize("answer", [endless, lambda: time.sleep(1000), endless_and_stubborn])
def test_an_endless_loop_ends(answer, monkeypatch):
    monkeypatch.setattr(_verdicts, "SECONDS", 0.2)
    assert_wrong(runs(answer), "still running after 0.2 seconds")
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_in_another_thread_a_check_runs_without_a_limit():
    verdicts = []
    thread = threading.Thread(target=lambda: verdicts.append(runs(lambda: 1)))
    thread.start()
    thread.join()
    assert_right(verdicts[0])


def test_the_learners_own_interrupt_stops_the_check():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(
        KeyboardInterrupt, match=r"You stopped the check, in line \d+: `runs"
    ) as told:
        runs(lambda: signal.raise_signal(signal.SIGINT))
    assert len(told.traceback) == 2  # this line, and the check that says it
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupt_that_the_code_raises_itself_does_not():
    def interrupts():
        raise KeyboardInterrupt("me")

    assert_wrong(runs(interrupts), "Your code raised KeyboardInterrupt: me")


# Running


def test_nothing_is_written_yet():
    def stub():
        raise NotImplementedError  # your code here

    assert_not_begun(runs(stub))


def test_what_a_library_lacks_is_no_stub():
    class Empty(nn.Module):
        pass

    assert_wrong(runs(lambda: Empty()(torch.ones(1))), 'missing the required "forward"')


def test_none_is_told():
    assert_wrong(runs(lambda: None), "returned None")
    assert call(lambda: None) is None


def deeper(x):
    return x.rellu()


class Network(nn.Module):
    def forward(self, x):
        return x.rellu()


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (lambda: Network()(torch.ones(1)), "return x.rellu()"),
        (lambda: deeper(torch.ones(1)), "return x.rellu()"),
        (lambda: F.conv2d(torch.ones(1), "kernel"), 'F.conv2d(torch.ones(1), "kernel")'),
        (lambda: F.cross_entropy(torch.ones(2, 3), 1), "F.cross_entropy(torch.ones(2, 3), 1)"),
        (lambda: random.randint(3, 1), "random.randint(3, 1)"),
    ],
)
def test_the_quoted_line_is_the_learners(answer, line):
    message = runs(answer).message
    assert line in message.partition("(line")[2], message


def test_code_of_a_cell_is_the_learners():
    for filename in ("<ipython-input-3-0123456789ab>", "/tmp/ipykernel_17/123.py"):
        namespace = {}
        exec(compile("def answer():\n    return 1 / 0", filename, "exec"), namespace)
        assert_wrong(runs(namespace["answer"]), "Your code raised ZeroDivisionError")


def test_an_exception_without_words_or_with_a_broken_one():
    class BrokenError(Exception):
        def __str__(self):
            raise ValueError

    def fails(error):
        raise error

    assert "AssertionError (line" in refused(run, fails, AssertionError())
    assert "BrokenError (line" in refused(run, fails, BrokenError())


def set_gradient(x):
    x.requires_grad_().sum().backward()
    x.requires_grad_(False)


def leave_hook(network):
    network[0].register_forward_hook(lambda *given: None)


CHANGES = {
    "changes `given` in place": (
        (torch.ones(2), lambda given: given.add_(1)),
        (torch.ones(2), lambda given: given.resize_(1)),
        (torch.tensor([1.0, torch.nan]), lambda given: given.nan_to_num_()),
        (np.ones(2), lambda given: given.fill(0)),
    ),
    "changes `given[1]` in place": ([[1, torch.ones(2)], lambda given: given[1].zero_()],),
    "changes `given['a']` in place": (({"a": torch.ones(2)}, lambda given: given["a"].zero_()),),
    "changes `given` itself": (
        ([1, 2], lambda given: given.pop()),
        ({"a": 1}, lambda given: given.update(b=2)),
        ({"a": 1, "b": 2}, lambda given: given.update(a=given.pop("a"))),
        ({1, 2}, lambda given: given.add(3)),
    ),
    "changes `given[0]` itself": (
        ([1, 2], lambda given: given.reverse()),
        ([[1], 2], lambda given: given[0].append(2)),
    ),
    "changes `given.requires_grad`": ((torch.ones(2), lambda given: given.requires_grad_()),),
    "leaves a gradient in `given.grad`": ((torch.ones(2), set_gradient),),
    "leaves a gradient in `given.0.weight.grad`": (
        (nn.Sequential(nn.Linear(1, 1)), lambda given: given(torch.ones(1)).backward()),
    ),
    "changes `given.0.weight` in place": (
        (nn.Sequential(nn.Linear(1, 1)), lambda given: nn.init.zeros_(given[0].weight)),
    ),
    "changes `given.0.running_mean` in place": (
        (nn.Sequential(nn.BatchNorm1d(1)), lambda given: given(torch.ones(2, 1))),
    ),
    "does not leave `given` in the mode": ((nn.Dropout(), lambda given: given.eval()),),
    "leaves hooks on `given.0`": ((nn.Sequential(nn.Linear(1, 1)), leave_hook),),
}


@pytest.mark.parametrize(
    ("message", "argument", "changes"),
    [(message, *pair) for message, pairs in CHANGES.items() for pair in pairs],
)
def test_an_argument_that_is_changed_is_named(message, argument, changes):
    def learners(given):
        changes(given)
        return 1

    assert message in refused(run, learners, copy.deepcopy(argument))
    mine = copy.deepcopy(argument)
    assert run(learners, mine, may_change=[mine]) == 1
    assert run(lambda given: 1, copy.deepcopy(argument)) == 1


def test_an_argument_without_a_name_has_its_number():
    assert "`argument 2`" in refused(run, lambda *given: given[1].zero_(), 1, torch.ones(1))


def test_a_generator_is_there_to_be_drawn_from():
    generator = torch.Generator().manual_seed(0)
    assert run(lambda g: torch.rand(1, generator=g), generator).shape == (1,)


def test_new_tensors_have_the_precision_of_the_arguments():
    assert run(lambda x: torch.zeros(1), torch.ones(1)).dtype == torch.float32
    assert run(lambda x: torch.zeros(1), torch.ones(1).double()).dtype == torch.float64
    assert run(lambda x: torch.zeros(1), [torch.ones(1).double()]).dtype == torch.float64
    assert run(lambda x: torch.zeros(1), nn.Linear(1, 1).double()).dtype == torch.float64
    assert torch.zeros(1).dtype == torch.float32


# Forbidden calls

X, W = torch.ones(1, 1, 3, 3), torch.ones(1, 1, 2, 2)


@pytest.mark.parametrize(
    ("name", "answer", "call_"),
    [
        ("conv2d", lambda: F.conv2d(X, W), "F.conv2d"),
        ("conv2d", lambda: torch.conv2d(X, W), "F.conv2d"),
        ("conv2d", lambda: nn.Conv2d(1, 1, 2)(X), "F.conv2d"),
        ("conv2d", lambda: torch.nn.functional.conv2d(X, weight=W), "F.conv2d"),
        ("softmax", lambda: F.softmax(X, 1), "F.softmax"),
        ("softmax", lambda: torch.softmax(X, 1), "torch.softmax"),
        ("softmax", lambda: X.softmax(1), "Tensor.softmax"),
        ("softmax", lambda: nn.Softmax(1)(X), "F.softmax"),
        ("relu", lambda: X.clone().relu_(), "Tensor.relu_"),
        ("F.unfold", lambda: nn.Unfold(2)(X), "F.unfold"),
        ("max_pool2d", lambda: nn.MaxPool2d(2)(X), "F.max_pool2d"),
        ("one_hot", lambda: F.one_hot(torch.tensor([1])), "F.one_hot"),
        ("pad", lambda: nn.ZeroPad2d(1)(X), "F.pad"),
        ("softplus", lambda: F.softplus(X), "F.softplus"),
        ("cross_entropy", lambda: nn.CrossEntropyLoss()(X[0, 0], torch.tensor([0, 1, 2])),
         "F.cross_entropy"),
        ("grad", lambda: torch.autograd.grad((2 * X.requires_grad_()).sum(), X),
         "torch.autograd.grad"),
        ("backward", lambda: (2 * X.clone().requires_grad_()).sum().backward() or 1,
         "Tensor.backward"),
    ],
)  # fmt: skip
def test_a_forbidden_call_is_named(name, answer, call_):
    @exercise
    @without(name)
    def check(function) -> str:
        run(function)
        return "right"

    assert_wrong(check(answer), f"your code calls {call_}:")
    assert_right(check(lambda: X.unfold(2, 2, 1)))


def test_a_function_of_pytorch_itself_is_a_call_too():
    @exercise
    @without("relu")
    def check(function) -> str:
        run(function, X)
        return "right"

    assert_wrong(check(torch.relu), "calls torch.relu")
    assert_wrong(check(nn.ReLU()), "calls F.relu")


def test_a_wrong_answer_is_told_what_is_wrong_and_not_what_it_calls():
    @exercise
    @without("relu")
    def check(function) -> str:
        compare(run(function, X), X - 5, "one image")
        return "right"

    assert_wrong(check(torch.relu), "For one image")


# Comparing


@given(st.floats(allow_nan=False, allow_infinity=False, width=32), st.booleans())
def test_a_number_is_equal_to_itself_in_every_type(value, as_list):
    for answer in (value, np.float64(value), torch.tensor(value), np.array(value)):
        assert same([answer] if as_list else answer, [value] if as_list else value)


def test_of_several_answers_a_mistake_may_leave_one_open():
    assert same((torch.ones(2), 7), (torch.ones(2), ...))
    assert not same((torch.zeros(2), 7), (torch.ones(2), ...))
    assert not same((torch.ones(2),), (torch.ones(2), ...))


def test_nan_is_equal_to_nothing():
    nan = torch.full((2,), torch.nan)
    assert not same(nan, nan)
    assert "nan or infinity" in refused(compare, nan, torch.ones(2), "x")
    assert refused(finite, nan, "x") == "x contains nan or infinity."
    assert "finite number" in refused(number, torch.inf, "x")


@pytest.mark.parametrize(
    ("answer", "expected", "reason"),
    [
        ([1.0, 2.0], torch.tensor([1.0, 2.0]), "a list; the exercise asks for a tensor"),
        (np.ones(2), torch.ones(2), "a NumPy array; the exercise asks for a tensor"),
        (1.0, torch.tensor(1.0), "a float; the exercise asks for a tensor"),
        (torch.ones(2).bool(), torch.ones(2), "asks for floating-point numbers"),
        (torch.ones(2).int(), torch.ones(2).long(), "asks for torch.int64"),
        (torch.ones(2), torch.ones(2).bool(), "asks for torch.bool"),
        (3.0, 3, "3.0 is not a whole number like 3"),
        (torch.tensor(3.0), 3, "is not a whole number like 3"),
        (True, 1, "True is not a whole number"),
        ((3, 4.0), (3, 4), "4.0 is not a whole number like 4"),
        (1, True, "1 is not a bool"),
        ((torch.ones(1), [1.0]), (torch.ones(1), torch.ones(1)), "a list; the exercise"),
    ],
)
def test_right_numbers_of_another_type_are_told_so(answer, expected, reason):
    message = refused(compare, answer, expected, "x")
    assert message.startswith("For x the numbers are right, but")
    assert reason in message
    compare(answer, expected, "x", typed=False)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (torch.ones(2), torch.ones(2).double()),
        (np.int64(3), 3),
        (torch.tensor(3), 3),
        (torch.tensor([3, 4]), (3, 4)),
        ([np.int64(3), 4], (3, 4)),
        (torch.tensor(0.5), 0.5),
        (1, 1.0),
        ((0.5, 1), [0.5, 1.0]),
        (torch.tensor([0.5, 1]), [0.5, 1.0]),
        ([torch.tensor(0.5), 1], [0.5, 1.0]),
        (np.bool_(True), True),
        ([torch.ones(1), torch.ones(2)], (torch.ones(1), torch.ones(2))),
    ],
)
def test_types_that_are_as_good(answer, expected):
    compare(answer, expected, "x")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("three", "got str"),
        (10**400, "too large for a float"),
        (object(), "got object"),
        (torch.ones(2).to_sparse(), "got a sparse_coo tensor"),
        (torch.empty(2, device="meta"), "got a meta tensor"),
        (torch.zeros(2, dtype=torch.complex64), "got a complex tensor"),
        ((x for x in [1]), "got generator"),
        ([[1], [2, 3]], "got list"),
        (nn.Linear(1, 1), "got Linear"),
    ],
)
def test_what_holds_no_numbers_is_named(answer, words):
    assert words in refused(compare, answer, torch.ones(2), "x")


def test_the_message_says_what_is_true():
    x = normal(3, 4)
    rounded = "somewhere float64 became float32"
    assert rounded in refused(compare, x.float(), x, "x")
    assert rounded in refused(compare, x.float().double(), x, "x")
    assert rounded not in refused(compare, x + 1e-8, x, "x")
    assert "largest difference is 1e-08 at index" in refused(compare, x + 1e-8, x, "x")
    assert refused(compare, 2.0, 3.0, "x") == "For x the number is 2, expected 3."
    assert "(within 2 %)" in refused(compare, 2.0, 3.0, "x", relative=0.02)
    assert "one number, got shape (2,)" in refused(compare, [2, 3], 3.0, "x")
    whole = torch.arange(4)
    assert "1 of 4 are wrong, index (3,) is 9, expected 3" in refused(
        compare, torch.tensor([0, 1, 2, 9]), whole, "x"
    )
    assert "return 2 things, got 1" in refused(compare, [x], (x, x), "x")
    assert "x, result 2, the shape is right" in refused(compare, (x, x + 1), (x, x), "x")


def test_a_named_mistake_is_told_before_anything_else():
    x = normal(3)
    assert refused(compare, -x, x, "x", mistakes={"The sign.": -x}) == "The sign."
    compare(x, x, "x", mistakes={"The sign.": -x})


def test_counts_are_whole():
    assert count(np.int64(3), "x") == count(torch.tensor(3), "x") == count(3, "x") == 3
    for answer in (3.0, True, "3", [3, 4], torch.nan):
        refused(count, answer, "x")


def test_helpers_draw_the_same_for_a_seed_and_leave_the_global_generator_alone():
    state = torch.get_rng_state()
    for draw in (normal, uniform):
        assert torch.equal(draw(3, 4, seed=2), draw(3, 4, seed=2))
        assert not torch.equal(draw(3, 4, seed=2), draw(3, 4, seed=3))
        assert draw(3).dtype == torch.float64
    assert torch.equal(state, torch.get_rng_state())


# Tables


def mean(**options):
    """A small table to try the options on."""

    @compared(
        cases={f"{n} numbers": (normal(n),) for n in (1, 5)},
        mistakes={
            "For {case}, x of shape {x}, {answer:.1f}: the sum.": torch.sum,
            "The {last}.": (torch.amin, torch.amax),
            "It fails.": lambda x: x[7],
        },
        right="It is the mean.",
        **options,
    )
    def check(x: Tensor) -> Tensor:
        """Check ``function(x)``: the mean of the numbers."""
        return x.mean()

    return check


def test_a_case_may_say_why_it_is_not_finite_and_an_exception_what_it_means():
    check = mean(not_finite={"1 numbers": "Not {case}."}, raised={"IndexError": "Count from 0."})
    assert check(lambda x: x.mean() / 0).message == "Not 1 numbers."
    assert check(lambda x: x.mean() / (len(x) == 1)).message == (
        "For 5 numbers the result contains nan or infinity."
    )
    assert_wrong(check(lambda x: x[len(x)]), "Count from 0.")


def test_words_are_filled_in():
    total = normal(5).sum()
    assert_right(mean()(torch.mean))
    assert mean()(torch.sum).message == f"For 5 numbers, x of shape (5,), {total:.1f}: the sum."
    assert mean()(torch.amax).message == "The {last}."
    assert mean(so_far=True)(torch.amin).message == "Right for 1 numbers. The {last}."
    assert "For x of shape (5,) the" in mean(case="x of shape {x}")(lambda x: x.median()).message


def test_a_table_watches_calls_and_knows_its_module():
    assert_wrong(mean(avoiding=("mean",))(torch.mean), "your code calls torch.mean")
    assert_right(mean(avoiding=("mean",))(lambda x: x.sum() / len(x)))
    assert (mean().__name__, mean().__module__) == ("check", __name__)


def test_a_changed_case_does_not_reach_the_next_learner():
    check = mean()
    assert_wrong(check(lambda x: x.zero_().mean()), "changes `x` in place")
    assert_right(check(torch.mean))


def test_float32_is_enough_where_nothing_is_float64():
    @compared(cases={"two": ([1.1, 2.7],), "one": ([0.3],)}, mistakes={}, right="It is the mean.")
    def check(values: list[float]) -> float:
        """Check ``function(values)``: the mean of a list."""
        return sum(values) / len(values)

    assert_right(check(lambda values: torch.tensor(values).mean()))
    assert_right(check(lambda values: torch.tensor(values, dtype=torch.float32).mean().item()))
    assert_right(check(lambda values: np.mean(values, dtype=np.float32)))
    assert_wrong(check(lambda values: torch.tensor(values).mean() + 1e-4), "the number is")


def test_a_mistake_in_one_of_several_answers_is_passed_over_where_it_is_right():
    @compared(
        cases={"ones": (torch.ones(2),), "minus ones": (-torch.ones(2),)},
        mistakes={"The sign is lost.": lambda x: (x.sum().abs(), ...)},
        right="They are right.",
    )
    def check(x: Tensor) -> tuple[Tensor, Tensor]:
        """Check ``function(x)``: the sum, and the number."""
        return x.sum(), torch.tensor(2.0)

    assert_wrong(check(lambda x: (x.sum(), torch.tensor(3.0))), "For ones, result 2,")
    assert_wrong(check(lambda x: (x.sum().abs(), torch.tensor(2.0))), "The sign is lost.")

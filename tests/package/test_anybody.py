"""Every public function works with anybody's network, or says why not, and leaves it as it was."""

from __future__ import annotations

import contextlib
import copy
import os
import signal
import subprocess
import sys
import threading
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mnist_course import data, devices, digitpad, explain, export, finetune, models, train
from mnist_course.augment import Affine, Cutout, Elastic, Shift, Stroke
from mnist_course.checkpoints import load_network, save_weights
from mnist_course.digitpad import DigitPad
from mnist_course.evaluate import evaluate, predict
from mnist_course.modules import unwrapped
from mnist_course.samples import to_digits
from tests.anybody import REFUSED, WORK, Fails, Recurrent, View, plain
from tests.made_up import digits

DIGITS, FEW = digits(48), digits(16, seed=1)
IMAGE = data.to_float(DIGITS.images[0])
RECIPE = train.Recipe(epochs=1, batch_size=16)


def fit(model: nn.Module, **options: Any) -> train.History:
    options = {"recipe": RECIPE, "device": "cpu", "progress": False} | options
    return train.fit(model, DIGITS, FEW, **options)


READS = {
    "evaluate": lambda model: evaluate(model, FEW, "cpu"),
    "predict": lambda model: predict(model, FEW.images),
    "occlusion": lambda model: explain.occlusion(model, IMAGE, 3, window=28),
    "activations": lambda model: explain.activations(model, IMAGE),
    "input_gradient": lambda model: explain.input_gradient(model, IMAGE, 3),
    "integrated_gradients": lambda model: explain.integrated_gradients(model, IMAGE, 3, 2),
    "head_of": finetune.head_of,
    "finetune": lambda model: finetune.finetune(model, FEW, steps=2, batch_size=8, device="cpu"),
    "finetune the head": lambda model: finetune.finetune(
        model, FEW, parts="head", steps=2, batch_size=8, device="cpu"
    ),
    "with_adapters": lambda model: finetune.merged(finetune.with_adapters(model)),
    "page_weights": export.page_weights,
    "DigitPad": DigitPad,
}
"""What uses a network and must leave it as it was, to the last bit."""

SEQUENTIAL = {
    "plain", "used twice", "shared weight", "shared memory", "partly frozen", "with gradients",
    "partly channels-last", "compiled", "data parallel", "float64", "bfloat16",
}  # fmt: skip
MAY_REFUSE = {
    *(("page_weights", network) for network in WORK if network not in SEQUENTIAL),
    *(("with_adapters", network) for network in WORK if "weight norm" in network),
    ("with_adapters", "pruned"),
}
"""Which function may say that it cannot use which network. DigitPad then reads in the kernel."""

COPIES = ("with_adapters", "DigitPad")
"""What does not let the network answer, and so does not see that it answers wrongly."""


def fingerprint(model: nn.Module, values: bool = True) -> dict[str, Any]:
    """All that can be seen of a network from outside, without calling it."""
    seen: dict[str, Any] = {}
    for name, module in model.named_modules():
        seen[f"{name} mode"] = module.training
        seen[f"{name} hooks"] = len(module._forward_hooks), len(module._forward_pre_hooks)
        seen[f"{name} names"] = sorted(vars(module)), list(module._parameters)
    for name, x in [*model.named_parameters(), *model.named_buffers()]:
        seen[f"{name} identity"] = id(x), x.data_ptr(), x.stride(), x.dtype, x.device
        seen[f"{name} gradient"] = x.requires_grad, id(x.grad)
        if values:
            seen[f"{name} values"] = bits(x)
            seen[f"{name} gradient values"] = None if x.grad is None else bits(x.grad)
    return seen


def bits(x: Tensor) -> bytes:
    return x.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [name for name in {**before, **after} if before.get(name) != after.get(name)]


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("network", WORK)
@pytest.mark.parametrize("function", READS)
def test_a_network_is_used_and_left_as_it_was(function, network) -> None:
    model = WORK[network]().train()
    before = fingerprint(model)
    if (function, network) in MAY_REFUSE:
        with pytest.raises(ValueError) as error:
            READS[function](model)
        assert "\n" not in str(error.value)
    else:
        READS[function](model)
    assert not differences(before, fingerprint(model))


@pytest.mark.parametrize("network", WORK)
def test_a_network_is_trained_and_else_left_as_it_was(network, tmp_path) -> None:
    model = WORK[network]().train()
    before = fingerprint(model, values=False)
    values = {name: bits(x) for name, x in model.named_parameters()}
    kept = {name: None if x.grad is None else bits(x.grad) for name, x in model.named_parameters()}
    history = fit(model, checkpoint_folder=tmp_path)
    assert not [d for d in differences(before, fingerprint(model, values=False)) if "mode" not in d]
    for name, x in model.named_parameters():
        moved = bits(x) != values[name]
        assert moved == (x.requires_grad and "aside" not in name), name
        assert (None if x.grad is None else bits(x.grad)) == kept[name]

    again = WORK[network]()  # other weights: they must come from the file
    assert fit(again, checkpoint_folder=tmp_path, resume=True).losses == history.losses
    for (name, x), y in zip(model.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(x, y), name


@pytest.mark.parametrize("network", WORK)
def test_every_function_lets_a_network_answer_what_it_answers(network) -> None:
    model = WORK[network]().eval()
    pixels = data.to_float(FEW.images).to(next(model.parameters()).dtype)
    with torch.no_grad():
        expected = copy.copy(model)(pixels.clone()).float()
    close = {"rtol": 0, "atol": 0.05 if network == "bfloat16" else 1e-5}
    torch.testing.assert_close(evaluate(model, FEW, "cpu").logits, expected, **close)
    torch.testing.assert_close(predict(model, FEW.images), expected.softmax(1), **close)
    if ("with_adapters", network) not in MAY_REFUSE:
        adapted = finetune.with_adapters(model).eval()
        torch.testing.assert_close(evaluate(adapted, FEW, "cpu").logits, expected, **close)


@pytest.mark.parametrize("network", REFUSED)
@pytest.mark.parametrize("function", [*READS, "fit"])
def test_what_cannot_answer_is_refused_in_one_line_and_left_as_it_was(function, network) -> None:
    build, message = REFUSED[network]
    model = build()
    whole = isinstance(model, nn.Module) and network not in ("lazy", "on no device")
    before = fingerprint(model.train()) if whole else {}
    use = fit if function == "fit" else READS[function]
    if function in COPIES and whole and (function, network) != ("DigitPad", "not a number"):
        with contextlib.suppress(ValueError):
            use(model)
    else:
        with pytest.raises((TypeError, ValueError, RuntimeError)) as error:
            use(model)
        if function != "page_weights":
            assert error.match(message)
        assert "\n" not in str(error.value)
    changed = differences(before, fingerprint(model)) if whole else []
    assert not [name for name in changed if not (function == "fit" and "mode" in name)]


# --- the layout of memory ---------------------------------------------------------------------


def test_a_network_that_needs_the_plain_layout_is_trained_in_it_to_the_last_bit() -> None:
    first, second = View(), View()
    second.load_state_dict(first.state_dict())
    devices.Place._plain.add(second)  # as if it had been known
    assert fit(first).losses == fit(second).losses
    for (name, x), y in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(x, y), name


def test_other_errors_are_raised_once_and_not_tried_in_another_layout() -> None:
    calls = []
    model = Fails()
    model.register_forward_pre_hook(lambda *_: calls.append(1))
    for use in (fit, READS["evaluate"], READS["finetune"]):
        with pytest.raises(RuntimeError, match="out of ink"):
            use(model)
    assert len(calls) == 3


# --- layers and files -------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["recurrent", "attention", "transformer", "used twice"])
def test_what_layers_answer_is_told_without_what_is_no_tensor_of_one_image(network) -> None:
    for name, output in explain.activations(WORK[network](), IMAGE).items():
        assert isinstance(output, Tensor) and output.ndim >= 1, name
    assert "head" in explain.activations(Recurrent(), IMAGE)
    assert "rnn" not in explain.activations(Recurrent(), IMAGE)


@pytest.mark.parametrize("network", WORK)
def test_maps_are_explained_in_any_network_that_has_some(network) -> None:
    model = WORK[network]().train()
    layers = dict(unwrapped(model).named_modules())
    name = next((name for name, x in layers.items() if isinstance(x, nn.Conv2d)), None)
    before = fingerprint(model)
    if name is None:
        with pytest.raises(ValueError, match="expected a layer with maps"):
            explain.grad_cam(model, IMAGE, 3, "head" if "head" in layers else "1")
    else:
        assert explain.grad_cam(model, IMAGE, 3, name).shape[0] >= 13
    assert not differences(before, fingerprint(model))


@pytest.mark.parametrize(("layer", "found"), [("rnn", "tuple of length 2"), ("idle", "nothing")])
def test_a_layer_without_maps_is_named(layer, found) -> None:
    model = Recurrent()
    model.idle = nn.Conv2d(1, 1, 1)
    with pytest.raises(ValueError, match=f"'{layer}' gives {found}"):
        explain.grad_cam(model, IMAGE, 3, layer)


@pytest.mark.parametrize("network", ["view", "recurrent", "compiled"])
def test_a_network_is_written_as_onnx_or_refused_in_one_line(network) -> None:
    model = WORK[network]().train()
    before = fingerprint(model)
    try:
        assert len(export.to_onnx(model)) > 1000
    except RuntimeError as error:
        assert "ONNX cannot express this network" in str(error)
        assert "\n" not in str(error)
    assert not differences(before, fingerprint(model))


@pytest.mark.parametrize("network", ["two outputs", "a function", "not a number", "no flatten"])
def test_what_cannot_answer_is_not_written_as_onnx(network) -> None:
    build, message = REFUSED[network]
    with pytest.raises((TypeError, ValueError), match=message):
        export.to_onnx(build())


@pytest.mark.parametrize("network", WORK)
def test_the_pad_reads_with_any_network(network) -> None:
    model = WORK[network]()
    pad = DigitPad(model)
    logits, _ = digitpad._read(pad._reader, data.to_float(FEW.images[:1]))
    expected = model.eval()(data.to_float(FEW.images[:1]).to(next(model.parameters()).dtype))
    torch.testing.assert_close(logits, expected[0].detach().float(), rtol=0, atol=0.05)
    assert bool(pad.weights) == (("page_weights", network) not in MAY_REFUSE)


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm2d(4), nn.InstanceNorm2d(4, affine=True, track_running_stats=True)]
)
def test_a_frozen_norm_keeps_its_statistics(norm) -> None:
    model = plain()
    model[1] = norm.requires_grad_(False)
    before = {name: x.clone() for name, x in norm.state_dict().items()}
    fit(model)
    assert all(torch.equal(x, before[name]) for name, x in norm.state_dict().items())


# --- the head ---------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["gated", "aside", "attention", "recurrent", "pruned"])
def test_the_head_is_the_layer_whose_output_are_the_logits(network) -> None:
    model = WORK[network]()
    tuned = finetune.finetune(model, FEW, parts="head", steps=2, batch_size=8, device="cpu")
    after = tuned.state_dict()
    changed = {n.rpartition(".")[0] for n, x in model.state_dict().items() if not x.equal(after[n])}
    assert changed == {"5" if network == "pruned" else "head"}


def test_a_network_without_such_a_layer_has_no_head() -> None:
    late = nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.ReLU())
    with pytest.raises(ValueError, match="no linear layer that returns the logits"):
        finetune.head_of(late)


def test_adapters_that_shared_a_weight_are_merged_each_with_its_own_change() -> None:
    model = WORK["shared weight"]()
    adapted = finetune.with_adapters(model, rank=2)
    for layer in adapted.modules():
        if isinstance(layer, finetune.LowRank):
            nn.init.constant_(layer.up, 0.01)
    x = torch.rand(3, 1, 28, 28)
    torch.testing.assert_close(finetune.merged(adapted)(x), adapted(x))


# --- what networks remember -------------------------------------------------------------------


@pytest.mark.parametrize(
    "function", ["evaluate", "predict", "occlusion", "activations", "DigitPad"]
)
def test_what_has_read_can_be_trained_and_explained(function) -> None:
    model = WORK["remembering"]()
    READS[function](model)
    fit(model)
    READS["input_gradient"](model)


def test_a_buffer_that_is_no_longer_finite_counts_as_diverged() -> None:
    class Ageing(nn.Sequential):
        def forward(self, x):
            if self.training:
                self[1].running_mean /= 0 if self[1].num_batches_tracked == 2 else 1
            return super().forward(x)

    model = Ageing(*plain())
    with pytest.raises(
        train.DivergedError, match=r"a buffer \(1.running_mean\) is no longer finite"
    ):
        fit(model, recipe=replace(RECIPE, epochs=2))
    assert model[1].running_mean.isfinite().all()


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("function", ["input_gradient", "finetune", "fit"])
def test_gradients_are_recorded_wherever_they_are_needed(function, around) -> None:
    model = plain()
    with around():
        (fit if function == "fit" else READS[function])(model)


def test_nobodys_pixels_are_changed() -> None:
    pixels, image = data.to_float(FEW.images), IMAGE.clone()
    before = pixels.clone()
    predict(WORK["in place"](), pixels)
    for name in ("occlusion", "activations", "input_gradient", "integrated_gradients"):
        READS[name](WORK["in place"]())
    assert torch.equal(pixels, before)
    assert torch.equal(IMAGE, image)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_a_weight_with_gaps_is_trained_as_one_without(optimizer) -> None:
    recipe = replace(RECIPE, optimizer=optimizer, betas=(0.9, 0.99))
    with_gaps, without = WORK["weight with gaps"](), WORK["weight with gaps"]()
    without.load_state_dict(with_gaps.state_dict())
    without.weight = nn.Parameter(without.weight.detach().contiguous())
    assert with_gaps.weight.stride() != without.weight.stride()
    for model in (with_gaps, without):
        fit(model, recipe=recipe)
    torch.testing.assert_close(with_gaps.weight, without.weight, rtol=1e-4, atol=1e-5)
    tuned = [finetune.finetune(m, FEW, steps=2, device="cpu") for m in (with_gaps, without)]
    torch.testing.assert_close(tuned[0].weight, tuned[1].weight, rtol=1e-4, atol=1e-5)


class Returning(nn.Module):
    def __init__(self, change: Any) -> None:
        super().__init__()
        self.head, self.change = nn.Linear(784, 10), change

    def forward(self, x: Tensor) -> Any:
        return self.change(self.head(x.flatten(1)))


@pytest.mark.parametrize("function", ["fit", *(name for name in READS if name not in COPIES)])
@pytest.mark.parametrize(
    "change",
    [lambda x: x * 1j, Tensor.to_sparse, lambda x: x.to("meta")],
    ids=["1j", "sparse", "meta"],
)
def test_logits_are_plain_real_numbers(function, change) -> None:
    if function == "page_weights":
        pytest.skip("it takes sequential networks only")
    with pytest.raises(TypeError, match="it must return a plain tensor of real numbers"):
        {**READS, "fit": fit}[function](Returning(change))


class Special(Tensor):
    """A tensor of a type of its own."""


def test_logits_of_a_type_of_their_own_are_resumed(tmp_path) -> None:
    model = Returning(lambda x: x.as_subclass(Special))
    history = fit(model, checkpoint_folder=tmp_path)
    assert fit(model, checkpoint_folder=tmp_path, resume=True).losses == history.losses


class Extra(nn.Linear):
    def get_extra_state(self) -> Any:
        return {"calls": 3}

    def set_extra_state(self, state: Any) -> None:
        pass


def test_what_no_file_can_hold_is_named_before_the_first_step(tmp_path) -> None:
    model = nn.Sequential(nn.Flatten(), Extra(784, 10))
    before = fingerprint(model)
    with pytest.raises(ValueError, match=r"1\._extra_state in the network's state_dict is a dict"):
        fit(model, checkpoint_folder=tmp_path)
    assert [d for d in differences(before, fingerprint(model)) if "mode" not in d] == []
    fit(model)


@pytest.mark.parametrize(
    "function", ["activations", "finetune", "finetune the head", "with_adapters", "DigitPad"]
)
def test_a_network_of_torch_jit_is_read_and_else_refused(function) -> None:
    model = torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)))
    assert evaluate(model, FEW, "cpu")
    with pytest.raises(TypeError, match="take the network that it was made from"):
        READS[function](model)


@pytest.mark.parametrize("function", ["finetune", "with_adapters", "DigitPad"])
def test_what_cannot_be_copied_is_said(function) -> None:
    model = WORK["plain"]()
    model.lock = threading.Lock()
    with pytest.raises(TypeError, match=r"cannot be copied: .*lock.*; keep such an object outside"):
        READS[function](model)


@pytest.mark.parametrize("function", ["finetune", "with_adapters", "DigitPad"])
@pytest.mark.parametrize("hold", [lambda graph: {graph}, lambda graph: SimpleNamespace(it=graph)])
def test_a_graph_that_cannot_be_copied_is_said(function, hold) -> None:
    model = WORK["plain"]()
    model.kept = hold(model(torch.rand(2, 1, 28, 28)))
    with pytest.raises(TypeError, match="cannot be copied: Only Tensors created explicitly"):
        READS[function](model)


def test_what_was_made_in_inference_mode_reads_outside_of_it() -> None:
    with torch.inference_mode():
        model = WORK["plain"]()
    assert predict(model, FEW.images).isfinite().all()
    with pytest.raises(ValueError, match=r"was made under torch.inference_mode"):
        fit(model)


def test_a_layer_named_like_a_wrapper_is_a_layer() -> None:
    model = nn.Module()
    model._orig_mod, model.scale = plain(), nn.Parameter(torch.ones(10))
    assert unwrapped(model) is model


def test_what_was_exported_is_not_trained() -> None:
    pixels = torch.zeros(16, 1, 28, 28)
    model = torch.export.export(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), (pixels,)).module()
    with pytest.raises(ValueError, match="the network cannot change its mode"):
        fit(model)


@pytest.mark.parametrize("function", ["input_gradient", "integrated_gradients"])
def test_an_answer_that_does_not_depend_on_the_pixels_has_no_gradient(function) -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bag = nn.EmbeddingBag(256, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.bag((x.flatten(1) * 255).long())

    with pytest.raises(ValueError, match="does not depend on the pixels"):
        READS[function](Counting())


def test_weights_that_cannot_be_trained_are_named() -> None:
    for model, message in (
        (plain().half(), "float16 are too coarse"),
        (plain().requires_grad_(False), "every parameter is frozen"),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(784, 10), Detached()),
            "does not depend on any weight",
        ),
        (with_weight(torch.randn(10, 784, dtype=torch.complex64)), "complex64 cannot be trained"),
        (nn.Sequential(Sparse()), "gradients of 0.bag are sparse; build it with sparse=False"),
    ):
        for use in (fit, READS["finetune"]):
            with pytest.raises(ValueError, match=message):
                use(model)


def test_weights_that_share_their_memory_with_themselves_are_not_trained() -> None:
    row, flat = torch.randn(10, 1), torch.randn(8000)
    for weight in (row.expand(10, 784), flat.as_strided((10, 784), (1, 1))):
        model = with_weight(weight)
        with pytest.raises(ValueError, match="in the same memory"):
            fit(model)
        assert finetune.finetune(model, FEW, steps=2, device="cpu")  # a copy has its own


def with_weight(weight: Tensor) -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    model[1].weight = nn.Parameter(weight)
    return model


class Sparse(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(256, 10, sparse=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.bag((x.flatten(1) * 255).long())


class Detached(nn.Module):
    def forward(self, x) -> torch.Tensor:
        return x.detach()


@pytest.mark.parametrize("function", ["evaluate", "fit", "finetune", "input_gradient", "DigitPad"])
def test_a_default_dtype_of_float64_changes_nothing(function) -> None:
    use = fit if function == "fit" else READS[function]
    torch.set_default_dtype(torch.float64)
    try:
        use(plain())
        use(plain().float())
        assert explain.occlusion(plain(), torch.zeros(1, 28, 28), 3).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("function", [*READS, "fit"])
def test_a_default_device_changes_nothing(function) -> None:
    use, model = (fit if function == "fit" else READS[function]), plain()
    with torch.device("meta"):  # where nothing that is made by mistake holds numbers
        use(model)


def test_digits_and_networks_come_on_the_cpu_whatever_the_default_is(tmp_path) -> None:
    small = models.course_network((2, 2, 2))
    save_weights(small, tmp_path / "w", network="course_network", channels="2,2,2")
    with torch.device("meta"):
        drawn = to_digits([{"label": 3, "strokes": [[[1, 2], [30, 40]]], "time": 1}])
        for digits_ in (drawn, data.uci_digits("test")[:4]):
            assert len(evaluate(load_network(tmp_path / "w"), digits_, "cpu").labels)


def test_augmentations_draw_the_same_under_any_default() -> None:
    images, expected = data.to_float(FEW.images), []
    for dtype in (torch.float32, torch.float64):
        torch.set_default_dtype(dtype)
        try:
            for change in (Affine(), Elastic(), Stroke(), Shift(), Cutout()):
                expected.append(change(images, torch.Generator().manual_seed(0)))
        finally:
            torch.set_default_dtype(torch.float32)
    for one, other in zip(expected[:5], expected[5:], strict=True):
        assert one.dtype == other.dtype and torch.equal(one, other)


# --- memory, signals, processes ---------------------------------------------------------------


@pytest.mark.parametrize("function", ["fit", "evaluate", "predict", "finetune"])
@pytest.mark.parametrize(
    ("size", "advice"), [(4, "try a batch_size of 2"), (1, "a smaller network")]
)
def test_too_little_memory_says_what_to_try(function, size, advice) -> None:
    class Hungry(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(784, 10)

        def forward(self, x):
            torch.empty(1 << 60)  # more than any machine has
            return self.head(x.flatten(1))

    model = Hungry()
    with pytest.raises(MemoryError, match=advice):
        {
            "fit": lambda: fit(model, recipe=replace(RECIPE, batch_size=size)),
            "evaluate": lambda: evaluate(model, FEW, "cpu", batch_size=size),
            "predict": lambda: predict(model, FEW.images, batch_size=size),
            "finetune": lambda: finetune.finetune(model, FEW, batch_size=size, device="cpu"),
        }[function]()


def test_a_handler_that_python_did_not_set_stays(monkeypatch) -> None:
    put = []
    monkeypatch.setattr(signal, "getsignal", lambda _: None)
    monkeypatch.setattr(signal, "signal", lambda *arguments: put.append(arguments))
    fit(plain())
    assert not put


@pytest.mark.parametrize("before", [signal.SIG_IGN, signal.SIG_DFL, signal.default_int_handler])
def test_a_handler_is_put_back_whatever_it_is(before) -> None:
    ours = signal.signal(signal.SIGINT, before)
    try:
        fit(plain())
        assert signal.getsignal(signal.SIGINT) is before
        with pytest.raises(RuntimeError):
            fit(Fails())
        assert signal.getsignal(signal.SIGINT) is before
    finally:
        signal.signal(signal.SIGINT, ours)


def test_a_handler_that_was_set_in_the_meantime_stays() -> None:
    ours = signal.getsignal(signal.SIGINT)

    def theirs(*_):
        pass

    try:
        fit(plain(), after_epoch=lambda *_: signal.signal(signal.SIGINT, theirs) and False)
        assert signal.getsignal(signal.SIGINT) is theirs
    finally:
        signal.signal(signal.SIGINT, ours)


def test_a_rank_without_torchrun_is_nobodys() -> None:
    code = """if True:
        import sys, torch, warnings
        from mnist_course import __main__ as cli
        from tests.package import test_anybody
        test_anybody.fit(test_anybody.plain())
        sys.argv[1:] = ["predict", "there-is-no.png"]
        cli.main()
        cli._warn("seen")"""
    environment = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "10.0.0.1"}
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment | {"MASTER_PORT": "29500"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert run.returncode == 0, run.stderr
    assert "process 1" not in run.stderr
    assert "note: seen" in run.stderr

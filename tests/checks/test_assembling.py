"""The checks of chapter 10 accept right answers and name each plausible mistake."""

import copy
import json

import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn import functional as F

from mnist_course.checks import assembling as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_right, assert_wrong

chapter = definitions("assembling")

CHECKS = {
    "residual": "Residual",
    "registered": "Network",
    "features": "features",
    "load_matching": "load_matching",
    "safetensors": "safetensors",
}


def answer_of(prefix: str, name: str):
    """What the chapter offers for a check: a class (SolutionResidual) or a function."""
    name = CHECKS[name]
    return chapter[f"{prefix.title()}{name}" if name[0].isupper() else f"{prefix}_{name}"]


@pytest.mark.parametrize("name", CHECKS)
def test_the_solution_is_right(name):
    assert_right(getattr(check, name)(answer_of("solution", name)))


@pytest.mark.parametrize("name", [name for name in CHECKS if name != "registered"])
def test_the_stub_is_told_to_begin(name):
    verdict = getattr(check, name)(answer_of("my", name))
    assert verdict.message.startswith("Nothing is written yet"), verdict.message


def residual(end, padding=1, bias=False, kernel_size=3, outputs=0):
    """A residual block with the mistakes that people make; ``end`` joins x and f(x)."""

    class Residual(nn.Module):
        def __init__(self, channels):
            super().__init__()
            out = channels + outputs
            self.f = nn.Sequential(
                nn.Conv2d(channels, out, kernel_size, padding=padding, bias=bias),
                nn.BatchNorm2d(out),
                nn.ReLU(),
                nn.Conv2d(out, out, kernel_size, padding=padding, bias=bias),
                nn.BatchNorm2d(out),
            )

        def forward(self, x):
            return end(x, self.f)

    return Residual


class OtherOrder(nn.Module):
    """Right; its layers are made in another order than they are used in."""

    def __init__(self, channels):
        super().__init__()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)

    def forward(self, x):
        return (x + self.norm2(self.conv2(self.norm1(self.conv1(x)).relu()))).relu()


def test_the_order_in_which_layers_are_made_does_not_matter():
    assert_right(check.residual(OtherOrder))


class Twice(chapter["SolutionResidual"]):
    """One convolution and one batch norm, each in two places."""

    def __init__(self, channels):
        super().__init__(channels)
        self.layers = nn.Sequential(*self.layers[:3], *self.layers[:2])


class Depthwise(chapter["SolutionResidual"]):
    def __init__(self, channels):
        super().__init__(channels)
        self.layers[0] = nn.Conv2d(channels, channels, 3, padding=1, bias=False, groups=channels)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (residual(lambda x, f: f(x).relu()), "The input is not added"),
        (residual(lambda x, f: x + f(x).relu()), "after the last ReLU"),
        (residual(lambda x, f: x + f(x)), "The ReLU after the addition"),
        (residual(lambda x, f: (x + f[3:](f[:2](x))).relu()), "between the two convolutions"),
        (residual(lambda x, f: (x + f(x).relu()).relu()), "at the end of f"),
        (residual(lambda x, f: (x + f(x)).relu(), bias=True), "bias=False"),
        (residual(lambda x, f: f(x), padding=0), "padding=1"),
        (residual(lambda x, f: f(x), outputs=1), "as many channels out as in"),
        (residual(lambda x, f: (x + f(x)).relu(), padding=2, kernel_size=5), "3 × 3"),
        (residual(lambda x, f: (x * f(x)).relu()), "numbers are not"),
        (residual(lambda x, f: x.add_(f(x)).relu()), "changes `x` in place"),
        (residual(lambda x, f: (x + f(x)).relu() * (1 + f.training)), "in training mode"),
        (residual(lambda x, f: (x + f(x)).rellu()), "raised AttributeError"),
        (residual(lambda x, f: None), "returned None"),
        (Twice, "use none twice"),
        (Depthwise, "groups=1"),
        (nn.Identity, "0 convolutions and 0 batch norms"),
        (lambda channels: channels, "expected an nn.Module"),
    ],
)
def test_residual(answer, message):
    assert_wrong(check.residual(answer), message)


def frozen(numbers):
    return nn.Parameter(numbers, requires_grad=False)


def network(keep=nn.ModuleList, scale=nn.Parameter, size=(1,), linear=True, extra=False):
    """The network of exercise 10.2, with a choice of its bugs."""

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            convolutions = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)
            self.convolutions = keep(convolutions)
            if linear:
                self.linear = nn.Linear(32 * 7 * 7, 10)
            if scale:
                self.scale = scale(torch.ones(size))
            else:
                self.register_buffer("scale", torch.ones(size))
            if extra:
                self.again = nn.Linear(32 * 7 * 7, 10)

        def forward(self, x):
            for convolution in self.convolutions:
                x = F.max_pool2d(convolution(x).relu(), 2)
            last = self.linear if linear else nn.Linear(32 * 7 * 7, 10)
            return self.scale * last(x.flatten(1))

    return Network


class Scales(network()):
    """The same network with another end, from the scale, the linear layer and its inputs."""

    end = staticmethod(lambda scale, linear, x: scale * linear(x))
    act = staticmethod(torch.relu)

    def forward(self, x):
        for convolution in self.convolutions:
            x = F.max_pool2d(self.act(convolution(x)), 2)
        return self.end(self.scale, self.linear, x.flatten(1))


def ends(end, act=torch.relu):
    return type("Ends", (Scales,), {"end": staticmethod(end), "act": staticmethod(act)})


class ViewsRows(network()):
    def forward(self, x):
        x = self.convolutions[1](self.convolutions[0](x).relu()).relu()
        return self.scale * self.linear(x.view(-1, 32 * 7 * 7))


class Lazy(Scales):
    """Right: its linear layer finds out its inputs from the first digits."""

    def __init__(self):
        super().__init__()
        self.linear = nn.LazyLinear(10)


@pytest.mark.parametrize("answer", [Scales, Lazy, network(size=())])
def test_registered_in_other_ways(answer):
    assert_right(check.registered(answer))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (chapter["MyNetwork"], "a layer is made in forward"),
        (Scales(), "give me its class"),
        (network(linear=False), "a layer is made in forward"),
        (network(keep=list), "the first convolution, the second convolution."),
        (network(keep=list, scale=torch.clone), "the second convolution, the scale."),
        (network(scale=torch.clone), "a bare tensor"),
        (network(scale=None), "The scale is a buffer"),
        (network(size=10), "There is a parameter of shape (10,) instead"),
        (network(scale=frozen), "scale is registered, but frozen"),
        (network(scale=lambda ones: nn.Parameter(0 * ones)), "The scale starts at 0"),
        (network(extra=True), "more parameters than needed"),
        (ends(lambda scale, f, x: scale / scale.detach() * f(x)), "Three times the scale"),
        (ends(lambda scale, f, x: f(scale * x)), "its bias is not scaled"),
        (ends(lambda scale, f, x: scale * f(x).softmax(1)), "must be no softmax"),
        (ends(lambda scale, f, x: scale * f(x), act=lambda x: x), "The ReLU after"),
        (ends(lambda scale, f, x: scale * f(x), act=torch.tanh), "Leave forward as it was"),
        (ends(lambda scale, f, x: scale.abs() * f(x)), "For three digits and a scale of -3"),
        (ends(lambda scale, f, x: f(x)), "No gradient reaches scale"),
        (ends(lambda scale, f, x: (scale * f(x)).detach()), "No gradient reaches scale, conv"),
        (ends(lambda scale, f, x: scale.detach() * f(x)), "cut it off"),
        (ends(lambda scale, f, x: scale * f(F.dropout(x))), "is something in forward random?"),
        (ViewsRows, "expected logits of shape (3, 10), got (48, 10)"),
        (lambda: None, "returned None"),
    ],
)
def test_registered(answer, message):
    assert_wrong(check.registered(answer), message)


def blank(shape, images=1):
    return torch.zeros(images, *shape)


@torch.no_grad()
def left_in_eval(layers, shape):
    return layers.eval()(blank(shape)).numel()


@torch.no_grad()
def all_to_training(layers, shape):
    size = layers.eval()(blank(shape)).numel()
    layers.train()
    return size


def asked_a_copy(result, images=1):
    return lambda layers, shape: result(copy.deepcopy(layers)(blank(shape, images)))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda layers, shape: layers(blank(shape)).numel(), "has left a trace"),
        (
            left_in_eval,
            "For a convolution and a pooling: Your function does not leave `layers` in",
        ),
        (all_to_training, "whose batch norm is in eval mode"),
        (asked_a_copy(lambda y: y.shape[1:]), "one number, the product"),
        (asked_a_copy(lambda y: y.shape), "with the batch"),
        (asked_a_copy(lambda y: y.shape[1]), "number of channels only"),
        (asked_a_copy(lambda y: y[0, 0].numel()), "channels are left out"),
        (asked_a_copy(torch.numel, images=2), "Two pictures went in"),
        (asked_a_copy(lambda y: float(y.numel())), "is not a whole number"),
        (asked_a_copy(lambda y: y.numel() + 1), "the number is 121, expected 120"),
        (lambda layers, shape: blank(shape).numel(), "the numbers of the picture"),
        (lambda layers, shape: copy.deepcopy(layers)(torch.zeros(shape[1:])).numel(), "raised"),
    ],
)
def test_features(answer, message):
    assert_wrong(check.features(answer), message)


def in_eval_and_back(layers, shape):
    """Another right way: eval mode for all, and afterwards each module's own mode."""
    modes = {module: module.training for module in layers.modules()}
    size = layers.eval()(blank(shape)).numel()
    for module, mode in modes.items():
        module.training = mode
    return size


def test_features_may_be_asked_of_the_layers_themselves():
    assert check.features(in_eval_and_back)


def not_strict(network, state):
    return network.load_state_dict(state, strict=False).missing_keys


def by_name_only(network, state):
    own = network.state_dict()
    state = {name: value for name, value in state.items() if name in own}
    return network.load_state_dict(state, strict=False).missing_keys


def deleting(network, state):
    own = network.state_dict()
    for name in [n for n, v in state.items() if n not in own or own[n].shape != v.shape]:
        del state[name]
    return network.load_state_dict(state, strict=False).missing_keys


def the_loaded(network, state):
    rest = chapter["solution_load_matching"](network, state)
    return [name for name in network.state_dict() if name not in rest]


def nothing_loaded(network, state):
    own = network.state_dict()
    return [n for n, v in own.items() if n not in state or state[n].shape != v.shape]


def the_missing_only(network, state):
    chapter["solution_load_matching"](network, state)
    return [name for name in network.state_dict() if name not in state]


def zeros_the_rest(network, state):
    rest = chapter["solution_load_matching"](network, state)
    for name in rest:
        network.state_dict()[name].zero_()
    return rest


def sharing(network, state):
    own = network.state_dict()
    fits = {name: value for name, value in state.items() if name in own}
    fits = {name: value for name, value in fits.items() if own[name].shape == value.shape}
    network.load_state_dict(fits, strict=False, assign=True)
    return own.keys() - fits.keys()


@torch.no_grad()
def by_numel(network, state):
    own = network.state_dict()
    fits = [n for n, v in own.items() if n in state and state[n].numel() == v.numel()]
    for name in fits:
        own[name].copy_(state[name].reshape(own[name].shape))
    return own.keys() - fits


@torch.no_grad()
def one_by_one(network, state):
    """Right."""
    rest = set()
    for name, value in (*network.named_parameters(), *network.named_buffers()):
        if name in state and state[name].shape == value.shape:
            value.copy_(state[name])
        else:
            rest.add(name)
    return rest


def test_entries_may_be_copied_one_by_one():
    assert_right(check.load_matching(one_by_one))


def what_pytorch_misses(network, state):
    own = network.state_dict()
    fitting = {n: v for n, v in state.items() if n in own and own[n].shape == v.shape}
    return network.load_state_dict(fitting, strict=False).missing_keys


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (what_pytorch_misses, "num_batches_tracked was not loaded"),
        (not_strict, "strict=False never forgives shapes"),
        (by_name_only, "another last layer"),
        (deleting, "another last layer: Your function changes `state` itself"),
        (the_loaded, "names that were loaded"),
        (nothing_loaded, "fits and was not loaded"),
        (the_missing_only, "expected ['3.bias', '3.weight']"),
        (zeros_the_rest, "does not fit, and has changed"),
        (sharing, "share the very numbers of 0.weight"),
        (by_numel, "3.weight does not fit, and has changed"),
        (lambda *args: len(chapter["solution_load_matching"](*args)), "Return a list of names"),
    ],
)
def test_load_matching(answer, message):
    assert_wrong(check.load_matching(answer), message)


def written(tensors, order="little", begin=0, whole=False, text=json.dumps, raw=None, dtype="F32"):
    """A safetensors file, with the mistakes that people make."""
    raw = raw or (lambda tensor: tensor.contiguous().numpy().tobytes())
    header, blocks, end = {}, [], begin
    for name, tensor in tensors.items():
        blocks.append(raw(tensor))
        start, end = end, end + len(blocks[-1])
        shape = list(tensor.shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    head = text(header).encode()
    return (len(head) + 8 * whole).to_bytes(8, order) + head + b"".join(blocks)


def doubles(tensor):
    return tensor.double().contiguous().numpy().tobytes()


def characters(tensors):
    """A header whose length is that of the text, and not of its bytes."""
    raw = written(tensors, text=lambda header: json.dumps(header, ensure_ascii=False))
    length = int.from_bytes(raw[:8], "little")
    return len(raw[8 : 8 + length].decode()).to_bytes(8, "little") + raw[8:]


def in_memory_order(tensor):
    return bytes(tensor.untyped_storage())


def offsets(wrong):
    """A writer whose header has these offsets."""

    def answer(tensors):
        return written(
            tensors,
            text=lambda header: json.dumps(
                {name: entry | {"data_offsets": wrong} for name, entry in header.items()}
            ),
        )

    return answer


def lengths(tensors):
    """Offsets that are (begin, length) and not (begin, end)."""
    raw = chapter["solution_safetensors"](tensors)
    start = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:start])
    for entry in header.values():
        entry["data_offsets"][1] -= entry["data_offsets"][0]
    head = json.dumps(header).encode()
    return len(head).to_bytes(8, "little") + head + raw[start:]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda t: written(t, order="big"), "big-endian"),
        (lambda t: written(t, begin=8), "the first is 0"),
        (lambda t: written(t, whole=True), "are no JSON"),
        (lambda t: written(t, text=str), "are no JSON"),
        (lambda t: written(t)[8:], "does the file begin with the length"),
        (lambda t: written(t, raw=in_memory_order), "use contiguous()"),
        (lambda t: written(t, raw=doubles), "refuses the file"),
        (lambda t: written(t, dtype="F64", raw=doubles), "are torch.float64, expected F32"),
        (characters, "For a name that is not ASCII the 66 bytes"),
        (safetensors.torch.save, "write its bytes yourself"),
        (lambda t: written(t, raw=lambda x: (2 * x).contiguous().numpy().tobytes()), "numbers are"),
        (lambda t: written(t) + b"end", "refuses the file"),
        (lambda t: written(dict(list(t.items())[:1])), "expected ['b', 'w']"),
        (lengths, "not [begin, number of bytes]"),
        (lambda t: written(t, text=lambda header: json.dumps([header])), "one JSON object"),
        (lambda t: written(t, text=lambda header: json.dumps({"w": [1]})), "one JSON object"),
        (offsets(24), "a list of two numbers"),
        (offsets([]), "a list of two numbers"),
        (lambda t: written(t).decode("latin1"), "expected bytes, got str"),
    ],
)
def test_safetensors(answer, message):
    assert_wrong(check.safetensors(answer), message)

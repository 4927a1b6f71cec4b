"""The checks of chapter 12 accept right answers and name each plausible mistake."""

import copy
import json

import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn import functional as F

from mnist_course.checks import assembling as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_not_begun, judged

chapter = definitions("assembling")
load_rest, write = chapter["solution_load_matching"], chapter["solution_safetensors"]


@pytest.mark.parametrize("name", ["features", "load_matching", "residual", "safetensors"])
def test_stubs_are_told_to_begin(name):
    assert_not_begun(getattr(check, name)(chapter.get(f"my_{name}", chapter["MyResidual"])))


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


class Twice(chapter["SolutionResidual"]):
    """One convolution and one batch norm, each in two places."""

    def __init__(self, channels):
        super().__init__(channels)
        self.layers = nn.Sequential(*self.layers[:3], *self.layers[:2])


class Depthwise(chapter["SolutionResidual"]):
    def __init__(self, channels):
        super().__init__(channels)
        self.layers[0] = nn.Conv2d(channels, channels, 3, padding=1, bias=False, groups=channels)


def network(keep=nn.ModuleList, scale=nn.Parameter, size=(1,), linear=True, extra=False):
    """The network of exercise 12.2, with a choice of its bugs."""

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


def blank(shape, images=1):
    return torch.zeros(images, *shape)


@torch.no_grad()
def asked_itself(layers, shape, after=lambda layers: None):
    size = layers.eval()(blank(shape)).numel()
    after(layers)
    return size


def in_eval_and_back(layers, shape):
    """Right: eval mode for all, and afterwards each module's own mode."""
    modes = {module: module.training for module in layers.modules()}
    size = asked_itself(layers, shape)
    for module, mode in modes.items():
        module.training = mode
    return size


def asked_a_copy(result, images=1):
    return lambda layers, shape: result(copy.deepcopy(layers)(blank(shape, images)))


def fitting(own, state, size=torch.Tensor.size):
    return {n: v for n, v in state.items() if n in own and size(own[n]) == size(v)}


def loaded(network, state, **options):
    """What PyTorch misses when it has loaded what fits."""
    fits = fitting(network.state_dict(), state)
    return network.load_state_dict(fits, strict=False, **options).missing_keys


def not_strict(network, state):
    return network.load_state_dict(state, strict=False).missing_keys


def deleting(network, state):
    for name in state.keys() - fitting(network.state_dict(), state).keys():
        del state[name]
    return network.load_state_dict(state, strict=False).missing_keys


def zeros_the_rest(network, state):
    rest = load_rest(network, state)
    for name in rest:
        network.state_dict()[name].zero_()
    return rest


@torch.no_grad()
def one_by_one(network, state, size=torch.Tensor.size):
    """Right, where ``size`` tells shapes apart."""
    own = network.state_dict()
    fits = fitting(own, state, size)
    for name, value in fits.items():
        own[name].copy_(value.reshape(own[name].shape))
    return own.keys() - fits


def sharing(network, state):
    loaded(network, state, assign=True)
    return network.state_dict().keys() - fitting(network.state_dict(), state).keys()


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


def in_characters(tensors):
    """A header whose length is that of the text, and not of its bytes."""
    raw = written(tensors, text=lambda header: json.dumps(header, ensure_ascii=False))
    length = int.from_bytes(raw[:8], "little")
    return len(raw[8 : 8 + length].decode()).to_bytes(8, "little") + raw[8:]


def offsets(change):
    """A writer whose header has other offsets."""

    def text(header):
        for entry in header.values():
            entry["data_offsets"] = change(*entry["data_offsets"])
        return json.dumps(header)

    return lambda tensors: written(tensors, text=text)


RIGHT = {
    "residual": [chapter["SolutionResidual"], OtherOrder],
    "registered": [chapter["SolutionNetwork"], Scales, Lazy, network(size=())],
    "features": [chapter["solution_features"], in_eval_and_back],
    "load_matching": [load_rest, one_by_one],
    "safetensors": [write, written],
}
WRONG = {
    "residual": [
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
    "registered": [
        (chapter["MyNetwork"], "a layer is made in forward"),
        (Scales(), "give me its class"),
        (network(linear=False), "a layer is made in forward"),
        (network(keep=list), "the first convolution, the second convolution."),
        (network(keep=list, scale=torch.clone), "the second convolution, the scale."),
        (network(scale=torch.clone), "a bare tensor"),
        (network(scale=None), "it is a buffer"),
        (network(size=10), "there is a parameter of shape (10,) instead"),
        (network(scale=lambda x: nn.Parameter(x, False)), "scale is registered, but frozen"),
        (network(scale=lambda x: nn.Parameter(0 * x)), "The scale starts at 0"),
        (network(extra=True), "There are too many parameters"),
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
    ],
    "features": [
        (lambda layers, shape: layers(blank(shape)).numel(), "has left a trace"),
        (asked_itself, "a pooling: Your function does not leave `layers` in"),
        (lambda *given: asked_itself(*given, nn.Module.train), "whose batch norm is in eval mode"),
        (asked_a_copy(lambda y: y.shape[1:]), "one number for a picture, the product"),
        (asked_a_copy(lambda y: y.shape), "with the batch"),
        (asked_a_copy(lambda y: y.shape[1]), "number of channels only"),
        (asked_a_copy(lambda y: y[0, 0].numel()), "the number is 20, expected 120"),
        (asked_a_copy(torch.numel, images=2), "Two pictures went in"),
        (asked_a_copy(lambda y: float(y.numel())), "is not a whole number"),
        (lambda layers, shape: blank(shape).numel(), "the numbers of the picture"),
        (lambda layers, shape: copy.deepcopy(layers)(torch.zeros(shape[1:])).numel(), "raised"),
    ],
    "load_matching": [
        (loaded, "num_batches_tracked was not loaded"),
        (not_strict, "strict=False never forgives shapes"),
        (deleting, "another last layer: Your function changes `state` itself"),
        (lambda n, s: n.state_dict().keys() - load_rest(n, s), "names that were loaded"),
        (lambda n, s: n.state_dict().keys() - s.keys(), "fits and was not loaded"),
        (lambda n, s: load_rest(n, s) and [], "expected ['3.bias', '3.weight']"),
        (zeros_the_rest, "does not fit, and has changed"),
        (sharing, "share the very numbers of 0.weight"),
        (lambda n, s: one_by_one(n, s, torch.numel), "3.weight does not fit, and has changed"),
        (lambda *given: len(load_rest(*given)), "Return a list of names"),
    ],
    "safetensors": [
        (lambda t: written(t, order="big"), "big-endian"),
        (lambda t: written(t, begin=8), "begin at 0 after the header"),
        (lambda t: written(t, whole=True), "are no JSON"),
        (lambda t: written(t, text=str), "are no JSON"),
        (lambda t: written(t)[8:], "does the file begin with the length"),
        (lambda t: written(t, raw=lambda x: bytes(x.untyped_storage())), "use contiguous()"),
        (lambda t: written(t, raw=doubles), "refuses the file"),
        (lambda t: written(t, dtype="F64", raw=doubles), "are torch.float64, expected F32"),
        (in_characters, "For a name that is not ASCII the 66 bytes"),
        (safetensors.torch.save, "write its bytes yourself"),
        (lambda t: written({name: 2 * x for name, x in t.items()}), "numbers are"),
        (lambda t: written(t) + b"end", "refuses the file"),
        (lambda t: written(dict(list(t.items())[:1])), "expected ['b', 'w']"),
        (offsets(lambda start, end: [start, end - start]), "two tensors the safetensors library"),
        (lambda t: written(t, text=lambda header: json.dumps([header])), "refuses the file"),
        (lambda t: written(t, text=lambda header: json.dumps({"w": [1]})), "refuses the file"),
        (offsets(lambda start, end: 24), "data_offsets"),
        (lambda t: written(t).decode("latin1"), "expected bytes, got str"),
    ],
}
test_verdicts = judged(check, RIGHT, WRONG)

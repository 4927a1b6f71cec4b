"""Files of weights: written so that they fit again, and whatever else is given instead is named."""

import io
import json
import os
import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from mnist_course import models, train
from mnist_course.checkpoints import (
    CheckpointError,
    load_network,
    load_state,
    load_weights,
    read_weights,
    save_state,
    save_weights,
)
from tests.made_up import digits
from tests.package.test_files import FOREIGN, torch_file

NAMES = {"network": "course_network", "channels": "2,3,4"}


def small(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return models.course_network((2, 3, 4))


def state_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[name].equal(b[name]) for name in a)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "weights.safetensors"


def assert_refused(path, reason: str, model: nn.Module | None = None) -> str:
    """The file is refused for this reason, in one line, and the model stays as it was."""
    model = small(1) if model is None else model
    before = state_of(model)
    with pytest.raises(CheckpointError, match=reason) as raised:
        load_weights(model, path)
    assert equal(state_of(model), before)
    message = str(raised.value)
    assert "\n" not in message and "\x1b" not in message
    assert "weights_only" not in message
    return message


# --- Written ---


def test_the_same_weights_make_the_same_file(path) -> None:
    many = {f"note{i}": str(i) for i in range(20)} | NAMES
    save_weights(small(), path, **many)
    first = path.read_bytes()
    save_weights(small(), path, **dict(reversed(many.items())))
    assert path.read_bytes() == first
    assert read_weights(path)[1] == many
    assert list(read_weights(path)[0]) == sorted(small().state_dict())


def test_tensors_lie_where_any_program_can_map_them(path) -> None:
    for text in ("", "x", "xy", "größer"):
        save_weights(small(), path, note=text)
        assert struct.unpack("<Q", path.read_bytes()[:8])[0] % 8 == 0
        assert equal(read_weights(path)[0], small().state_dict())


WRAPPERS = {
    "compiled": lambda model: torch.compile(model, backend="eager"),
    "parallel": nn.DataParallel,
    "both": lambda model: nn.DataParallel(torch.compile(model, backend="eager")),
    "compiled inside": lambda model: nn.Sequential(torch.compile(model, backend="eager")),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=list(WRAPPERS))
def test_a_wrapper_leaves_no_trace_in_the_file_and_makes_no_difference(path, wrap) -> None:
    plain, wrapped = small(), wrap(small())
    is_inside = isinstance(wrapped, nn.Sequential)
    twin = nn.Sequential(small(1)) if is_inside else small(1)
    save_weights(wrapped, path)
    names = {f"0.{name}" if is_inside else name for name in plain.state_dict()}
    assert set(read_weights(path)[0]) == names
    load_weights(twin, path)
    again = wrap(small(2))
    load_weights(again, path)
    for model in (twin, again):
        assert all(map(torch.equal, model.state_dict().values(), plain.state_dict().values()))
    # Files that were written otherwise.
    save_file(wrapped.state_dict(), path)
    load_weights(small(3) if not is_inside else nn.Sequential(small(3)), path)


@pytest.mark.parametrize("wrap", [WRAPPERS["compiled"], WRAPPERS["parallel"]])
def test_a_wrapped_network_trains_into_files_of_the_bare_one(tmp_path, wrap) -> None:
    recipe = train.Recipe(channels=(2, 3, 4), epochs=2, batch_size=32)
    options = {"recipe": recipe, "device": "cpu", "progress": False, "checkpoint_folder": tmp_path}
    training = digits(64)
    train.fit(wrap(small()), training, **options, after_epoch=lambda *_: True)
    assert load_network(tmp_path / "last.safetensors")
    bare = small(1)
    assert len(train.fit(bare, training, **options, resume=True).losses) == 4
    whole = small()
    train.fit(whole, training, **options | {"checkpoint_folder": None})
    assert equal(whole.state_dict(), bare.state_dict())


def tied() -> nn.Sequential:
    shared = nn.Conv2d(4, 4, 3, padding=1)
    first = nn.Conv2d(1, 4, 3, padding=1)
    return nn.Sequential(first, shared, nn.ReLU(), shared, nn.Flatten(), nn.Linear(3136, 10))


def test_a_layer_that_is_used_twice_is_written_once_and_read_back(path) -> None:
    model, other = tied(), tied()
    save_weights(model, path)
    assert set(read_weights(path)[0]) == set(model.state_dict()) - {"3.weight", "3.bias"}
    load_weights(other, path)
    assert equal(other.state_dict(), model.state_dict())
    # Other programs write it twice.
    save_file({name: value.clone() for name, value in model.state_dict().items()}, path)
    load_weights(tied(), path)
    untied = {name: value.clone() for name, value in model.state_dict().items()}
    untied["3.weight"] += 1
    save_file(untied, path)
    assert_refused(path, "share their weights in the model, but not in the file", tied())


def test_a_layer_that_is_used_twice_trains_with_a_folder_and_resumes(tmp_path) -> None:
    recipe = train.Recipe(epochs=2, batch_size=32)
    options = {"recipe": recipe, "device": "cpu", "progress": False, "checkpoint_folder": tmp_path}
    torch.manual_seed(0)
    model = tied()
    train.fit(model, digits(64), **options)
    again = tied()
    train.fit(again, digits(64), **options, resume=True)
    assert equal(again.state_dict(), model.state_dict())


def test_weights_that_are_views_of_others_are_written_as_they_are(path) -> None:
    class Views(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("whole", torch.arange(12.0))
            self.register_buffer("part", self.whole[2:6])
            self.register_buffer("turned", self.whole.view(3, 4).T)
            self.register_buffer("nothing", torch.zeros(0))
            self.register_buffer("nothing_else", torch.zeros(0))

    save_weights(Views(), path)
    assert equal(read_weights(path)[0], Views().state_dict())
    other = Views()
    other.whole.zero_()
    load_weights(other, path)
    assert equal(other.state_dict(), Views().state_dict())


# --- Read: another kind of file ---


@pytest.mark.parametrize(("kind", "content"), FOREIGN.items(), ids=list(FOREIGN))
def test_another_kind_of_file_is_called_what_it_is(tmp_path, path, kind, content) -> None:
    path.write_bytes(content)
    word = "text" if kind == "a text" else kind.partition(":")[0]
    for message in (assert_refused(path, word), assert_refused(path, r"\.safetensors file")):
        assert "delete" not in message and "damaged" not in message
    with pytest.raises(CheckpointError, match=word):
        load_network(path)
    state = tmp_path / "last.pt"
    state.write_bytes(content)
    with pytest.raises(CheckpointError, match="of a training") as raised:
        load_state(state)
    message = str(raised.value)
    assert "move it away" in message and "damaged" not in message
    assert "weights_only" not in message and "\x1b" not in message and "\n" not in message


def test_the_weights_beside_a_checkpoint_are_named(tmp_path) -> None:
    (tmp_path / "last.pt").write_bytes(torch_file())
    assert "torch.load" in assert_refused(tmp_path / "last.pt", "is a PyTorch checkpoint, not")
    save_weights(small(), tmp_path / "last.safetensors")
    assert str(tmp_path / "last.safetensors") in assert_refused(tmp_path / "last.pt", "are in")


def test_weights_given_for_a_checkpoint_are_called_that(tmp_path) -> None:
    save_weights(small(), tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match=r"is a \.safetensors file, not the last\.pt"):
        load_state(tmp_path / "last.pt")


class Trap:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("write", [torch.save, lambda x, f: f.write(pickle.dumps(x))])
def test_no_code_of_a_file_runs(tmp_path, path, write) -> None:
    content = io.BytesIO()
    write({"run": Trap(str(tmp_path / "trapped"))}, content)
    path.write_bytes(content.getvalue())
    assert_refused(path, "PyTorch checkpoint|Python pickle")
    with pytest.raises(CheckpointError, match=r"Python pickle|could run code") as raised:
        load_state(path)
    assert "weights_only" not in str(raised.value)
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("cut", [1, 100, 0.5])
def test_a_file_that_is_cut_short_is_called_that(tmp_path, path, cut) -> None:
    save_weights(small(), path)
    content = path.read_bytes()
    path.write_bytes(content[: -cut if cut >= 1 else len(content) // 2])
    assert_refused(path, r"not a complete \.safetensors file.*copy or train it again")
    state = tmp_path / "last.pt"
    save_state(training_state(), state)
    content = state.read_bytes()
    state.write_bytes(content[: -cut if cut >= 1 else len(content) // 2])
    with pytest.raises(CheckpointError, match="cut short"):
        load_state(state)


def test_a_changed_byte_of_a_checkpoint_is_noticed(tmp_path) -> None:
    state = tmp_path / "last.pt"
    save_state(training_state(), state)
    content = bytearray(state.read_bytes())
    content[content.index(b"abc!")] ^= 1
    state.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        load_state(state)


# --- Read: a header that lies ---


def with_header(header: object, data: bytes = bytes(24), size: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def entry(shape: object, offsets: object = (0, 24), dtype: object = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


HEADERS = {
    "no header": with_header(b"", bytes(0)),
    "a list": with_header([1, 2]),
    "a number": with_header(5),
    "not JSON": with_header(b"{'a': 1}"),
    "deeply nested": with_header(b'{"a":' * 50_000),
    "longer than the file": with_header({}, size=1 << 40),
    "longer than anything": with_header({}, size=(1 << 64) - 1),
    "an entry that is none": with_header({"weight": 5}),
    "no shape": with_header({"weight": {"dtype": "F32"}}),
    "a shape of text": with_header({"weight": entry(["a", "b"])}),
    "a shape beyond floats": with_header(b'{"weight":{"dtype":"F32","shape":[1e400,2]}}'),
    "an infinite shape": with_header(b'{"weight":{"dtype":"F32","shape":[Infinity]}}'),
    "a shape that is a number": with_header({"weight": entry(6)}),
    "metadata that are none": with_header({"__metadata__": 5}),
    "metadata that are no texts": with_header({"__metadata__": {"network": 5}}),
    "an unknown type": with_header({"weight": entry([3, 2], dtype="F7")}),
    "places outside": with_header({"weight": entry([3, 2], (0, 1 << 50))}),
    "places backwards": with_header({"weight": entry([3, 2], (24, 0))}),
    "places that overlap": with_header({"weight": entry([3, 2]), "bias": entry([3], (0, 12))}),
    "more than the tensors": with_header({"weight": entry([3, 2])}, bytes(99)),
}


@pytest.mark.parametrize("content", HEADERS.values(), ids=list(HEADERS))
def test_a_header_that_is_none_is_an_error_in_one_line(path, content) -> None:
    path.write_bytes(content)
    layer = nn.Linear(2, 3, bias=content is HEADERS["places that overlap"])
    assert_refused(path, r"not a complete \.safetensors file|another network", layer)
    with pytest.raises(CheckpointError):
        load_network(path)


def test_a_huge_file_of_another_network_is_refused_without_being_read(path) -> None:
    size = 1 << 40
    header = with_header({"weight": entry([size // 4], (0, size))}, b"")
    with path.open("wb") as file:
        file.write(header)
        try:
            file.truncate(len(header) + size)
        except OSError:
            pytest.skip("no file with holes here")
    tracemalloc.start()
    try:
        assert_refused(path, "another network")
        with pytest.raises(CheckpointError, match="does not name its network"):
            load_network(path)
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "channels", ["100000,100000,100000", "2,3,4," * 1000, "-2,3,4", "0,0,0", "2,3,4" + "0" * 300]
)
def test_a_network_of_any_size_can_be_named_but_is_not_built(path, channels, monkeypatch) -> None:
    save_weights(small(), path, network="course_network", channels=channels)
    build, built = models.build, []
    monkeypatch.setattr(models, "build", lambda *a: built.append(build(*a)) or built[-1])
    with pytest.raises(CheckpointError, match=r"another network|cannot be built"):
        load_network(path)
    assert all(weights.is_meta for model in built for weights in model.parameters())


@pytest.mark.parametrize("network", ["x" * 100_000, "\x1b[2J\n"])
def test_a_name_of_a_network_is_quoted_in_one_short_line(path, network) -> None:
    save_weights(small(), path, network=network, channels="9" * 9999)
    with pytest.raises(CheckpointError, match="cannot be built") as error:
        load_network(path)
    assert len(str(error.value)) < 1000
    assert str(error.value).isprintable()


def test_loading_draws_the_random_numbers_of_one_network(path) -> None:
    save_weights(small(), path, **NAMES)
    torch.manual_seed(5)
    models.build("course_network", (2, 3, 4))
    expected = torch.rand(1)
    torch.manual_seed(5)
    load_network(path)
    assert torch.rand(1) == expected


# --- Read: weights that are none ---


@pytest.mark.parametrize("strange", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["conv2.weight", "linear.bias", "norm1.running_var"])
def test_weights_that_are_not_finite_are_refused(path, strange, name) -> None:
    model = small()
    model.state_dict()[name].view(-1)[0] = strange
    save_weights(model, path, **NAMES)
    assert_refused(path, rf"{name} in .* is not finite .*lower learning rate")
    with pytest.raises(CheckpointError, match="is not finite"):
        load_network(path)


def test_an_infinite_constant_of_the_network_is_no_fault(path) -> None:
    model = small()
    model.register_buffer("mask", torch.tensor([0.0, -float("inf")]))
    save_weights(model, path)
    other = small(1)
    other.register_buffer("mask", torch.tensor([0.0, -float("inf")]))
    load_weights(other, path)
    other.mask[1] = 0
    assert_refused(path, "mask in .* is not finite", other)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floats_of_another_precision_become_those_of_the_model(path, dtype) -> None:
    save_weights(small().to(dtype), path, **NAMES)
    loaded = load_network(path)
    assert loaded.conv1.weight.dtype == torch.float32
    assert torch.equal(loaded.conv1.weight, small().conv1.weight.to(dtype).float())


def test_a_float_that_becomes_infinite_is_refused(path) -> None:
    model = small().double()
    model.conv1.weight.data[0, 0, 0, 0] = 1e300
    save_weights(model, path)
    assert_refused(path, r"conv1\.weight in .* is not finite")


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int64, torch.bool])
def test_whole_numbers_are_no_weights(path, dtype) -> None:
    tensors = {name: value.to(dtype) for name, value in small().state_dict().items()}
    save_file(tensors, path, NAMES)
    assert_refused(path, f"is {dtype}, expected torch.float32.*quantised")


def test_a_path_that_is_no_utf_8_is_read(tmp_path) -> None:
    path = tmp_path / os.fsdecode(b"gr\xf6\xdfer.safetensors")
    try:
        save_weights(small(), path, **NAMES)
    except OSError:
        pytest.skip("this disk wants names in UTF-8")
    load_network(path)


# --- What resuming needs ---


def training_state() -> dict:
    """The state of a training of two steps, with a text to be found in its file."""
    row = {"step": 2, "seconds": 0.5, "validation_loss": float("nan")}
    return {
        "run": "abc! a training",
        "model": dict(small().state_dict()),
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.1, "params": [0, 1]}]},
        "rows": [row],
        "losses": [2.5, 2.0],
    }


def changed(**change) -> dict:
    return training_state() | change


def without(name: str) -> dict:
    return {key: value for key, value in training_state().items() if key != name}


GROUPS = [{"params": [0, 1]}]
MALFORMED = {
    "a list": [1, 2],
    "a tensor": torch.zeros(3),
    "nothing": None,
    "weights": dict(small().state_dict()),
    **{f"no {name}": without(name) for name in ("run", "model", "optimizer", "rows", "losses")},
    "run that is no text": changed(run=5),
    "a list for a model": changed(model=[torch.zeros(3)]),
    "numbers for a model": changed(model={"conv1.weight": 5}),
    "a model without names": changed(model={5: torch.zeros(3)}),
    "a list for the optimizer": changed(optimizer=[]),
    "no param_groups": changed(optimizer={"state": {}}),
    "no optimizer's state": changed(optimizer={"param_groups": GROUPS}),
    "param_groups that are none": changed(optimizer={"state": {}, "param_groups": [5]}),
    "groups without params": changed(optimizer={"state": {}, "param_groups": [{"lr": 1}]}),
    "a number for rows": changed(rows=5),
    "no row": changed(rows=[]),
    "rows that are none": changed(rows=[5]),
    "rows without a step": changed(rows=[{"seconds": 1.0}]),
    "rows of text": changed(rows=[{"step": 2, "seconds": "long"}]),
    "rows that go back": changed(rows=[{"step": 5}, {"step": 2}]),
    "a text for losses": changed(losses="2.5, 2.0"),
    "losses of text": changed(losses=["2.5", "2.0"]),
    "losses that are not finite": changed(losses=[2.5, float("nan")]),
    "tensors for losses": changed(losses=[torch.tensor(2.5), torch.tensor(2.0)]),
    "more losses than steps": changed(losses=[2.0] * 10_000),
    "fewer losses than steps": changed(losses=[2.0]),
}


@pytest.mark.parametrize("state", MALFORMED.values(), ids=list(MALFORMED))
def test_a_state_that_is_none_is_named(tmp_path, state) -> None:
    torch.save(state, tmp_path / "last.pt")
    with pytest.raises(
        CheckpointError, match=r"last\.pt is not of a training .*expected"
    ) as raised:
        load_state(tmp_path / "last.pt")
    assert "\n" not in str(raised.value)


def test_a_state_comes_back(tmp_path) -> None:
    save_state(training_state(), tmp_path / "last.pt")
    state = load_state(tmp_path / "last.pt")
    assert state.keys() == training_state().keys()
    assert equal(state["model"], training_state()["model"])


def a_training(folder, model=None, **options) -> train.History:
    recipe = train.Recipe(channels=(2, 3, 4), epochs=2, batch_size=32)
    model = small() if model is None else model
    options |= {"device": "cpu", "progress": False, "checkpoint_folder": folder}
    return train.fit(model, digits(64), None, recipe, **options)


ALTERED = {
    "rows with strange names": lambda s: [row.update(colour=1.0) for row in s["rows"]],
    "rows that lack a name": lambda s: [row.pop("seconds") for row in s["rows"]],
    "more steps than the training has": lambda s: (
        s["rows"].append(s["rows"][-1] | {"step": 99}),
        s["losses"].extend([1.0] * 97),
    ),
    "int8 weights": lambda s: s["model"].update(
        {name: value.to(torch.int8) for name, value in s["model"].items()}
    ),
    "weights that are not finite": lambda s: s["model"]["conv1.weight"].fill_(float("nan")),
    "a weight too few": lambda s: s["model"].pop("linear.bias"),
    "a weight too many": lambda s: s["model"].update(more=torch.zeros(3)),
    "a weight without numbers": lambda s: s["model"].update(
        {"linear.bias": torch.zeros(10, device="meta")}
    ),
    "a sparse weight": lambda s: s["model"].update({"linear.bias": torch.zeros(10).to_sparse()}),
    "a huge weight": lambda s: s["model"].update({"linear.bias": torch.zeros(1).expand(1 << 40)}),
}


@pytest.mark.parametrize("alter", ALTERED.values(), ids=list(ALTERED))
def test_a_state_of_another_training_changes_nothing(tmp_path, alter) -> None:
    a_training(tmp_path, after_epoch=lambda *_: True)
    path = tmp_path / "last.pt"
    state = torch.load(path, weights_only=True)
    alter(state)
    torch.save(state, path)
    model = small(1)
    before = state_of(model)
    with pytest.raises(CheckpointError):
        a_training(tmp_path, model, resume=True)
    assert equal(state_of(model), before)


def test_an_archive_that_grows_when_it_is_unpacked_is_refused(tmp_path) -> None:
    path = tmp_path / "last.pt"
    save_state(training_state(), path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
        archive.writestr("archive/data/99", bytes(50 << 20))
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_state(path)


def test_a_folder_that_cannot_be_written_is_noticed_before_the_first_step(tmp_path) -> None:
    (tmp_path / "file").touch()
    model = small()
    before = state_of(model)
    with pytest.raises(OSError, match=r"cannot write .*last\.pt: .* is not a folder"):
        a_training(tmp_path / "file" / "run", model)
    assert equal(state_of(model), before)


@pytest.mark.parametrize("model", [small().state_dict(), None, "course_network"])
def test_what_is_no_network_has_no_weights(path, model) -> None:
    save_weights(small(), path)
    before = path.read_bytes()
    for use in (save_weights, load_weights):
        with pytest.raises(TypeError, match=r"expected a network \(torch.nn.Module\), got"):
            use(model, path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("value", [0.991, 3, ("24", "48"), None])
def test_metadata_that_could_not_be_read_again_are_not_written(path, value) -> None:
    with pytest.raises(TypeError, match=r"metadata are texts, got .* as note"):
        save_weights(small(), path, note=value)
    assert not path.exists()

"""The drawing pad: draw a digit in JupyterLab or in the book, and watch a network read it.

The pad answers in the browser, with ``static/engine.js`` and a copy of the network's weights, so it
answers even while a cell trains. As soon as the kernel is free, PyTorch confirms.
"""

from __future__ import annotations

from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from mnist_course import plots, pretrained
from mnist_course.desk import DeskError
from mnist_course.drawings import Drawings, drawings_file
from mnist_course.export import UnsupportedLayerError, page_weights
from mnist_course.figures import LiveFigure, bundle
from mnist_course.models import Normalize
from mnist_course.modules import (
    check_finite,
    check_logits,
    check_network,
    copied,
    dtype_of,
    layers_of,
    watching,
)
from mnist_course.samples import Sample, SamplesError, check_samples, to_dataset, write_samples
from mnist_course.strokes import preprocess

ALT = (
    "A pad on which the digit 3 is drawn with a broad pen, and beside it the same digit as the "
    "network sees it: 28 by 28 grey pixels, scaled and centred."
)
CAPTION = "In JupyterLab and in the book you can draw here, and the network reads what you draw."


class DigitPad(LiveFigure):
    """A pad to draw on, and the network that reads it.

    Args:
        model: a network from pixels ``(N, 1, 28, 28)`` in [0, 1] to logits ``(N, 10)``; the
            course's own trained network if not given.
        engine: who reads: ``"browser"``, ``"kernel"``, or ``"both"``: the browser at once, and
            the kernel confirms. A network that the browser cannot run is read by the kernel.

    Attributes:
        samples: the digits that were drawn and labelled on the pad, as
            ``{"label", "strokes", "time"}``. Assign a list to replace them. On the learner's desk
            they are kept in ``my-digits.json``, which all its notebooks share.
        place: where they are kept, in words.
        kept: how many of them are kept there.
        strokes: the drawing on the pad, a list of strokes, each a list of points ``[x, y]``, 0 to
            280, as it was when the pen was last lifted. Assign strokes to draw them.
        probabilities: how the network reads it: ten numbers, or none where there is no answer.

    Raises:
        TypeError: if ``model`` is not a network.
        ValueError: if its weights are not numbers.
        UnsupportedLayerError: if the browser alone should read, and cannot run the network.
    """

    module = "digitpad"
    _esm = bundle(module)
    engine = traitlets.Enum(("both", "browser", "kernel"), "both").tag(sync=True)
    weights = traitlets.Bytes(b"").tag(sync=True)
    samples: traitlets.List[Sample] = traitlets.List().tag(sync=True)
    place = traitlets.Unicode("in the kernel").tag(sync=True)
    kept = traitlets.Int(0).tag(sync=True)
    strokes: traitlets.List[list[list[float]]] = traitlets.List().tag(sync=True)
    probabilities: traitlets.List[float] = traitlets.List().tag(sync=True)

    def __init__(
        self,
        model: nn.Module | None = None,
        engine: Literal["both", "browser", "kernel"] = "both",
    ) -> None:
        super().__init__({}, _picture(), ALT, CAPTION, engine=engine)
        self.model = pretrained.load() if model is None else model
        path = drawings_file()
        self._drawings = Drawings(path) if path else None
        self._known: list[Sample] = []
        self._look()
        self.observe(self._keep, "samples")
        self.on_msg(self._answer)

    @property
    def model(self) -> nn.Module:
        """The network that reads.

        The pad works on a copy in evaluation mode: after training, assign the network again.
        """
        return self._model

    @model.setter
    def model(self, model: nn.Module) -> None:
        check_network(model)
        check_finite(model, before="reading")
        try:
            weights = page_weights(model, "float32")
        except UnsupportedLayerError:
            if self.engine == "browser":
                raise
            weights = b""
        self._model = model
        self._reader = copied(model).cpu().eval()
        self.weights = weights

    def dataset(self) -> TensorDataset:
        """The saved digits as images, float32 ``(N, 1, 28, 28)`` in [0, 1], and labels ``(N,)``.

        Raises:
            SamplesError: if none is saved yet.
        """
        return to_dataset(self.samples)

    def to_json(self) -> str:
        """The saved digits as the text of a ``my-digits.json``."""
        return write_samples(self.samples)

    @traitlets.validate("samples")
    def _check_samples(self, proposal: dict[str, Any]) -> list[Sample]:
        return check_samples(proposal["value"])

    @traitlets.validate("strokes")
    def _check_strokes(self, proposal: dict[str, Any]) -> list[list[list[float]]]:
        strokes = proposal["value"]
        if strokes:
            check_samples([{"label": 0, "strokes": strokes, "time": 0}])
        return list(strokes)

    def _look(self) -> None:
        """Take what the file holds now, which another notebook may have changed."""
        if self._drawings is None:
            return
        try:
            self._known = self._drawings.read()
        except (SamplesError, DeskError, OSError) as error:
            self.place = f"in the kernel only: {error}"
            return
        self.samples, self.kept = self._known, len(self._known)
        self._say_where()

    def _keep(self, change: Any) -> None:
        """Do to the file what was done to the samples."""
        if self._drawings is not None and change.new != self._known:
            try:
                self._known = self._drawings.change(self._known, change.new)
                self.samples = self._known  # with what another notebook has added
                self._say_where()
            except (SamplesError, DeskError, OSError) as error:
                self.place = f"in the kernel only: {error}"
        self.kept = len(self.samples)

    def _say_where(self) -> None:
        if self._drawings is not None:
            said = f" ({self._drawings.said})" if self._drawings.said else ""
            self.place = f"in {self._drawings.path.name}{said}"

    def _answer(self, _: Any, content: Any, buffers: list[Any]) -> None:
        """Answer one numbered question of a view: ten probabilities, and on demand the layers.

        This may run on another thread while a cell runs: it touches nothing but its own copy.
        """
        if not isinstance(content, dict) or content.get("type") != "read":
            if content == {"type": "look"}:
                self._look()
            return
        answer = {"type": "answer", "view": content.get("view"), "number": content.get("number")}
        try:
            pixels = np.frombuffer(buffers[0], "<f4").reshape(1, 1, 28, 28)
            image = torch.tensor(pixels, device="cpu")
            logits, layers = _read(self._reader, image)
        except Exception as error:  # the pad shows what the learner's network raises
            self.send({**answer, "error": f"The network failed: {type(error).__name__}: {error}"})
            return
        if not content.get("layers"):
            layers = []
        values = [logits.softmax(0), *(data.flatten() for _, _, data in layers)]
        shapes = [{"name": name, "op": op, "shape": list(x.shape)} for name, op, x in layers]
        flat = torch.cat(values).numpy().astype("<f4")
        self.send({**answer, "layers": shapes or None}, [flat.tobytes()])


_OPS: dict[type[nn.Module], str] = {
    nn.Conv2d: "conv",
    nn.Linear: "linear",
    nn.BatchNorm2d: "affine",
    nn.GELU: "gelu",
    nn.ReLU: "relu",
    Normalize: "normalize",
}


@torch.no_grad()
def _read(model: nn.Module, image: Tensor) -> tuple[Tensor, list[tuple[str, str, Tensor]]]:
    """Logits ``(10,)`` for one picture, and what each layer answered: name, kind, values."""
    layers: list[tuple[str, str, Tensor]] = []

    def keep(name: str, layer: nn.Module, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim in (2, 4) and len(output) == 1:
            layers.append((name, _OPS.get(type(layer), "other"), output[0].float()))

    with watching(layers_of(model), keep):
        logits = check_logits(model(image.to(dtype_of(model))), 1)
    return logits[0].float(), layers


def _picture() -> Figure:
    """The pad with a three on it, for places without JavaScript."""
    angle = np.linspace(-0.8, 0.5, 24) * np.pi
    top = np.stack([140 + 52 * np.cos(angle), 90 + 46 * np.sin(angle)], axis=1)
    angle = np.linspace(-0.45, 0.8, 24) * np.pi
    bottom = np.stack([140 + 60 * np.cos(angle), 188 + 54 * np.sin(angle)], axis=1)
    stroke = np.concatenate([top, bottom])
    figure, (pad, seen) = plt.subplots(1, 2, figsize=(5, 2.6))
    pad.plot(*stroke.T, color="black", linewidth=11, solid_capstyle="round")
    pad.set(xlim=(0, 280), ylim=(280, 0), aspect="equal", xticks=[], yticks=[])
    pad.set_title("what you draw")
    pad.spines[:].set_visible(True)
    plots.digit(torch.from_numpy(preprocess([stroke])), seen, "what the network sees")
    seen.spines[:].set_visible(True)
    return figure

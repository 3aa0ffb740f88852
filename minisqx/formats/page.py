"""A model as a web page, `net.html`, and as a JavaScript module, `net.mjs`; each is one file that needs no other.

The code is `engine.mjs`, the same for every network, and of a page also `page.mjs` and `page.html`. Written before it are the
steps as JSON and the constants in base64. The page's content security policy allows its own script and style, by their SHA-256,
and no connection, so an image can't leave it.
"""

import base64
import hashlib
import html
import json
import re
from importlib.resources import files

import numpy as np

from minisqx.errors import OptionError
from minisqx.formats.program import Convolution, MaxPool, Place, Program, Step, Sum


def module_file(program: Program) -> str:
    """The text of `net.mjs`, which exports `load` and `fit`."""
    constants = _Constants(program)
    description = {
        "name": program.network.name,
        "classes": program.classes,
        "height": program.network.input_size[0],
        "width": program.network.input_size[1],
        "memory": program.memory,
        "steps": [_step(step, constants) for step in program.steps],
        "classifier": None
        if program.weight is None or program.bias is None
        else {"weight": constants.place(program.weight), "bias": constants.place(program.bias)},
    }
    return f"""// {program.network.name}, written by `minisqx export`. SHA-256 of the constants: {program.sha256}
//
// import {{ load }} from "./net.mjs";
// const network = await load();
// network.infer(network.fit(imageData)); // [{{label, probability, index}}, ...], the most probable first

const PROGRAM = {_json(description)};
const CONSTANTS = "{constants.base64()}";

{_text("engine.mjs")}"""


def page_file(program: Program) -> str:
    """The text of `net.html`."""
    height, width = program.network.input_size
    page, script = _text("page.html"), f"\n{module_file(program)}\n{_text('page.mjs')}"
    (style,) = re.findall("<style>(.*)</style>", page, re.DOTALL)
    policy = {
        "default-src": "'none'",
        "script-src": _hash(script),
        "style-src": _hash(style),
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    size = f"{width} x {height} pixels"
    words = {
        "POLICY": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "TITLE": html.escape(program.network.name),
        "SUBTITLE": f"{len(program.classes)} classes, images of {size}, {program.network.parameters:,} parameters",
        "SEEN": f"What the network sees: {size}",
        "SCRIPT": script,
    }
    return re.sub(r"\b(?:" + "|".join(words) + r")\b", lambda found: words[found[0]], page)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _text(name: str) -> str:
    return files("minisqx.formats").joinpath(name).read_text(encoding="utf-8")


def _json(value: object) -> str:
    """JSON in ASCII that is also safe inside a script of a page: no name of a class can end the script or begin a comment."""
    return json.dumps(value).replace("<", "\\u003c")


class _Constants:
    """All constants one after the other, float32, little-endian; the input's 3 x 256 values are the first."""

    def __init__(self, program: Program):
        self._arrays: list[np.ndarray] = []
        self._size = 0
        self.place(program.values)

    def place(self, array: np.ndarray) -> int:
        """Adds an array; returns the place of its first value."""
        self._arrays.append(array.ravel())
        self._size += array.size
        return self._size - array.size

    def base64(self) -> str:
        return base64.b64encode(np.concatenate(self._arrays).astype("<f4").tobytes()).decode()


def _step(step: Step, constants: _Constants) -> dict[str, object]:
    entries: dict[str, object] = {"name": step.name, "x": _place(step.x), "y": _place(step.y)}
    match step:
        case Convolution():
            arrays = {part: getattr(step, part) for part in ("weight", "bias", "scale", "shift")}
            entries |= {"kind": "convolution", "kernel": step.kernel, "stride": step.stride, "padding": step.padding}
            entries |= {"activation": step.activation, "activated": step.activated}
            return entries | {part: None if array is None else constants.place(array) for part, array in arrays.items()}
        case Sum():
            return entries | {"kind": "sum", "other": _place(step.other), "activation": step.activation}
        case MaxPool():
            return entries | {"kind": "max pool", "kernel": step.kernel, "stride": step.stride}
        case _:
            raise OptionError(f"{step.name}: JavaScript has no such step; expected a convolution, a sum or a max pool")


def _place(place: Place) -> dict[str, int]:
    return {"at": place.at, "channels": place.channels, "height": place.size[0], "width": place.size[1]}

"""A model as an ONNX graph, with the extra `onnx`: what its steps compute, for any number of images.

Without `image_input`, x (N, 3, H, W) float32, normalised, to logits (N, classes). With it, image (N, H, W, 3) uint8 to
probabilities (N, classes), and the normalisation is in the graph. The metadata has the classes, the normalisation and the SHA-256
of the constants.
"""

import json
from types import ModuleType

import numpy as np

from minisqx.checkpoint.foreign import imported
from minisqx.errors import OptionError
from minisqx.formats.folding import INPUT, Piece, pieces_of
from minisqx.formats.program import Convolution, MaxPool, Program, Step, Sum

OPSET, IR_VERSION = 17, 8
OPERATORS = {"elu": "Elu", "relu": "Relu"}
MOST_BYTES = 2_000_000_000  # of a file: protobuf's limit is 2 GiB


def onnx_file(program: Program, mean: tuple[float, ...], std: tuple[float, ...], image_input: bool) -> bytes:
    """The file of a model. mean, std: of its normalisation. Raises MissingExtraError without onnx."""
    onnx = imported("onnx")
    size = 4 * sum(array.size for array in program.constants)
    if size > MOST_BYTES:
        raise OptionError(f"{size:,} bytes of weights: an ONNX file holds at most {MOST_BYTES:,}; choose another format")
    graph = _Graph(program, onnx)
    height, width = program.network.input_size
    batch, floats = "N", onnx.TensorProto.FLOAT
    if image_input:
        source = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, [batch, height, width, 3])
        x = graph.normalised("image", np.array(mean), np.array(std))
        output = graph.node("Softmax", [graph.network(x)], "probabilities", axis=1)
    else:
        source = onnx.helper.make_tensor_value_info("x", floats, [batch, 3, height, width])
        output = graph.network("x")
    target = onnx.helper.make_tensor_value_info(output, floats, [batch, len(program.classes)])
    made = onnx.helper.make_model(
        onnx.helper.make_graph(graph.nodes, program.network.name, [source], [target], graph.constants),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="minisqx",
    )
    described = {"network": program.network.to_dict(), "classes": program.classes, "mean": mean, "std": std}
    entries = {name: json.dumps(value, ensure_ascii=False) for name, value in described.items()}
    onnx.helper.set_model_props(made, {**entries, "sha256": program.sha256})
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString(deterministic=True)


class _Graph:
    def __init__(self, program: Program, onnx: ModuleType):
        self.program, self._onnx = program, onnx
        self.nodes: list = []
        self.constants: list = []

    def node(self, operator: str, inputs: list[str], name: str, **attributes) -> str:
        """Adds a node; returns the name of its output, which is the node's own."""
        self.nodes.append(self._onnx.helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def constant(self, array: np.ndarray, name: str) -> str:
        self.constants.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def normalised(self, image: str, mean: np.ndarray, std: np.ndarray) -> str:
        """x = (image / 255 - mean) / std, as image * scale + shift."""
        planes = self.node("Transpose", [self.node("Cast", [image], "values", to=1)], "planes", perm=[0, 3, 1, 2])
        scale, shift = 1 / (255 * std), -mean / std
        arrays = [array.astype(np.float32).reshape(1, 3, 1, 1) for array in (scale, shift)]
        scaled = self.node("Mul", [planes, self.constant(arrays[0], "input.scale")], "scaled")
        return self.node("Add", [scaled, self.constant(arrays[1], "input.shift")], "normalised")

    def network(self, x: str) -> str:
        """The logits of x."""
        outputs = {INPUT: x}
        *reads, last = pieces_of(self.program)
        for number, (step, inputs) in enumerate(zip(self.program.steps, reads)):
            name = step.name.partition(",")[0]
            values = [self._joined(pieces, outputs, f"{name}.input{n}") for n, pieces in enumerate(inputs)]
            outputs[number] = self._step(step, values, name)
        features = self._joined(last[0], outputs, "features.input")
        if self.program.weight is None or self.program.bias is None:
            return self.node("Flatten", [self.node("GlobalAveragePool", [features], "average")], "logits")
        flat = self.node("Flatten", [self.node("GlobalAveragePool", [features], "average")], "features")
        weight, bias = (
            self.constant(self.program.weight, "classifier.weight"),
            self.constant(self.program.bias, "classifier.bias"),
        )
        return self.node("Gemm", [flat, weight, bias], "logits")

    def _joined(self, pieces: list[Piece], outputs: dict[int, str], name: str) -> str:
        parts = [self._part(piece, outputs[piece.step], f"{name}.{n}") for n, piece in enumerate(pieces)]
        return parts[0] if len(parts) == 1 else self.node("Concat", parts, name, axis=1)

    def _part(self, piece: Piece, value: str, name: str) -> str:
        channels = 3 if piece.step == INPUT else self.program.steps[piece.step].y.channels
        if piece.count == channels:
            return value
        return self._channels(value, name, piece.first, piece.first + piece.count)

    def _channels(self, value: str, name: str, first: int, last: int) -> str:
        """Channels first to last - 1."""
        parts = {"starts": first, "ends": last, "axes": 1}
        arrays = [self.constant(np.array([number], np.int64), f"{name}.{part}") for part, number in parts.items()]
        return self.node("Slice", [value, *arrays], name)

    def _step(self, step: Step, values: list[str], name: str) -> str:
        match step:
            case Convolution():
                return self._convolution(step, values[0], name)
            case Sum():
                other = values[1]
                if step.other.size != step.y.size:
                    # Every other pixel of every other row, as an operator that every converter knows.
                    other = self.node("MaxPool", [other], f"{name}.samples", kernel_shape=(1, 1), strides=(2, 2))
                total = self.node("Add", [values[0], other], f"{name}.add")
                return self._activated(total, step.activation, name)
            case MaxPool():
                sides = {"kernel_shape": step.kernel, "strides": step.stride, "ceil_mode": 1}
                return self.node("MaxPool", values, name, **sides)
            case _:
                raise OptionError(f"{step.name}: ONNX has no such step; expected a convolution, a sum or a max pool")

    def _activated(self, value: str, activation: str | None, name: str) -> str:
        return value if activation is None else self.node(OPERATORS[activation], [value], f"{name}.{activation}")

    def _convolution(self, step: Convolution, x: str, name: str) -> str:
        shape = (step.y.channels, step.x.channels, *step.kernel)
        inputs = [x, self.constant(step.weight.T.reshape(shape), f"{name}.weight"), self.constant(step.bias, f"{name}.bias")]
        sides = {"kernel_shape": step.kernel, "strides": step.stride, "pads": step.pads}
        y = self.node("Conv", inputs, f"{name}.conv", **sides)
        channels = step.y.channels
        if step.activation is None or step.activated == channels:
            y = self._activated(y, step.activation, name)
        else:
            parts = [
                self._channels(y, f"{name}.part{first}", first, last)
                for first, last in ((0, step.activated), (step.activated, channels))
            ]
            y = self.node("Concat", [self._activated(parts[0], step.activation, name), parts[1]], f"{name}.parts", axis=1)
        if step.scale is None or step.shift is None:
            return y
        norm = {"scale": step.scale, "shift": step.shift, "mean": np.zeros_like(step.scale), "variance": np.ones_like(step.scale)}
        arrays = [self.constant(array, f"{name}.{part}") for part, array in norm.items()]
        # One node, which every runtime knows, instead of a multiplication and an addition.
        return self.node("BatchNormalization", [y, *arrays], f"{name}.norm", epsilon=0.0)

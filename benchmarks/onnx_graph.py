"""A network as an ONNX graph, built from its description and state as an exporter would.

Every batch norm that the description has is a node of its own, which a runtime may fold; `folding` folds more of them.
"""

import numpy as np
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

from minisqx.spec import (
    AveragePoolSpec,
    BottleneckSpec,
    ConvolutionSpec,
    DropoutSpec,
    FireSpec,
    LinearSpec,
    MaxPoolSpec,
    NetworkSpec,
    Unit,
)

OPSET = 17


class _Graph:
    def __init__(self, spec: NetworkSpec, state: dict[str, np.ndarray]):
        self.spec, self.state = spec, state
        self.nodes, self.weights = [], []

    def weight(self, name: str) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(self.state[name]), name))
        return name

    def node(self, operator: str, inputs: list[str], name: str, **attributes) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def convolution(self, x: str, layer: ConvolutionSpec) -> str:
        pads = [*layer.padding, *layer.padding]
        inputs = [x, self.weight(f"{layer.name}.weight"), self.weight(f"{layer.name}.bias")]
        return self.node("Conv", inputs, f"{layer.name}.conv", kernel_shape=layer.kernel, strides=layer.stride, pads=pads)

    def norm(self, x: str, layer: ConvolutionSpec) -> str:
        parts = [self.weight(f"{layer.name}.{part}") for part in ("gamma", "beta", "running_mean", "running_var")]
        return self.node("BatchNormalization", [x, *parts], f"{layer.name}.norm", epsilon=1e-5)

    def activation(self, x: str, activation: str | None, name: str) -> str:
        operators = {"elu": "Elu", "relu": "Relu"}
        return x if activation is None else self.node(operators[activation], [x], f"{name}.{activation}")

    def block(self, x: str, layer: ConvolutionSpec) -> str:
        x = self.convolution(x, layer)
        if layer.order == "conv-bn-act":
            x = self.norm(x, layer)
        x = self.activation(x, layer.activation, layer.name)
        return self.norm(x, layer) if layer.order == "conv-act-bn" else x

    def unit(self, x: str, unit: Unit) -> str:
        match unit:
            case ConvolutionSpec():
                return self.block(x, unit)
            case BottleneckSpec():
                main, shortcut = x, x
                for layer in unit.main:
                    main = self.block(main, layer)
                if unit.shortcut is not None:
                    shortcut = self.block(x, unit.shortcut)
                total = self.node("Add", [main, shortcut], f"{unit.name}.sum")
                return self.activation(total, unit.activation, unit.name)
            case FireSpec():
                x = self.block(x, unit.squeeze)
                return self.node("Concat", [self.block(x, unit.expand1), self.block(x, unit.expand3)], unit.name, axis=1)
            case MaxPoolSpec():
                sides = {"kernel_shape": [unit.kernel] * 2, "strides": [unit.stride] * 2, "ceil_mode": 1}
                return self.node("MaxPool", [x], unit.name, **sides)
            case DropoutSpec():
                return x
            case AveragePoolSpec():
                return self.node("Flatten", [self.node("GlobalAveragePool", [x], unit.name)], "features")
            case LinearSpec():
                weights = [self.weight(f"{unit.name}.{part}") for part in ("weight", "bias")]
                return self.node("Gemm", [x, *weights], "logits", transB=1)

    def network(self) -> str:
        x = "x"
        for unit in self.spec.units:
            x = self.unit(x, unit)
        return x


def onnx_model(spec: NetworkSpec, state: dict[str, np.ndarray], batch_size: int | str) -> ModelProto:
    """x (batch_size, 3, H, W) float32 -> logits (batch_size, classes). batch_size: a number, or the name of a free dimension."""
    graph = _Graph(spec, state)
    output = graph.network()
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch_size, 3, *spec.input_size])
    logits = helper.make_tensor_value_info(output, TensorProto.FLOAT, [batch_size, spec.num_classes])
    model = helper.make_model(
        helper.make_graph(graph.nodes, spec.name, [x], [logits], graph.weights),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,
    )
    checker.check_model(model)
    return model

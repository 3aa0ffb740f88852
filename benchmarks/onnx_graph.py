"""A network as an ONNX graph, for runtimes that read one: written from its description and state, as an exporter would leave it.

Batch norm after the ELU stays a node of its own; a runtime may fold what it can. The batch size is part of the graph, which lets
a runtime plan its memory.
"""

import numpy as np
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

from minisqx.spec import ConvolutionSpec, NetworkSpec

OPSET = 17


class _Graph:
    def __init__(self, spec: NetworkSpec, state: dict[str, np.ndarray]):
        self.spec, self.state = spec, state
        self.nodes, self.weights = [], []

    def weight(self, name: str) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(self.state[name]), name))
        return name

    def node(self, kind: str, inputs: list[str], name: str, **attributes) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def convolution(self, x: str, layer: ConvolutionSpec) -> str:
        pads = [*layer.padding, *layer.padding]
        inputs = [x, self.weight(f"{layer.name}.weight"), self.weight(f"{layer.name}.bias")]
        return self.node("Conv", inputs, f"{layer.name}.conv", kernel_shape=layer.kernel, strides=layer.stride, pads=pads)

    def norm(self, x: str, layer: ConvolutionSpec) -> str:
        parts = [self.weight(f"{layer.name}.{part}") for part in ("gamma", "beta", "running_mean", "running_var")]
        return self.node("BatchNormalization", [x, *parts], f"{layer.name}.norm", epsilon=1e-5)

    def activation(self, x: str, layer: ConvolutionSpec) -> str:
        return self.node("Elu", [x], f"{layer.name}.elu") if layer.activation else x

    def block(self, x: str, layer: ConvolutionSpec) -> str:
        x = self.convolution(x, layer)
        if self.spec.block_order == "conv-elu-bn":
            return self.norm(self.activation(x, layer), layer)
        return self.activation(self.norm(x, layer), layer)

    def network(self) -> str:
        x = self.block("x", self.spec.stem)
        for bottleneck in self.spec.bottlenecks:
            main, shortcut = x, x
            for layer in bottleneck.main:
                main = self.block(main, layer)
            if bottleneck.shortcut is not None:
                shortcut = self.block(x, bottleneck.shortcut)
            total = self.node("Add", [main, shortcut], f"{bottleneck.name}.sum")
            x = self.node("Elu", [total], f"{bottleneck.name}.elu")
        x = self.block(x, self.spec.head)
        x = self.node("Flatten", [self.node("GlobalAveragePool", [x], "pool")], "features")
        name = self.spec.classifier.name
        return self.node("Gemm", [x, self.weight(f"{name}.weight"), self.weight(f"{name}.bias")], "logits", transB=1)


def onnx_model(spec: NetworkSpec, state: dict[str, np.ndarray], batch_size: int) -> ModelProto:
    """x (batch_size, 3, H, W) float32 -> logits (batch_size, classes)."""
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

"""Exported ONNX graphs, run by the runtimes that are installed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from minisqx.inference.model import Model


def onnx_runtime(path: Path, x: np.ndarray) -> np.ndarray:
    runtime = pytest.importorskip("onnxruntime", reason="there is no onnxruntime: pip install onnxruntime")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: x})
    return found


def openvino(path: Path, x: np.ndarray) -> np.ndarray:
    runtime = pytest.importorskip("openvino", reason="there is no openvino: pip install openvino")
    # On some CPUs its default is bfloat16.
    network = runtime.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return network([x])[network.output(0)]


RUNTIMES: dict[str, Callable[[Path, np.ndarray], np.ndarray]] = {"ONNX Runtime": onnx_runtime, "OpenVINO": openvino}


def normalised(model: Model, images: np.ndarray) -> np.ndarray:
    """The network's input float32 (N, 3, H, W) of images uint8 (N, H, W, 3)."""
    x = np.stack([model._values[colour][images[..., colour]] for colour in range(3)], axis=1)
    return np.ascontiguousarray(x, np.float32)

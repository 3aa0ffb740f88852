"""Exported ONNX graphs, run by the runtimes that are installed."""

import subprocess
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


def ncnn(path: Path, x: np.ndarray) -> np.ndarray:
    """Converted by pnnx for one image of floats at a time."""
    runtime = pytest.importorskip("ncnn", reason="there is no ncnn: pip install ncnn")
    pnnx = pytest.importorskip("pnnx", reason="there is no pnnx: pip install pnnx")
    shape = ",".join(map(str, (1, *x.shape[1:])))
    files = [f"ncnnparam={path.with_suffix('.param')}", f"ncnnbin={path.with_suffix('.bin')}"]
    command = [pnnx.EXEC_PATH, path, f"inputshape=[{shape}]f32", "fp16=0", *files]
    subprocess.run(command, check=True, cwd=path.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    network = runtime.Net()
    network.opt.use_fp16_packed = network.opt.use_fp16_storage = network.opt.use_fp16_arithmetic = False
    network.load_param(str(path.with_suffix(".param")))
    network.load_model(str(path.with_suffix(".bin")))
    found = []
    for image in x:
        extractor = network.create_extractor()
        extractor.input("in0", runtime.Mat(image))
        found.append(np.array(extractor.extract("out0")[1]))
    return np.stack(found)


Runtime = Callable[[Path, np.ndarray], np.ndarray]
RUNTIMES: dict[str, Runtime] = {"ONNX Runtime": onnx_runtime, "OpenVINO": openvino}
CONVERTED: dict[str, Runtime] = {"ncnn": ncnn}  # from ONNX to a format of their own, for x alone


def normalised(model: Model, images: np.ndarray) -> np.ndarray:
    """The network's input float32 (N, 3, H, W) of images uint8 (N, H, W, 3)."""
    x = np.stack([model._values[colour][images[..., colour]] for colour in range(3)], axis=1)
    return np.ascontiguousarray(x, np.float32)

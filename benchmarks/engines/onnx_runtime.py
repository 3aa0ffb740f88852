"""ONNX Runtime: all optimisations, input and output bound to memory of the caller."""

from pathlib import Path

import numpy as np

from benchmarks.engines.engine import Engine, Network, Size


class OnnxRuntime(Engine):
    ending = "onnx"

    @staticmethod
    def write(network: Network, file: Path, samples: np.ndarray, precision: str) -> None:
        file.write_bytes(network.onnx())
        if precision == "int8":
            _quantize(file, samples)

    def __init__(self, file: Path, size: Size, batch_size: int, threads: int) -> None:
        import onnxruntime

        super().__init__(file, size, batch_size, threads)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.add_free_dimension_override_by_name("N", batch_size)
        self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        output = self.session.get_outputs()[0]
        self.logits = np.empty(output.shape, np.float32)
        self.binding = self.session.io_binding()
        self.binding.bind_input("x", "cpu", 0, np.float32, self.x.shape, self.x.ctypes.data)
        self.binding.bind_output(output.name, "cpu", 0, np.float32, self.logits.shape, self.logits.ctypes.data)

    def call(self) -> np.ndarray:
        self.session.run_with_iobinding(self.binding)
        return self.logits


def _quantize(file: Path, samples: np.ndarray) -> None:
    """Static quantisation in QDQ form, with a scale for each channel of the weights."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Samples(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(samples)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(({"x": one[None]} for one in self.left), None)

    quant_pre_process(file, file, skip_symbolic_shape=True)
    quantize_static(file, file, Samples(), per_channel=True)

"""OpenVINO: one request on all threads, or a stream on each thread with the batch's chunks as asynchronous requests."""

from pathlib import Path

import numpy as np

from benchmarks.engines.engine import Engine, Network, Size

PRECISIONS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}  # of int8, for what isn't quantised


class OpenVino(Engine):
    """precision: None leaves all but the number of threads to OpenVINO."""

    ending = "xml"

    @staticmethod
    def write(network: Network, file: Path, samples: np.ndarray, precision: str) -> None:
        import openvino

        model = openvino.Core().read_model(network.onnx())
        if precision == "int8":
            import nncf

            model.reshape([1, *samples.shape[1:]])
            model = nncf.quantize(model, nncf.Dataset([one[None] for one in samples]))
        openvino.save_model(model, file, compress_to_fp16=False)

    def __init__(
        self,
        file: Path,
        size: Size,
        batch_size: int,
        threads: int,
        precision: str | None = "float32",
        chunk: int | None = None,
    ) -> None:
        import openvino

        super().__init__(file, size, batch_size, threads)
        self.chunk = chunk or batch_size
        settings: dict[str, object] = {"INFERENCE_NUM_THREADS": threads}
        if precision is not None:
            settings["PERFORMANCE_HINT"] = "THROUGHPUT" if chunk else "LATENCY"
            settings["INFERENCE_PRECISION_HINT"] = PRECISIONS[precision]
            settings["NUM_STREAMS"] = threads if chunk else 1
        core = openvino.Core()
        model = core.read_model(file)
        model.reshape([self.chunk, 3, *size])
        compiled = core.compile_model(self._prepared(model), "CPU", settings)
        self.logits = np.empty((batch_size, compiled.output(0).shape[1]), np.float32)
        self.requests = []
        for first in range(0, batch_size, self.chunk):
            request, part = compiled.create_infer_request(), slice(first, first + self.chunk)
            request.set_input_tensor(openvino.Tensor(self.x[part], shared_memory=True))
            request.set_output_tensor(openvino.Tensor(self.logits[part], shared_memory=True))
            self.requests.append(request)

    def _prepared(self, model):
        return model

    def call(self) -> np.ndarray:
        if len(self.requests) == 1:
            self.requests[0].infer()
            return self.logits
        for request in self.requests:
            request.start_async()
        for request in self.requests:
            request.wait()
        return self.logits


class OpenVinoPixels(OpenVino):
    """The same with the conversion of pixels in its graph. x: uint8 (batch_size, H, W, 3)."""

    def __init__(self, *arguments, mean: tuple[float, ...], std: tuple[float, ...], **options) -> None:
        self.mean, self.std = mean, std
        super().__init__(*arguments, **options)

    @staticmethod
    def buffer(batch_size: int, size: Size) -> np.ndarray:
        return np.zeros((batch_size, *size, 3), np.uint8)

    def _prepared(self, model):
        from openvino import Layout, Type
        from openvino.preprocess import PrePostProcessor

        processor = PrePostProcessor(model)
        processor.input().tensor().set_element_type(Type.u8).set_layout(Layout("NHWC"))
        processor.input().model().set_layout(Layout("NCHW"))
        steps = processor.input().preprocess().convert_element_type(Type.f32)
        steps.mean([255 * value for value in self.mean]).scale([255 * value for value in self.std])
        return processor.build()

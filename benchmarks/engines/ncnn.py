"""ncnn, from a file that pnnx wrote. It has no batches: images go one after the other."""

import subprocess
from pathlib import Path

import numpy as np

from benchmarks.engines.engine import Engine, Network, Size


class Ncnn(Engine):
    ending = "param"

    @staticmethod
    def write(network: Network, file: Path, samples: np.ndarray, precision: str) -> None:
        import pnnx

        graph = file.with_suffix(".onnx")
        graph.write_bytes(network.onnx())
        shape = ",".join(str(side) for side in (1, 3, *network.spec.input_size))
        files = [f"ncnnparam={file}", f"ncnnbin={file.with_suffix('.bin')}"]
        command = [pnnx.EXEC_PATH, graph, f"inputshape=[{shape}]f32", "fp16=0", *files]
        subprocess.run(command, check=True, cwd=file.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __init__(self, file: Path, size: Size, batch_size: int, threads: int, precision: str = "float32") -> None:
        import ncnn

        super().__init__(file, size, batch_size, threads)
        self.Mat, self.net = ncnn.Mat, ncnn.Net()
        options = self.net.opt
        options.num_threads, options.use_bf16_storage = threads, precision == "bfloat16"
        options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
        self.net.load_param(str(file))
        self.net.load_model(str(file.with_suffix(".bin")))

    def call(self) -> np.ndarray:
        return np.stack([self._logits(image) for image in self.x])

    def _logits(self, image: np.ndarray) -> np.ndarray:
        extractor = self.net.create_extractor()
        extractor.input("in0", self._mat(image))
        return np.array(extractor.extract("out0")[1])

    def _mat(self, image: np.ndarray):
        return self.Mat(image)


class NcnnPixels(Ncnn):
    """The same with its own conversion of pixels. x: uint8 (batch_size, H, W, 3)."""

    def __init__(self, *arguments, mean: tuple[float, ...], std: tuple[float, ...], **options) -> None:
        super().__init__(*arguments, **options)
        self.mean, self.factors = [255 * value for value in mean], [1 / (255 * value) for value in std]

    @staticmethod
    def buffer(batch_size: int, size: Size) -> np.ndarray:
        return np.zeros((batch_size, *size, 3), np.uint8)

    def _mat(self, image: np.ndarray):
        mat = self.Mat.from_pixels(image, self.Mat.PixelType.PIXEL_RGB, image.shape[1], image.shape[0])
        mat.substract_mean_normalize(self.mean, self.factors)
        return mat

"""LiteRT, once TensorFlow Lite, with XNNPACK, from a file that TensorFlow's converter wrote."""

from pathlib import Path

import numpy as np

from benchmarks.engines.engine import Engine, Network, Size


class LiteRt(Engine):
    ending = "tflite"

    @staticmethod
    def write(network: Network, file: Path, samples: np.ndarray, precision: str) -> None:
        import tensorflow as tf

        from benchmarks.tensorflow_twin import TensorFlowTwin

        units, state = network.units()
        twin = TensorFlowTwin(units, state)
        function = tf.function(lambda x: twin(x, training=False), autograph=False)
        shape = tf.TensorSpec((None, *units.input_size, 3))
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function(shape)])
        if precision == "int8":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([one[None]] for one in samples.transpose(0, 2, 3, 1))
        file.write_bytes(converter.convert())

    @staticmethod
    def buffer(batch_size: int, size: Size) -> np.ndarray:
        return np.zeros((batch_size, *size, 3), np.float32).transpose(0, 3, 1, 2)

    def __init__(self, file: Path, size: Size, batch_size: int, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        super().__init__(file, size, batch_size, threads)
        self.interpreter = Interpreter(str(file), num_threads=threads)
        self.input, self.output = (
            details[0]["index"] for details in (self.interpreter.get_input_details(), self.interpreter.get_output_details())
        )
        self.interpreter.resize_tensor_input(self.input, (batch_size, *size, 3))
        self.interpreter.allocate_tensors()
        self.nhwc = self.x.transpose(0, 2, 3, 1)

    def call(self) -> np.ndarray:
        self.interpreter.set_tensor(self.input, self.nhwc)
        self.interpreter.invoke()
        return self.interpreter.get_tensor(self.output)

"""PyTorch, channels last: compiled for inference, with the weights frozen into the graph, or eager."""

from pathlib import Path

import numpy as np

from benchmarks.engines.engine import Engine, Network, Size


class PyTorch(Engine):
    ending = "pt"

    @staticmethod
    def write(network: Network, file: Path, samples: np.ndarray, precision: str) -> None:
        import torch

        torch.save(network.units(), file)

    @staticmethod
    def buffer(batch_size: int, size: Size) -> np.ndarray:
        return np.zeros((batch_size, *size, 3), np.float32).transpose(0, 3, 1, 2)

    def __init__(
        self, file: Path, size: Size, batch_size: int, threads: int, precision: str = "float32", compiled: bool = True
    ) -> None:
        import torch
        import torch._inductor.config

        from tests import torch_twin

        super().__init__(file, size, batch_size, threads)
        torch.set_num_threads(threads)
        torch._inductor.config.freezing = True
        network, state = torch.load(file, weights_only=False)
        twin = torch_twin.TorchTwin(network).eval()
        torch_twin.to_torch(state, twin)
        twin = twin.to(memory_format=torch.channels_last)
        self.twin = torch.compile(twin) if compiled else twin
        self.input, self.torch = torch.as_tensor(self.x), torch
        self.autocast = precision == "bfloat16"

    def call(self) -> np.ndarray:
        torch = self.torch
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
            return self.twin(self.input).float().numpy()

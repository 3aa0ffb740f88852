"""PyTorch as the peer in training: the twin of the tests, eager or compiled, contiguous or channels-last.

Its optimizer is the fused SGD, the fastest of its three on a CPU; gradients are set to None between steps.
"""

from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional

from benchmarks.turns import Steps
from minisqx.spec import NetworkSpec
from tests import torch_twin

FORMATS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}


def why_not(spec: NetworkSpec, memory_format: str) -> str | None:
    """Why PyTorch can't train a network in this memory format, or None.

    The weight gradient of oneDNN's 1x1 convolution writes past its workspace for stride 2, channels-last tensors and fewer than
    16 input channels (one block of its kernel): wrong numbers, a crash or a hang. uxlfoundation/oneDNN issue 6035.
    """
    strided = [layer for layer in spec.convolutions if layer.stride == (2, 2) and layer.kernel == (1, 1)]
    few = [layer.name for layer in strided if layer.in_channels < 16]
    if memory_format == "channels-last" and few:
        return f"oneDNN issue 6035: {few[0]} has a stride and fewer than 16 input channels"
    return None


class TorchPeer(Steps):
    """The twin in training mode with one batch, x (N, 3, H, W) float32 and labels (N,), stored in its memory format.

    autocast: convolutions and products in bfloat16.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        state: dict[str, np.ndarray],
        x: np.ndarray,
        labels: np.ndarray,
        threads: int,
        memory_format: str,
        compiled: bool,
        autocast: bool = False,
    ) -> None:
        torch.set_num_threads(threads)
        self.autocast = torch.autocast("cpu", torch.bfloat16, enabled=autocast)
        self.spec, self.state, self.memory_format, self.compiled = spec, state, FORMATS[memory_format], compiled
        self.x = torch.as_tensor(x).contiguous(memory_format=self.memory_format)
        self.labels = torch.as_tensor(labels)
        self.twin = self._twin(spec)
        self.run = torch.compile(self.twin) if compiled else self.twin
        self.optimizer = torch.optim.SGD(
            self.twin.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4, fused=True
        )

    def _twin(self, spec: NetworkSpec) -> torch_twin.TorchTwin:
        twin = torch_twin.TorchTwin(spec)
        torch_twin.to_torch(self.state, twin)
        return twin.to(memory_format=self.memory_format).train()

    def step(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self._loss(self.run, self.x).backward()
        self.optimizer.step()

    def _loss(self, run: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        with self.autocast:
            return functional.cross_entropy(run(x), self.labels)

    def outcome(self, dtype: str = "float32") -> tuple[float, dict[str, np.ndarray]]:
        """Loss and gradients of the first step without dropout."""
        twin = self._twin(self._without_dropout()).to(getattr(torch, dtype))
        run = torch.compile(twin) if self.compiled else twin
        loss = self._loss(run, self.x.to(getattr(torch, dtype)))
        loss.backward()
        return loss.item(), torch_twin.gradients(twin)

    def _without_dropout(self) -> NetworkSpec:
        return replace(self.spec, dropout=0.0)

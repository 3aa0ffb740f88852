"""The same network in PyTorch, built from a `NetworkSpec`: made for the golden files and as the peer of the benchmarks.

Only these two import it, so the tests themselves never need PyTorch. The twin uses PyTorch's own modules and knows nothing of
the kernels; tensors go in and out under minisqx's names (`stem.weight`, `stage1.block1.conv1.gamma`, ...).

Source: the paper's text, as `minisqx/spec.py` gives it. Basic block: convolution with bias, ELU, batch norm, or with the last two
exchanged. Bottleneck: ELU of the sum. Dropout stands before the head's basic block.
"""

from collections import OrderedDict
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from minisqx.spec import BottleneckSpec, ConvolutionSpec, NetworkSpec

# PyTorch's end of a name -> minisqx's. `num_batches_tracked` has no counterpart: momentum is constant.
ENDINGS = {
    "conv.weight": "weight",
    "conv.bias": "bias",
    "norm.weight": "gamma",
    "norm.bias": "beta",
    "norm.running_mean": "running_mean",
    "norm.running_var": "running_var",
}


class BasicBlock(nn.Module):
    """Convolution, activation and batch norm in the order that the network's options give."""

    def __init__(self, layer: ConvolutionSpec, block_order: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel, layer.stride, layer.padding)
        self.norm = nn.BatchNorm2d(layer.out_channels, eps=1e-5, momentum=0.1)
        self.activation = nn.ELU() if layer.activation else nn.Identity()
        self.activation_first = block_order == "conv-elu-bn"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.activation_first:
            return self.norm(self.activation(self.conv(x)))
        return self.activation(self.norm(self.conv(x)))


class Bottleneck(nn.Module):
    """Five basic blocks in a row, plus the shortcut or the input itself, then ELU."""

    def __init__(self, block: BottleneckSpec, block_order: str) -> None:
        super().__init__()
        self.main_names = [layer.name.split(".")[-1] for layer in block.main]
        for layer in block.convolutions:
            self.add_module(layer.name.split(".")[-1], BasicBlock(layer, block_order))
        if block.shortcut is None:
            self.shortcut = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        main = x
        for name in self.main_names:
            main = getattr(self, name)(main)
        return functional.elu(main + self.shortcut(x))


class Mask(nn.Module):
    """Dropout with a mask that is given: 1 keeps an element, 0 drops it; evaluation passes everything."""

    def __init__(self, mask: torch.Tensor, probability: float) -> None:
        super().__init__()
        self.register_buffer("mask", mask, persistent=False)
        self.probability = probability

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * (self.mask / (1 - self.probability)) if self.training else x


class TorchTwin(nn.Module):
    """`ShallowSqueezeNext` as a PyTorch module. x (N, 3, H, W) -> logits (N, classes).

    mask: dropout's mask (N, C, H, W) of zeros and ones at the head's input; without it PyTorch draws its own.
    """

    def __init__(self, spec: NetworkSpec, mask: np.ndarray | None = None) -> None:
        super().__init__()
        self.stem = BasicBlock(spec.stem, spec.block_order)
        stages: dict[str, OrderedDict[str, Bottleneck]] = {}
        for block in spec.bottlenecks:
            stage, name = block.name.split(".")
            stages.setdefault(stage, OrderedDict())[name] = Bottleneck(block, spec.block_order)
        self.stage_names = list(stages)
        for stage, blocks in stages.items():
            self.add_module(stage, nn.Sequential(blocks))
        self.dropout = nn.Dropout(spec.dropout) if mask is None else Mask(torch.as_tensor(mask), spec.dropout)
        self.head = BasicBlock(spec.head, spec.block_order)
        self.classifier = nn.Linear(spec.classifier.in_features, spec.classifier.out_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for stage in self.stage_names:
            x = getattr(self, stage)(x)
        x = self.head(self.dropout(x))
        return self.classifier(x.mean(dim=(2, 3)))


def minisqx_name(name: str) -> str:
    """`stem.norm.weight` -> `stem.gamma`; names of the linear layer stay."""
    for ending, ours in ENDINGS.items():
        if name.endswith("." + ending):
            return name[: -len(ending)] + ours
    return name


def _tensors(twin: nn.Module) -> dict[str, torch.Tensor]:
    named = [*twin.named_parameters(), *twin.named_buffers()]
    return {minisqx_name(name): tensor for name, tensor in named if not name.endswith(("num_batches_tracked", "mask"))}


def to_torch(state: Mapping[str, np.ndarray], twin: nn.Module) -> None:
    """Copies a minisqx state dict into the twin; both must have the same names and shapes."""
    tensors = _tensors(twin)
    if set(tensors) != set(state):
        raise KeyError(f"state and twin differ in {sorted(set(tensors) ^ set(state))}")
    with torch.no_grad():
        for name, tensor in tensors.items():
            array = np.asarray(state[name])
            if array.shape != tuple(tensor.shape):
                raise ValueError(f"{name}: state {array.shape}, twin {tuple(tensor.shape)}")
            tensor.copy_(torch.as_tensor(array))


def from_torch(twin: nn.Module) -> dict[str, np.ndarray]:
    """The twin's parameters and running statistics as copies, under minisqx's names."""
    return {name: tensor.detach().numpy().copy() for name, tensor in _tensors(twin).items()}


def gradients(twin: nn.Module) -> dict[str, np.ndarray]:
    """Every parameter's gradient as a copy, under minisqx's names, after a backward pass."""
    return {minisqx_name(name): parameter.grad.numpy().copy() for name, parameter in twin.named_parameters()}


def forward_with_activations(twin: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, np.ndarray]]:
    """Logits; and by name the output (N, C, H, W) of every basic block and bottleneck, and the head's mean `pooled` (N, C)."""
    found: dict[str, np.ndarray] = {}

    def keep(name: str):
        return lambda module, inputs, output: found.__setitem__(name, output.detach().numpy().copy())

    hooks = [
        module.register_forward_hook(keep(name))
        for name, module in twin.named_modules()
        if isinstance(module, (BasicBlock, Bottleneck))
    ]
    hooks.append(
        twin.classifier.register_forward_pre_hook(
            lambda module, inputs: found.__setitem__("pooled", inputs[0].detach().numpy().copy())
        )
    )
    logits = twin(x)
    for hook in hooks:
        hook.remove()
    return logits, found

"""A network in PyTorch, built from its `NetworkSpec`, for the golden files and as the peer of the benchmarks.

Only these two import it, so the tests themselves don't need PyTorch. The twin uses PyTorch's own modules and is independent of
the kernels; its tensors are exchanged under minisqx's names (`stem.weight`, `stage1.block1.conv1.gamma`, ...).

Source: the paper's text, as `spec/squeezenext.py` gives it, and the public SqueezeNet, as `spec/squeezenet.py` does.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from minisqx.spec import (
    AveragePoolSpec,
    BottleneckSpec,
    ConvolutionSpec,
    DropoutSpec,
    FireSpec,
    LinearSpec,
    MaxPoolSpec,
    NetworkSpec,
    Unit,
)

# PyTorch's end of a name -> minisqx's. `num_batches_tracked` has no counterpart: momentum is constant.
ENDINGS = {
    "conv.weight": "weight",
    "conv.bias": "bias",
    "norm.weight": "gamma",
    "norm.bias": "beta",
    "norm.running_mean": "running_mean",
    "norm.running_var": "running_var",
}


ACTIVATIONS = {"elu": nn.ELU, "relu": nn.ReLU, None: nn.Identity}


class BasicBlock(nn.Module):
    """Convolution, activation and batch norm, as many and in the order that the description gives."""

    def __init__(self, layer: ConvolutionSpec) -> None:
        super().__init__()
        self.conv = nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel, layer.stride, layer.padding)
        norm = {"norm": nn.BatchNorm2d(layer.out_channels, eps=1e-5, momentum=0.1)} if layer.has_norm else {}
        activation = {"activation": ACTIVATIONS[layer.activation]()}
        self.rest = list(activation | norm if layer.order == "conv-act-bn" else norm | activation)
        for name, module in (norm | activation).items():
            self.add_module(name, module)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        for name in self.rest:
            x = getattr(self, name)(x)
        return x


class Bottleneck(nn.Module):
    """Five basic blocks in a row, plus the shortcut or the input itself, then the activation."""

    def __init__(self, block: BottleneckSpec) -> None:
        super().__init__()
        self.main_names = [layer.name.split(".")[-1] for layer in block.main]
        for layer in block.layers:
            self.add_module(layer.name.split(".")[-1], BasicBlock(layer))
        if block.shortcut is None:
            self.shortcut = nn.Identity()
        self.activation = ACTIVATIONS[block.activation]()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        main = x
        for name in self.main_names:
            main = getattr(self, name)(main)
        return self.activation(main + self.shortcut(x))


class Fire(nn.Module):
    """Squeeze, then the two expansions, concatenated."""

    def __init__(self, fire: FireSpec) -> None:
        super().__init__()
        self.squeeze, self.expand1, self.expand3 = map(BasicBlock, fire.layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        squeezed = self.squeeze(x)
        return torch.cat([self.expand1(squeezed), self.expand3(squeezed)], 1)


class MaxPool(nn.MaxPool2d):
    """A class of its own, so that its output is among the activations."""


class Average(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(2, 3))


class Mask(nn.Module):
    """Dropout with a mask that is given: 1 keeps an element, 0 drops it; evaluation passes everything."""

    def __init__(self, mask: torch.Tensor, probability: float) -> None:
        super().__init__()
        self.register_buffer("mask", mask, persistent=False)
        self.probability = probability

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * (self.mask / (1 - self.probability)) if self.training else x


class TorchTwin(nn.Module):
    """A network as a PyTorch module. x (N, 3, H, W) -> logits (N, classes).

    mask: dropout's mask (N, C, H, W) of zeros and ones at its input; without it PyTorch draws its own.
    """

    def __init__(self, spec: NetworkSpec, mask: np.ndarray | None = None) -> None:
        super().__init__()
        for unit in spec.units:
            # stage1.block1 is the module block1 of the module stage1.
            *outer, name = unit.name.split(".")
            parent: nn.Module = self
            for part in outer:
                if part not in dict(parent.named_children()):
                    parent.add_module(part, nn.Module())
                parent = getattr(parent, part)
            parent.add_module(name, self._module(unit, mask))
        self.sequence = [self.get_submodule(unit.name) for unit in spec.units]

    def _module(self, unit: Unit, mask: np.ndarray | None) -> nn.Module:
        match unit:
            case ConvolutionSpec():
                return BasicBlock(unit)
            case BottleneckSpec():
                return Bottleneck(unit)
            case FireSpec():
                return Fire(unit)
            case MaxPoolSpec():
                return MaxPool(unit.kernel, unit.stride, ceil_mode=True)
            case DropoutSpec():
                return nn.Dropout(unit.probability) if mask is None else Mask(torch.as_tensor(mask), unit.probability)
            case AveragePoolSpec():
                return Average()
            case LinearSpec():
                return nn.Linear(unit.in_features, unit.out_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for module in self.sequence:
            x = module(x)
        return x


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
    """Logits; and by name the output of every basic block, bottleneck, fire module and pool."""
    found: dict[str, np.ndarray] = {}

    def keep(name: str):
        return lambda module, inputs, output: found.__setitem__(name, output.detach().numpy().copy())

    hooks = [
        module.register_forward_hook(keep(name))
        for name, module in twin.named_modules()
        if isinstance(module, (BasicBlock, Bottleneck, Fire, MaxPool, Average))
    ]
    logits = twin(x)
    for hook in hooks:
        hook.remove()
    return logits, found

"""A network: its layers in order, and one flat buffer each for parameters, gradients and running statistics."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from minisqx import flat
from minisqx.checks import is_whole, plain, require
from minisqx.current_plan import CurrentPlan
from minisqx.errors import CheckpointError, OptionError
from minisqx.kernels.layout import Layout
from minisqx.kernels.structures import Parameters
from minisqx.layers import (
    AveragePool,
    BasicBlock,
    Bottleneck,
    Concatenation,
    Dropout,
    Fire,
    Layer,
    Linear,
    MaxPool,
    Workspace,
    materialise,
)
from minisqx.layers.part import Layers
from minisqx.machine.limits import size_text
from minisqx.plan import Plan
from minisqx.spec import (
    AveragePoolSpec,
    BottleneckSpec,
    ConvolutionSpec,
    DropoutSpec,
    FireSpec,
    LinearSpec,
    MaxPoolSpec,
    NetworkSpec,
    Size,
    Unit,
)
from minisqx.spec.squeezenext import SqueezeNextSpec

DTYPES = ("float32", "float64")
BUFFERS = ("flat_parameters", "flat_gradients", "flat_buffers")
# Put in place of these, another object would be passed over: by the layers, which hold views, or by inference, which follows the
# description.
FIXED = ("spec", "dtype", "seed", "layers", *BUFFERS)
# What follows from them and is made anew in a copy.
_DERIVED = (
    "layers", "_row", "_stem", "_workspace", "_layout", "_idle",
    "_parameters", "_gradients", "_buffers", "_parameter_sections", "_gradient_sections", "_buffer_sections",
    "_current_plan",
)  # fmt: skip


class Network:
    """A network of any family, with `forward` and `backward` and no autograd.

    spec: what it is. seed: of the initial weights and of dropout's masks. dtype: "float32", or "float64" for checking gradients.
    classes, mean, std: what `save` writes with it, as in `Checkpoint`; None until you set them, or from the model that it is of.

    Weights start Xavier uniform with gain sqrt(2), biases at 0, as in the authors' code.

    A copy (`copy.copy`, `copy.deepcopy`, pickle) has buffers of its own, and layers that work on those.
    """

    classes: Sequence[str] | None
    mean: Sequence[float] | None
    std: Sequence[float] | None

    def __init__(self, spec: NetworkSpec, seed: int = 0, dtype: str = "float32"):
        self.spec = spec
        self.dtype = _checked_dtype(dtype)
        self.seed = plain(seed)
        require(is_whole(self.seed, 0, 2**63 - 1), "seed", self.seed, "a whole number from 0 to 9223372036854775807")
        self.dropout_step = 0
        self.classes = self.mean = self.std = None
        self._make("before any forward pass")
        self._initialise()

    def _make(self, idle: str) -> None:
        """Allocates the buffers and makes the layers. idle: why there is nothing for `backward`, in words."""
        self._workspace = Workspace(self.dtype)
        self._allocate()
        self._row: tuple[Layer, ...] = tuple(self._layer(unit) for unit in self.spec.units)
        first = self._row[0]
        if not isinstance(first, BasicBlock):
            raise OptionError(f"{self.spec.units[0]!r}: expected a convolution as a network's first unit")
        self._stem = first  # its backward alone may throw away the gradient of its input
        self.layers = Layers(dict(zip((unit.name for unit in self.spec.units), self._row)))
        self._idle = idle

    def __getstate__(self) -> dict:
        return {name: value for name, value in vars(self).items() if name not in _DERIVED}

    def __setstate__(self, state: dict) -> None:
        vars(self).update((name, value) for name, value in state.items() if name not in BUFFERS)
        self._make("of a copy, which has no forward pass of its own")
        for name in BUFFERS:
            getattr(self, name)[:] = state[name]

    def __setattr__(self, name: str, value: object) -> None:
        if name in FIXED and value is not vars(self).get(name, value):
            todo = f"write into it, as in net.{name}[:] = values" if name in BUFFERS else "make a new network"
            raise OptionError(f"{name} of a network can't be replaced, since its layers are made for the one it has: {todo}")
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        spec, (height, width) = self.spec, self.spec.input_size
        what = f"{size_text(height, width)}, {spec.num_classes} classes, {spec.parameters} parameters"
        return f"{type(self).__name__}({spec.name}: {what}, {self.dtype})"

    def _allocate(self) -> None:
        """Cuts the flat buffers into tensors. Convolutions of one group lie next to each other, so that their weights
        are one matrix, too.
        """
        sections = []
        groups: list[tuple[ConvolutionSpec | LinearSpec, ...]] = [*self.spec.groups]
        groups += [(layer,) for layer in self.spec.layers if isinstance(layer, LinearSpec)]
        for group in groups:
            sections += [
                [(f"{layer.name}.{kind}", layer.parameter_shapes[kind]) for layer in group] for kind in group[0].parameter_shapes
            ]
        statistics = [
            [(f"{layer.name}.{kind}", layer.buffer_shapes[kind]) for layer in group]
            for group in self.spec.groups
            for kind in group[0].buffer_shapes
        ]
        self.flat_parameters, self.flat_gradients = flat.zeros(sections, self.dtype), flat.zeros(sections, self.dtype)
        self.flat_buffers = flat.zeros(statistics, self.dtype)
        self._parameters, self._parameter_sections = flat.cut(self.flat_parameters, sections)
        self._gradients, self._gradient_sections = flat.cut(self.flat_gradients, sections)
        self._buffers, self._buffer_sections = flat.cut(self.flat_buffers, statistics)
        self._current_plan = CurrentPlan(self.spec, (sections, statistics))

    def _layer(self, unit: Unit) -> Layer:
        """The layer that computes one unit of the description."""
        match unit:
            case ConvolutionSpec():
                return self._basic_block((unit,))
            case BottleneckSpec():
                # The sum before it gives only the pixels that a stride would read: what is left is a stride of 1.
                groups = (tuple(replace(s, stride=(1, 1), input_size=s.output_size) for s in group) for group in unit.groups)
                return Bottleneck(unit, [self._basic_block(group) for group in groups], self._workspace)
            case FireSpec():
                side_by_side = Concatenation(unit.output_shape[0], self._workspace)
                squeeze, expand1 = self._basic_block((unit.squeeze,)), self._basic_block((unit.expand1,), side_by_side)
                expand3 = self._basic_block((unit.expand3,), side_by_side, row=unit.expand1.out_channels)
                return Fire(unit, [squeeze, expand1, expand3], self._workspace)
            case MaxPoolSpec():
                return MaxPool(unit, self._workspace)
            case DropoutSpec():
                return Dropout(unit, self.seed, self._workspace)
            case AveragePoolSpec():
                return AveragePool(unit, self._workspace)
            case LinearSpec():
                named = (self._parameters, self._gradients)
                return Linear(unit.name, *(tensors[f"{unit.name}.{kind}"] for tensors in named for kind in ("weight", "bias")))
            case _:
                raise OptionError(f"{unit!r}: there is no such layer; expected a unit of minisqx.spec")

    def _basic_block(self, group: tuple[ConvolutionSpec, ...], concatenation: Concatenation | None = None, row: int = 0):
        first, empty = group[0], np.empty(0, self.dtype)

        def parameters(sections) -> Parameters:
            weight, *others = (sections.get(f"{first.name}.{kind}", empty) for kind in ("weight", "bias", "gamma", "beta"))
            return Parameters(weight.reshape(-1, math.prod(first.weight_shape[1:])), *others)

        mean, variance = (self._buffer_sections.get(f"{first.name}.{kind}", empty) for kind in ("running_mean", "running_var"))
        both = parameters(self._parameter_sections), parameters(self._gradient_sections)
        return BasicBlock(group, *both, mean, variance, self._workspace, concatenation, row)

    def _initialise(self) -> None:
        generator = np.random.default_rng(self.seed)
        self.flat_buffers[:] = 0
        for name, buffer in self.buffers().items():
            buffer[:] = 1 if name.endswith("running_var") else 0
        for name, parameter in self.parameters().items():
            if name.endswith("weight"):
                field = math.prod(parameter.shape[2:])
                bound = math.sqrt(2) * math.sqrt(6 / (field * (parameter.shape[0] + parameter.shape[1])))
                parameter[:] = generator.uniform(-bound, bound, parameter.shape)
            else:
                parameter[:] = 1 if name.endswith("gamma") else 0

    def forward(self, x, training: bool = False) -> np.ndarray:
        """Logits (N, num_classes) of x: an array (N, 3, H, W), normalised, or a loader's batch.

        H and W are whatever the strides allow.

        With training=True, batch norm uses and updates the batch's statistics, dropout is drawn, and what `backward`
        needs is kept.

        Otherwise several threads may call it at once. It uses every parameter and buffer as it is when the call begins; a number
        that another thread writes during the call counts with its old or its new value.
        """
        if not training:
            plan = self._current_plan.of(self.flat_parameters, self.flat_buffers)
            return plan.run(*self._checked_batch(x)) if hasattr(x, "layout") else plan.run_images(self._checked_images(x))
        data, layout = self._packed(x)
        self.dropout_step += 1
        self._idle = "after a forward pass that failed"
        self._layout = layout
        y: Any = self._workspace.plain(data, layout)  # an Activation, and after the last layer the logits
        self._workspace.dropout_step = self.dropout_step
        for layer in self._row:
            y = layer.forward(y)
        self._idle = ""
        return y

    def backward(self, dlogits: np.ndarray, input_gradient: bool = False) -> np.ndarray | None:
        """Fills `gradients()` from dlogits (N, num_classes); returns dx (N, 3, H, W) if `input_gradient`.

        It uses up what the last training forward pass kept, so each forward pass has one backward pass.
        """
        self._require_forward("backward")
        dlogits = np.asarray(dlogits)
        expected = (self._layout.images, self.spec.num_classes)
        if dlogits.shape != expected or dlogits.dtype.kind != "f":
            raise OptionError(f"dlogits {dlogits.dtype} of shape {dlogits.shape}: expected floats of shape {expected}")
        self._idle = "after backward, which has used up the forward pass"
        gradient: Any = np.ascontiguousarray(dlogits, self.dtype)
        for layer in reversed(self._row[1:]):
            gradient = layer.backward(gradient)
        gradient = self._stem.backward(gradient, keep_dz=input_gradient)
        if not input_gradient:
            return None
        layout = self._layout
        return layout.unpack(materialise(gradient, self._workspace.empty(layout, 3), layout, self._workspace))

    def _require_forward(self, what: str) -> None:
        if self._idle:
            raise OptionError(
                f"{what} {self._idle}: call it after forward(x, training=True); each forward pass has one backward, at its end"
            )

    def plan(self) -> Plan:
        """A frozen copy of the network as it is now, for inference; later changes of the network don't change it."""
        return Plan(self.spec, self.state_dict())

    def _packed(self, x) -> tuple[np.ndarray, Layout]:
        if hasattr(x, "layout"):
            return self._checked_batch(x)
        x = self._checked_images(x)
        layout = Layout.of_batch(x.shape[0], x.shape[2], x.shape[3], self.dtype, self.spec.larger_chunks)
        return layout.pack(x.astype(self.dtype, copy=False), layout.empty(3, self.dtype)), layout

    def _checked_batch(self, batch) -> tuple[np.ndarray, Layout]:
        data, layout = batch.data, batch.layout
        if data.dtype != self.dtype or data.shape != (layout.chunks, 3, layout.stride):
            raise OptionError(
                f"a batch of {data.dtype}, packed as {data.shape}: expected {self.dtype}, from a loader of that dtype"
            )
        self._check_size((layout.height, layout.width))
        return data, layout

    def _checked_images(self, x) -> np.ndarray:
        x = np.asarray(x)
        if x.ndim != 4 or x.shape[1] != 3 or x.shape[0] < 1 or x.dtype.kind not in "fiu":
            raise OptionError(f"input of shape {x.shape} and dtype {x.dtype}: expected (N, 3, H, W) of numbers, N at least 1")
        self._check_size((x.shape[2], x.shape[3]))
        return x

    def _check_size(self, size: Size) -> None:
        if size != self.spec.input_size:
            replace(self.spec, input_size=size)  # refuses what is too small for the strides

    def activations(self) -> dict[str, np.ndarray]:
        """By name what every layer of the last training forward pass returned, (N, C, H, W) or (N, C)."""
        self._require_forward("activations")
        found: dict[str, np.ndarray] = {}
        for layer in self._row:
            found |= layer.values()
        return found

    def parameters(self) -> dict[str, np.ndarray]:
        """Views by name, in the order of the forward pass, a block's main path before its shortcut."""
        return {name: self._parameters[name] for name in self.spec.parameter_shapes}

    def gradients(self) -> dict[str, np.ndarray]:
        """Views of what the last `backward` wrote, named and ordered as `parameters()`."""
        return {name: self._gradients[name] for name in self.spec.parameter_shapes}

    def buffers(self) -> dict[str, np.ndarray]:
        """Views of the running means and (unbiased) variances of the batch norms."""
        return {name: self._buffers[name] for name in self.spec.buffer_shapes}

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and buffers by name."""
        return {name: view.copy() for name, view in (self.parameters() | self.buffers()).items()}

    def load_state_dict(self, mapping: Mapping[str, np.ndarray]) -> None:
        """Takes over a `state_dict`; names and shapes must be exactly this network's. Nothing changes if one is wrong."""
        views = self.parameters() | self.buffers()
        if set(mapping) != set(views):
            odd = sorted(set(mapping) ^ set(views))
            raise CheckpointError(
                f"state has {len(mapping)} tensors, {self.spec.name} needs {len(views)}; {odd[0]} is the first that differs"
            )
        arrays = {name: np.asarray(mapping[name]) for name in views}
        for name, view in views.items():
            if arrays[name].shape != view.shape or arrays[name].dtype.kind != "f":
                given = f"{arrays[name].dtype} of shape {arrays[name].shape}"
                raise CheckpointError(f"{name} is {given}: {self.spec.name} needs floating point numbers of shape {view.shape}")
        for name, view in views.items():
            view[...] = arrays[name]

    def save(
        self,
        path,
        classes: Sequence[str] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        """Writes the network's description and state to a checkpoint; see `minisqx.checkpoint`.

        classes, mean, std: as in `Checkpoint`; None: the network's own, and without those the file says that it has none.
        """
        from minisqx.checkpoint import Checkpoint, save_checkpoint

        given: dict[str, Any] = {"classes": classes, "mean": mean, "std": std}
        described = {name: getattr(self, name) if value is None else value for name, value in given.items()}
        save_checkpoint(path, Checkpoint(self.spec, self.state_dict(), **described))


class ShallowSqueezeNext(Network):
    """The network of Duggal and El-Sharkawy, by its options: those of `SqueezeNextSpec`, and `seed` and `dtype` of `Network`."""

    def __init__(
        self,
        width: float = 0.2,
        blocks: tuple[int, int, int, int] = (1, 1, 1, 1),
        num_classes: int = 10,
        dropout: float = 0.3,
        seed: int = 0,
        dtype: str = "float32",
        **options,
    ):
        spec = SqueezeNextSpec(width=width, blocks=blocks, num_classes=num_classes, dropout=dropout, **options)
        super().__init__(spec, seed, dtype)


def _checked_dtype(dtype) -> np.dtype:
    name = np.dtype(dtype).name if isinstance(dtype, (str, type, np.dtype)) and str(dtype) else ""
    if name not in DTYPES:
        raise OptionError(f"dtype {dtype!r}: expected one of {', '.join(DTYPES)}")
    return np.dtype(name)

"""`Network`: its layers in order, and one flat buffer each for parameters, gradients and running statistics."""

import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from minisqx import flat
from minisqx.checks import is_whole, plain, require
from minisqx.current_plan import CurrentPlan
from minisqx.errors import CheckpointError, OptionError
from minisqx.kernels.compiler import second_process
from minisqx.kernels.layout import Layout
from minisqx.kernels.structures import Parameters
from minisqx.layers import (
    PARAMETER_FREE,
    Activation,
    BasicBlock,
    Bottleneck,
    Concatenation,
    Fire,
    Layer,
    Linear,
    PerLayout,
    Workspace,
    materialise,
)
from minisqx.layers.part import Layers
from minisqx.machine.limits import size_text
from minisqx.machine.ranks import ALONE, Ranks
from minisqx.plan import Plan
from minisqx.spec import (
    BottleneckSpec,
    ConvolutionSpec,
    FireSpec,
    LinearSpec,
    NetworkSpec,
    ParameterFreeSpec,
    Size,
    Unit,
)
from minisqx.spec.squeezenext import SqueezeNextSpec

if TYPE_CHECKING:
    import torch

    from minisqx.checkpoint import Checkpoint

DTYPES = ("float32", "float64")
BUFFERS = ("flat_parameters", "flat_gradients", "flat_buffers")
# Attributes that can't be replaced: the layers hold views of the buffers, and inference follows the spec.
FIXED = ("spec", "dtype", "seed", "layers", *BUFFERS)
# Attributes that a copy builds again.
_DERIVED = (
    "layers", "_sequence", "_stem", "_ranks", "_workspace", "_layout", "_not_ready",
    "_parameters", "_gradients", "_buffers", "_parameter_sections", "_gradient_sections", "_buffer_sections",
    "_current_plan", "_inputs", "_packed_for", "_dx_for", "_dlogits_for",
)  # fmt: skip


class Network:
    """A network of any family, with hand-written `forward` and `backward`.

    spec: its description. seed: for the initial weights and dropout's masks, 0 to 2^63 - 1. dtype: "float32", or "float64" for
    gradient checks. ranks: the processes that train it together, each with a network of its own; each stores only its chunks of
    a batch, and all compute the same logits and gradients. Raises OptionError for an invalid seed or dtype.

    frozen_parameters: how many `freeze` excludes from training: the first ones of `flat_parameters`.
    classes, mean, std: written by `save`, as in `Checkpoint`; None until set, or those of the `Model` that the network is from.

    Weights are initialised Xavier uniform with gain sqrt(2), biases with 0, as in the authors' code.

    A copy (`copy.copy`, `copy.deepcopy`, pickle) has its own buffers and layers.
    """

    classes: Sequence[str] | None
    mean: Sequence[float] | None
    std: Sequence[float] | None

    def __init__(self, spec: NetworkSpec, seed: int = 0, dtype: str = "float32", ranks: Ranks = ALONE):
        self.spec, self._ranks = spec, ranks
        self.dtype = _checked_dtype(dtype)
        self.seed = plain(seed)
        require(is_whole(self.seed, 0, 2**63 - 1), "seed", self.seed, "a whole number from 0 to 9223372036854775807")
        self.dropout_step = 0
        self._frozen_units = self.frozen_parameters = 0
        self.classes = self.mean = self.std = None
        self._build("before any forward pass")
        self._initialise()

    def _build(self, not_ready: str) -> None:
        """Allocates the buffers and builds the layers. not_ready: why `backward` can't run yet, for its error message."""
        self._workspace = Workspace(self.dtype, self.seed, self._ranks)
        self._allocate()
        self._inputs: list[Activation] = []
        self._packed_for = PerLayout(lambda layout: layout.empty(3, self.dtype))
        self._dx_for = PerLayout(lambda layout: layout.empty(3, self.dtype))
        self._dlogits_for = PerLayout(lambda layout: np.empty((layout.images, self.spec.num_classes), self.dtype))
        self._sequence: tuple[Layer, ...] = tuple(self._layer(unit) for unit in self.spec.units)
        first = self._sequence[0]
        if not isinstance(first, BasicBlock):
            raise OptionError(f"{self.spec.units[0]!r}: expected a convolution as a network's first unit")
        self._stem = first  # the only layer whose backward may skip the gradient of its input
        self.layers = Layers(dict(zip((unit.name for unit in self.spec.units), self._sequence)))
        for block in self._frozen_blocks():
            block.freeze()
        self._not_ready = not_ready

    def freeze(self, name: str) -> None:
        """Excludes the units up to `name`, a unit or a stage, from training.

        Their parameters and running statistics stay as they are: `forward` normalises with the running statistics, as inference
        does, `backward` ends at the first unit after them and leaves their gradients 0, and `SGD` doesn't change them. Dropout
        among them is still applied. Raises OptionError as `NetworkSpec.units_up_to` does, and if more is frozen already.
        """
        count = self.spec.units_up_to(name)
        if count < self._frozen_units:
            raise OptionError(f"freeze {name!r}: the network is frozen further than that already; make a new network")
        self._frozen_units = count
        for block in self._frozen_blocks():
            block.freeze()
        layers = [layer for unit in self.spec.units[:count] for layer in unit.layers]
        self.frozen_parameters = sum(math.prod(shape) for layer in layers for shape in layer.parameter_shapes.values())
        self.flat_gradients[: self.frozen_parameters] = 0
        self._not_ready = "after freezing"

    def _frozen_blocks(self) -> Iterator[BasicBlock]:
        for layer in self._sequence[: self._frozen_units]:
            match layer:
                case BasicBlock():
                    yield layer
                case Bottleneck():
                    yield from layer.blocks
                case Fire():
                    yield from (layer.squeeze, layer.expand1, layer.expand3)

    def __getstate__(self) -> dict:
        return {name: value for name, value in vars(self).items() if name not in _DERIVED}

    def __setstate__(self, state: dict) -> None:
        vars(self).update((name, value) for name, value in state.items() if name not in BUFFERS)
        self._ranks = ALONE
        self._build("of a copy, which has no forward pass of its own")
        for name in BUFFERS:
            getattr(self, name)[:] = state[name]

    def __setattr__(self, name: str, value: object) -> None:
        if name in FIXED and value is not vars(self).get(name, value):
            remedy = f"write into it, as in net.{name}[:] = values" if name in BUFFERS else "make a new network"
            raise OptionError(f"{name} of a network can't be replaced, since its layers are built for the current one: {remedy}")
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        spec, (height, width) = self.spec, self.spec.input_size
        size = f"{size_text(height, width)}, {spec.num_classes} classes, {spec.parameters} parameters"
        return f"{type(self).__name__}({spec.name}: {size}, {self.dtype})"

    def _allocate(self) -> None:
        """Allocates the flat buffers and their views.

        In each buffer, the tensors of one name of a group of convolutions are adjacent, so that their weights form one matrix.
        """
        sections = []
        groups: list[tuple[ConvolutionSpec | LinearSpec, ...]] = [*self.spec.groups]
        groups += [(layer,) for layer in self.spec.layers if isinstance(layer, LinearSpec)]
        for group in groups:
            sections += [
                [(f"{layer.name}.{key}", layer.parameter_shapes[key]) for layer in group] for key in group[0].parameter_shapes
            ]
        statistics = [
            [(f"{layer.name}.{key}", layer.buffer_shapes[key]) for layer in group]
            for group in self.spec.groups
            for key in group[0].buffer_shapes
        ]
        self.flat_parameters, self.flat_gradients = flat.zeros(sections, self.dtype), flat.zeros(sections, self.dtype)
        self.flat_buffers = flat.zeros(statistics, self.dtype)
        self._parameters, self._parameter_sections = flat.cut(self.flat_parameters, sections)
        self._gradients, self._gradient_sections = flat.cut(self.flat_gradients, sections)
        self._buffers, self._buffer_sections = flat.cut(self.flat_buffers, statistics)
        self._current_plan = CurrentPlan(self.spec, (sections, statistics))

    def _layer(self, unit: Unit) -> Layer:
        """The layer for one unit of the spec."""
        match unit:
            case ConvolutionSpec():
                return self._basic_block((unit,))
            case BottleneckSpec():
                # A sum that is read with stride 2 is stored as its samples alone, so its readers have stride 1.
                groups = (tuple(replace(s, stride=(1, 1), input_size=s.output_size) for s in group) for group in unit.groups)
                return Bottleneck(unit, [self._basic_block(group) for group in groups], self._workspace)
            case FireSpec():
                joint = Concatenation(unit.output_shape[0], self._workspace)
                squeeze, expand1 = self._basic_block((unit.squeeze,)), self._basic_block((unit.expand1,), joint)
                expand3 = self._basic_block((unit.expand3,), joint, row=unit.expand1.out_channels)
                return Fire(unit, [squeeze, expand1, expand3], self._workspace)
            case ParameterFreeSpec() if type(unit) in PARAMETER_FREE:
                return PARAMETER_FREE[type(unit)](unit, self._workspace)
            case LinearSpec():
                views = (self._parameters, self._gradients)
                weight, bias, dweight, dbias = (of[f"{unit.name}.{key}"] for of in views for key in ("weight", "bias"))
                return Linear(unit.name, weight, bias, dweight, dbias, self._workspace)
            case _:
                raise OptionError(f"{unit!r}: no layer computes it; expected a unit of minisqx.spec")

    def _basic_block(self, group: tuple[ConvolutionSpec, ...], concatenation: Concatenation | None = None, row: int = 0):
        """One layer for a group of convolutions; see `BasicBlock`."""
        first, empty = group[0], np.empty(0, self.dtype)

        def parameters(sections) -> Parameters:
            weight, *others = (sections.get(f"{first.name}.{key}", empty) for key in ("weight", "bias", "gamma", "beta"))
            return Parameters(weight.reshape(-1, math.prod(first.weight_shape[1:])), *others)

        mean, variance = (self._buffer_sections.get(f"{first.name}.{key}", empty) for key in ("running_mean", "running_var"))
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
        """Returns the logits (N, num_classes), of the network's dtype.

        x: normalised pixels (N, 3, H, W), or a `Loader`'s batch; H and W may differ from the spec's if the strides allow them.
        training: batch norm uses the batch's statistics and updates the running ones, dropout is applied, and what `backward`
        needs is stored. Raises OptionError for an x of another shape or dtype.

        Without training, several threads may call it at once. It uses the current parameters and buffers; a number that another
        thread writes during the call counts with its old or its new value.
        """
        if not training:
            plan = self._current_plan.of(self.flat_parameters, self.flat_buffers)
            return plan.run(*self._checked_batch(x)) if hasattr(x, "layout") else plan.run_images(self._checked_images(x))
        data, layout = self._packed(x)
        self.dropout_step += 1
        self._not_ready = "after a forward pass that failed"
        self._layout = layout
        y: Any = self._input(data, layout)  # an Activation; after the last layer, the logits
        self._workspace.dropout_step = self.dropout_step
        for block in self._frozen_blocks():
            block.fix_norm()
        with self._workspace.one_program():
            for layer in self._sequence:
                y = layer.forward(y)
        self._not_ready = ""
        return y.copy()

    def _input(self, data: np.ndarray, layout: Layout) -> Activation:
        """A packed batch for the first layer; the same object for the same array, so that prepared calls stay valid."""
        for known in self._inputs:
            if known.data is data and known.layout == layout:
                return known
        self._inputs = [*self._inputs[-1:], self._workspace.plain(data, layout)]
        return self._inputs[-1]

    def backward(self, dlogits: np.ndarray, input_gradient: bool = False) -> np.ndarray | None:
        """Writes `gradients()` from dlogits (N, num_classes). Returns dx (N, 3, H, W) if input_gradient, else None.

        It overwrites what the training forward pass stored, so each forward pass allows one backward pass. Raises OptionError
        for a second one, and for dlogits of another shape.
        """
        self._require_forward("backward")
        if input_gradient and self._frozen_units:
            raise OptionError("input_gradient of a network with frozen units: expected False, since backward ends after them")
        dlogits = np.asarray(dlogits)
        expected = (self._layout.images, self.spec.num_classes)
        if dlogits.shape != expected or dlogits.dtype.kind != "f":
            raise OptionError(f"dlogits {dlogits.dtype} of shape {dlogits.shape}: expected floats of shape {expected}")
        self._not_ready = "after backward, which overwrites what forward stored"
        gradient: Any = self._dlogits_for(self._layout)
        gradient[...] = dlogits
        second_process.wait()
        first = max(1, self._frozen_units)
        with self._workspace.one_program():
            for layer in reversed(self._sequence[first:]):
                gradient = layer.backward(gradient)
            if not self._frozen_units:
                gradient = self._stem.backward(gradient, keep_dz=input_gradient)
        if not input_gradient:
            return None
        layout = self._layout
        return layout.unpack(materialise(gradient, self._dx_for(layout), layout, self._workspace))

    def _require_forward(self, method: str) -> None:
        if self._not_ready:
            raise OptionError(
                f"{method} {self._not_ready}: call it after forward(x, training=True); each forward pass allows one backward"
            )

    def _repr_html_(self) -> str:
        from minisqx import html
        from minisqx.draw.network import svg

        return html.wide(svg(self.spec))

    def plan(self) -> Plan:
        """A copy frozen for inference, with the network's current parameters and running statistics."""
        return Plan(self.spec, self.state_dict())

    def _packed(self, x) -> tuple[np.ndarray, Layout]:
        """x as data (chunks, 3, stride) and its layout."""
        if hasattr(x, "layout"):
            return self._checked_batch(x)
        x = self._checked_images(x)
        layout = Layout.of_batch(x.shape[0], x.shape[2], x.shape[3], self.dtype, self.spec.larger_chunks)
        return layout.pack(x.astype(self.dtype, copy=False), self._packed_for(layout)), layout

    def _checked_batch(self, batch) -> tuple[np.ndarray, Layout]:
        data, layout = batch.data, batch.layout
        if data.dtype != self.dtype or data.shape != (layout.chunks, 3, layout.stride):
            raise OptionError(
                f"a batch of {data.dtype}, packed as {data.shape}: expected {self.dtype}, from a loader with this dtype"
            )
        self._check_size((layout.height, layout.width))
        return data, layout

    def _checked_images(self, x) -> np.ndarray:
        x = np.asarray(x)
        if x.ndim != 4 or x.shape[1] != 3 or x.shape[0] < 1 or x.dtype.kind not in "fiu":
            raise OptionError(
                f"input of shape {x.shape} and dtype {x.dtype}: expected numbers of shape (N, 3, H, W), N at least 1"
            )
        self._check_size((x.shape[2], x.shape[3]))
        return x

    def _check_size(self, size: Size) -> None:
        if size != self.spec.input_size:
            replace(self.spec, input_size=size)  # raises OptionError if it is too small for the strides

    def activations(self) -> dict[str, np.ndarray]:
        """Name -> output of every layer in the last training forward pass, (N, C, H, W) or (N, C)."""
        self._require_forward("activations")
        found: dict[str, np.ndarray] = {}
        for layer in self._sequence:
            found |= layer.values()
        return found

    def parameters(self) -> dict[str, np.ndarray]:
        """Name -> view of each parameter, in the order of the forward pass, a bottleneck's main path before its shortcut."""
        return {name: self._parameters[name] for name in self.spec.parameter_shapes}

    def gradients(self) -> dict[str, np.ndarray]:
        """Name -> view of each gradient, as the last `backward` wrote it; names and order as in `parameters()`."""
        return {name: self._gradients[name] for name in self.spec.parameter_shapes}

    def buffers(self) -> dict[str, np.ndarray]:
        """Name -> view of each batch norm's running mean and (unbiased) variance."""
        return {name: self._buffers[name] for name in self.spec.buffer_shapes}

    def state_dict(self) -> dict[str, np.ndarray]:
        """Name -> copy of each parameter and buffer."""
        return {name: view.copy() for name, view in (self.parameters() | self.buffers()).items()}

    def load_state_dict(self, mapping: Mapping[str, np.ndarray]) -> None:
        """Copies a `state_dict` into the network. Raises CheckpointError and changes nothing unless names and shapes match."""
        views = self.parameters() | self.buffers()
        if set(mapping) != set(views):
            different = sorted(set(mapping) ^ set(views))
            raise CheckpointError(
                f"state has {len(mapping)} tensors, {self.spec.name} needs {len(views)}; {different[0]} is the first that differs"
            )
        arrays = {name: np.asarray(mapping[name]) for name in views}
        for name, view in views.items():
            if arrays[name].shape != view.shape or arrays[name].dtype.kind != "f":
                given = f"{arrays[name].dtype} of shape {arrays[name].shape}"
                raise CheckpointError(f"{name} is {given}: {self.spec.name} needs floats of shape {view.shape}")
        for name, view in views.items():
            view[...] = arrays[name]

    def save(
        self,
        path,
        classes: Sequence[str] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        """Writes spec and state to a checkpoint; see `minisqx.checkpoint`.

        classes, mean, std: as in `Checkpoint`; None: those of the network, if it has any. Raises CheckpointError if they don't
        fit the network or the state is not finite.
        """
        from minisqx.checkpoint import save_checkpoint

        save_checkpoint(path, self._checkpoint(classes, mean, std))

    def to_torch_state_dict(self) -> "OrderedDict[str, torch.Tensor]":
        """PyTorch's name -> tensor, a copy, of each parameter and buffer; `minisqx.from_torch` is the inverse.

        The names are those of public PyTorch code (`checkpoint/public_names.py`) and of the module that `minisqx export` writes.
        Raises MissingExtraError without PyTorch.
        """
        from minisqx.checkpoint.torch_file import torch_state_dict

        return torch_state_dict(self._checkpoint())

    def _checkpoint(self, *described: Any) -> "Checkpoint":
        """classes, mean, std: as in `save`."""
        from minisqx.checkpoint import Checkpoint

        given = dict(zip_longest(("classes", "mean", "std"), described))
        chosen = {name: getattr(self, name) if value is None else value for name, value in given.items()}
        return Checkpoint(self.spec, self.state_dict(), **chosen)


class ShallowSqueezeNext(Network):
    """A `Network` of Duggal and El-Sharkawy's family, from the options of `SqueezeNextSpec`."""

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

"""What every network's description has; `squeezenext` and `squeezenet` are the two families."""

import math
from dataclasses import asdict, dataclass

from minisqx.checks import is_number, is_whole, require, settle
from minisqx.errors import OptionError
from minisqx.machine.limits import size_text
from minisqx.spec.units import ConvolutionSpec, LinearSpec, Size, Unit


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """What every network's description has; a family adds its options and says what `units` follow from them.

    num_classes: classes to tell apart. dropout: probability that an element is dropped in training, in [0, 1).
    input_size: (height, width) of the image in pixels.
    """

    num_classes: int = 10
    dropout: float = 0.3
    input_size: Size = (32, 32)

    FAMILY = ""

    @property
    def least_side(self) -> int:
        """Side in pixels of the smallest square image."""
        return 8

    def __post_init__(self) -> None:
        settle(self)
        self._check_options()
        object.__setattr__(self, "dropout", float(self.dropout))
        object.__setattr__(self, "input_size", tuple(self.input_size))
        self._settle()
        for unit in self.units:
            for part in unit.layers or (unit,):
                self._check_part(part)

    def _settle(self) -> None:
        """Brings a family's own options to their types."""

    def _check_part(self, part) -> None:
        if isinstance(part, ConvolutionSpec) and min(part.in_channels, part.out_channels) < 1:
            width = self.width  # type: ignore[attr-defined]  # the family without one never gets here
            raise OptionError(f"width {width!r} leaves {part.name} without channels: choose a width of 0.125 or more")
        if min(part.output_shape) < 1:
            raise OptionError(
                f"input size {size_text(*self.input_size)} is too small for the network's strides:"
                f" choose at least {self.least_side} x {self.least_side} pixels"
            )

    @property
    def larger_chunks(self) -> int:
        """How many times as many images as usual a chunk of a batch has (`Layout.of_batch`): more where the maps are small."""
        return 1

    def to_dict(self) -> dict:
        """Plain JSON types: the family, and one entry an option."""
        options = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return {"family": self.FAMILY, **options}

    @property
    def name(self) -> str:
        raise NotImplementedError

    @property
    def units(self) -> tuple[Unit, ...]:
        """The network, unit after unit, in the order of the forward pass."""
        raise NotImplementedError

    @property
    def layers(self) -> tuple[ConvolutionSpec | LinearSpec, ...]:
        """Every layer that has parameters, in the order of the forward pass, a bottleneck's main path before its shortcut."""
        return tuple(layer for unit in self.units for layer in unit.layers)

    @property
    def convolutions(self) -> tuple[ConvolutionSpec, ...]:
        """Every basic block, in the same order."""
        return tuple(layer for layer in self.layers if isinstance(layer, ConvolutionSpec))

    @property
    def groups(self) -> tuple[tuple[ConvolutionSpec, ...], ...]:
        """The basic blocks that run as one, in the order of the forward pass."""
        return tuple(group for unit in self.units for group in unit.groups)

    def _shapes(self, kind: str) -> dict[str, tuple[int, ...]]:
        return {f"{layer.name}.{key}": shape for layer in self.layers for key, shape in getattr(layer, kind).items()}

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        return self._shapes("parameter_shapes")

    @property
    def buffer_shapes(self) -> dict[str, tuple[int, ...]]:
        return self._shapes("buffer_shapes")

    @property
    def parameters(self) -> int:
        """Trainable parameters."""
        return sum(map(math.prod, self.parameter_shapes.values()))

    @property
    def state_bytes(self) -> int:
        """Parameters and running statistics as float32, in bytes."""
        return 4 * (self.parameters + sum(map(math.prod, self.buffer_shapes.values())))

    @property
    def macs(self) -> int:
        """Multiply-adds of one image."""
        return sum(layer.macs for layer in self.layers)

    def _check_options(self) -> None:
        require(is_whole(self.num_classes, 1, 100_000), "num_classes", self.num_classes, "a whole number from 1 to 100000")
        require(
            is_number(self.dropout) and 0 <= self.dropout < 1,
            "dropout",
            self.dropout,
            "a probability from 0 up to, not including, 1",
        )
        size = self.input_size
        size_ok = isinstance(size, (tuple, list)) and len(size) == 2 and all(is_whole(s, 1, 4096) for s in size)
        require(size_ok, "input_size", size, "(height, width) in pixels, each from 1 to 4096")

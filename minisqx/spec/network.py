"""`NetworkSpec`, the base class of all network descriptions; `squeezenext` and `squeezenet` are the two families."""

import math
from dataclasses import asdict, dataclass

from minisqx.checks import is_number, is_whole, make_fields_plain, require
from minisqx.errors import OptionError
from minisqx.machine.limits import size_text
from minisqx.spec.units import ConvolutionSpec, LinearSpec, Size, Unit


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """A network description. A family is a subclass with more options and with `FAMILY`, `name` and `units`.

    num_classes: 1 to 100000. dropout: the probability of zeroing an element in training, in [0, 1). input_size: (height, width)
    of the image in pixels, 1 to 4096. Raises OptionError for invalid options, and for an image too small for the strides.
    """

    num_classes: int = 10
    dropout: float = 0.3
    input_size: Size = (32, 32)

    FAMILY = ""

    @property
    def min_side(self) -> int:
        """The side of the smallest square image, in pixels."""
        return 8

    def __post_init__(self) -> None:
        make_fields_plain(self)
        self._check_options()
        object.__setattr__(self, "dropout", float(self.dropout))
        object.__setattr__(self, "input_size", tuple(self.input_size))
        self._convert_options()
        for unit in self.units:
            for layer in unit.layers or (unit,):
                self._check_layer(layer)

    def _convert_options(self) -> None:
        """Converts the options of a family to their declared types."""

    def _check_layer(self, layer) -> None:
        if isinstance(layer, ConvolutionSpec) and min(layer.in_channels, layer.out_channels) < 1:
            width = self.width  # type: ignore[attr-defined]  # SqueezeNet has no width, but its channels are never 0
            raise OptionError(f"width {width!r} leaves {layer.name} without channels: choose a width of 0.125 or more")
        if min(layer.output_shape) < 1:
            raise OptionError(
                f"input size {size_text(*self.input_size)} is too small for the network's strides:"
                f" choose at least {self.min_side} x {self.min_side} pixels"
            )

    @property
    def larger_chunks(self) -> int:
        """The factor by which the images per chunk are increased (`Layout.of_batch`), over 1 for networks with small maps."""
        return 1

    def to_dict(self) -> dict:
        """The family and every option, in JSON types; `zoo.from_dict` is the inverse."""
        options = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return {"family": self.FAMILY, **options}

    @property
    def name(self) -> str:
        raise NotImplementedError

    @property
    def units(self) -> tuple[Unit, ...]:
        """The units in the order of the forward pass."""
        raise NotImplementedError

    @property
    def layers(self) -> tuple[ConvolutionSpec | LinearSpec, ...]:
        """All layers with parameters, in the order of the forward pass; a bottleneck's main path comes before its shortcut."""
        return tuple(layer for unit in self.units for layer in unit.layers)

    @property
    def convolutions(self) -> tuple[ConvolutionSpec, ...]:
        """The basic blocks among `layers`, in the same order."""
        return tuple(layer for layer in self.layers if isinstance(layer, ConvolutionSpec))

    @property
    def groups(self) -> tuple[tuple[ConvolutionSpec, ...], ...]:
        """Tuples of basic blocks that are computed together, in the order of the forward pass."""
        return tuple(group for unit in self.units for group in unit.groups)

    def units_up_to(self, name: str) -> int:
        """The number of units up to the last one called `name`, or in the stage of this name: stage2 has stage2.block1 and so on.

        Raises OptionError if there is none, or if no layer with parameters comes after it.
        """
        found = [number for number, unit in enumerate(self.units, 1) if (unit.name + ".").startswith(f"{name}.")]
        most = max(number for number, unit in enumerate(self.units) if unit.layers)
        if not found or found[-1] > most:
            names = dict.fromkeys(part for unit in self.units[:most] for part in (unit.name.partition(".")[0], unit.name))
            raise OptionError(f"freeze {name!r}: expected a stage or unit of {self.name} before its last: {', '.join(names)}")
        return found[-1]

    def _shapes(self, attribute: str) -> dict[str, tuple[int, ...]]:
        return {f"{layer.name}.{key}": shape for layer in self.layers for key, shape in getattr(layer, attribute).items()}

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every parameter, in the order of `layers`."""
        return self._shapes("parameter_shapes")

    @property
    def buffer_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every running mean and variance, in the order of `layers`."""
        return self._shapes("buffer_shapes")

    @property
    def parameters(self) -> int:
        """The number of trainable parameters."""
        return sum(map(math.prod, self.parameter_shapes.values()))

    @property
    def state_bytes(self) -> int:
        """The size of parameters and running statistics in float32, in bytes."""
        return 4 * (self.parameters + sum(map(math.prod, self.buffer_shapes.values())))

    @property
    def macs(self) -> int:
        """Multiply-adds per image."""
        return sum(layer.macs for layer in self.layers)

    def _check_options(self) -> None:
        require(is_whole(self.num_classes, 1, 100_000), "num_classes", self.num_classes, "a whole number from 1 to 100000")
        require(
            is_number(self.dropout) and 0 <= self.dropout < 1,
            "dropout",
            self.dropout,
            "a probability of at least 0 and below 1",
        )
        size = self.input_size
        size_ok = isinstance(size, (tuple, list)) and len(size) == 2 and all(is_whole(s, 1, 4096) for s in size)
        require(size_ok, "input_size", size, "(height, width) in pixels, each from 1 to 4096")

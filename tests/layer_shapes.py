"""The layer shapes of real networks: one table for all tests that iterate over them."""

from typing import NamedTuple

from minisqx.kernels.geometry import Geometry
from minisqx.spec import ConvolutionSpec, NetworkSpec
from minisqx.spec.squeezenext import SqueezeNextSpec

WIDTHS = (0.125, 0.2, 1.0)


class Shape(NamedTuple):
    """The shape of a basic block; `outputs` has two numbers if it includes a shortcut. Sizes are (height, width)."""

    inputs: int
    outputs: tuple[int, ...]
    kernel: tuple[int, int]
    stride: int
    padding: tuple[int, int]
    size: tuple[int, int]

    @property
    def specs(self) -> tuple[ConvolutionSpec, ...]:
        return tuple(
            ConvolutionSpec(
                f"convolution{number}", self.inputs, outputs, self.kernel, (self.stride, self.stride), self.padding, self.size
            )
            for number, outputs in enumerate(self.outputs)
        )

    @property
    def geometry(self) -> Geometry:
        return Geometry.of(self.kernel, (self.stride, self.stride), self.padding, self.size, self.specs[0].output_size)

    def __str__(self) -> str:
        kernel, size = ("x".join(map(str, pair)) for pair in (self.kernel, self.size))
        outputs = "+".join(map(str, self.outputs))
        return f"{self.inputs}to{outputs}-{kernel}-stride{self.stride}-padding{self.padding[0]}{self.padding[1]}-on{size}"


def _shapes_of(spec: NetworkSpec) -> list[Shape]:
    return [
        Shape(g[0].in_channels, tuple(c.out_channels for c in g), g[0].kernel, g[0].stride[0], g[0].padding, g[0].input_size)
        for g in spec.groups
    ]


# Every shape once, in the order of the forward pass, of 32 x 32 images.
SHAPES = tuple(dict.fromkeys(s for width in WIDTHS for s in _shapes_of(SqueezeNextSpec(width=width, blocks=(1, 2, 2, 1)))))
# Shapes that no network has: any number of channels from 1, any height and width.
ODD_SHAPES = (
    Shape(1, (1,), (1, 1), 1, (0, 0), (1, 1)),
    Shape(3, (5,), (1, 1), 2, (0, 0), (1, 1)),
    Shape(5, (3, 2), (1, 1), 2, (0, 0), (7, 4)),
    Shape(12, (1, 25), (1, 1), 2, (0, 0), (15, 15)),
    Shape(2, (7,), (1, 1), 2, (0, 0), (33, 47)),
    Shape(1, (12,), (1, 3), 1, (0, 1), (1, 13)),
    Shape(5, (1,), (1, 3), 1, (0, 1), (9, 1)),
    Shape(12, (5,), (3, 1), 1, (1, 0), (1, 6)),
    Shape(3, (3,), (3, 1), 1, (1, 0), (41, 29)),
    Shape(25, (12,), (3, 3), 1, (1, 1), (2, 3)),
    Shape(3, (4,), (3, 3), 1, (1, 1), (31, 23)),
    Shape(3, (5,), (3, 3), 1, (0, 0), (3, 3)),
    Shape(1, (2,), (3, 3), 1, (0, 0), (35, 19)),
)

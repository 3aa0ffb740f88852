"""The paper's Table VI: our layers of Shallow SqueezeNext 1.0x [1,2,8,1] beside the printed ones."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from minisqx.paper import printed as paper_printed
from minisqx.paper.tables import NONE, Cell, Table
from minisqx.spec import (
    AveragePoolSpec,
    BottleneckSpec,
    ConvolutionSpec,
    DropoutSpec,
    LinearSpec,
    NetworkSpec,
    ParameterFreeSpec,
    Unit,
    zoo,
)

OMITTED = "omitted"


def table_6() -> Table:
    """Table VI beside the 1.0x [1,2,8,1] network, whose layers and parameters it lists."""
    spec = zoo.network("shallow-14-1x")
    printed = paper_printed.layers()
    numbers = iter(name for name in printed if name.isdigit())
    rows, remarks = [], []
    for unit, name, times in _repeats(spec):
        for layer in unit.layers or (unit,):
            paper = _printed_name(unit, layer, numbers)
            cells = _layer_cells(layer, times)
            rows.append((layer.name.replace(unit.name, name, 1), paper, *cells))
            remarks.append(_differences(paper, cells, printed[paper]) if paper in printed else "")
    header = ("layer", "paper's row", *paper_printed.LAYER_COLUMNS)
    return Table(
        "Table VI: the layers of Shallow SqueezeNext 1.0x [1,2,8,1] (shallow-14-1x)",
        header,
        tuple(rows),
        tuple(remarks),
        _notes(spec, printed),
        left=2,
    )


def _repeats(spec: NetworkSpec) -> Iterator[tuple[Unit, str, int]]:
    """Each unit, its name and its repeats: consecutive bottlenecks of the same shapes are one row (`stage3.block2-8`)."""
    for _, group in groupby(spec.units, _shapes):
        first, *others = group
        name = f"{first.name}-{others[-1].name.rpartition('block')[2]}" if others else first.name
        yield first, name, 1 + len(others)


def _shapes(unit: Unit) -> tuple:
    return type(unit), tuple(replace(layer, name="") for layer in unit.layers)


def _printed_name(unit: Unit, layer: Unit, numbers: Iterator[str]) -> str:
    """The paper's row of a layer; the paper numbers convolutions along the main path."""
    if isinstance(unit, BottleneckSpec) and layer is unit.shortcut:
        return OMITTED
    if isinstance(layer, ConvolutionSpec):
        return next(numbers)
    return {DropoutSpec: "dropout", AveragePoolSpec: "pool", LinearSpec: "FC"}[type(layer)]


def _layer_cells(layer: Unit, times: int) -> tuple[Cell, ...]:
    """The cells of `LAYER_COLUMNS`; a kernel's parameters are its weights and biases, without batch norm."""
    if isinstance(layer, ConvolutionSpec):
        data_in, data_out = _map(layer.input_size, layer.in_channels), _map(layer.output_size, layer.out_channels)
        padding, kernel, stride = _pair(layer.padding), _pair(layer.kernel), str(layer.stride[0])
        return data_in, padding, stride, kernel, data_out, str(times), times * _weights_and_biases(layer)
    if isinstance(layer, LinearSpec):
        data_in, data_out = _map((1, 1), layer.in_features), _map((1, 1), layer.out_features)
        return data_in, "0x0", "1", "1x1", data_out, str(times), _weights_and_biases(layer)
    channels, *size = layer.output_shape
    assert isinstance(layer, ParameterFreeSpec)  # other units are made of these layers
    return _map(layer.input_size, layer.channels), NONE, NONE, NONE, _map(size or (1, 1), channels), str(times), NONE


def _pair(size: Sequence[int]) -> str:
    return "x".join(map(str, size))


def _map(size: Sequence[int], channels: int) -> str:
    return f"{_pair(size)}x{channels}"


def _weights_and_biases(layer: ConvolutionSpec | LinearSpec) -> int:
    return sum(math.prod(layer.parameter_shapes[name]) for name in ("weight", "bias"))


def _differences(paper: str, cells: tuple[Cell, ...], printed: tuple[str, ...]) -> str:
    """The printed cells that differ from ours, and why."""
    found = [
        f"{column} {theirs if theirs == NONE or column != 'parameters' else format(int(theirs), ',')}"
        for column, own, theirs in zip(paper_printed.LAYER_COLUMNS, cells, printed)
        if str(own) != theirs
    ]
    return " ".join(filter(None, (f"paper: {', '.join(found)}." if found else "", paper_printed.LAYER_REMARKS.get(paper, ""))))


def _notes(spec: NetworkSpec, printed: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    shortcuts = [unit.shortcut for unit in spec.units if isinstance(unit, BottleneckSpec) and unit.shortcut is not None]
    total, omitted = (sum(map(_weights_and_biases, layers)) for layers in (spec.layers, shortcuts))
    as_printed = sum(int(parameters) for *_, parameters in printed.values() if parameters != NONE)
    return (
        f"Parameters: {total - omitted:,} in the paper's rows (the printed numbers add up to {as_printed:,} because of row 106),"
        f" {total:,} with the shortcuts that it omits, {spec.parameters:,} with batch norm.",
        "Input and output are height x width x channels. Filter and padding are height x width here; the paper calls them width x"
        " height, but its 1x3 with padding 0x1 and 3x1 with padding 1x0 fit either order. Parameters are weights and biases of"
        " all repeats.",
        f"paper's row: the number of its \"Convolution\"; {OMITTED}: the paper's table lacks this layer, but its file sizes"
        " include it. Its row 107 is called Convolution 107 Spatial Resolution, its FC Fully Connected Convolution.",
        "The paper's numbers jump (6 to 32, 41 to 62, 71 to 102): they are those of SqueezeNext-23, blocks [6,6,8,1].",
    )

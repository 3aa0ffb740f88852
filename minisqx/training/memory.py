"""Estimates how much memory a run needs before it starts.

The estimate counts the arrays that `layers`, `plan`, `loader` and `checkpoint` allocate, from the network's spec alone.
`python -m tests.stress.memory` compares it with the peak memory of real processes.
"""

import math
from collections.abc import Iterable, Iterator
from itertools import accumulate

import numpy as np

from minisqx.channels_last import measured_memory
from minisqx.errors import OptionError
from minisqx.kernels.layout import MAX_IMAGES_IN_CHUNK, Layout
from minisqx.kernels.structures import BLOCK, SCRATCH_STRIDE
from minisqx.layers import PARAMETER_FREE
from minisqx.machine.limits import available, megabytes, size_text
from minisqx.machine.threads import max_threads, threads
from minisqx.spec import (
    BottleneckSpec,
    ConvolutionSpec,
    FireSpec,
    LinearSpec,
    MaxPoolSpec,
    NetworkSpec,
    ParameterFreeSpec,
    Unit,
)

# Bytes of Python, Numba, the compiled kernels of training, and the report with its charts.
CODE = 112 << 20
# For freed memory that the allocator keeps, and for small arrays that are not counted.
MARGIN = 1.04
COLOURS = 3
FLOAT, DOUBLE, INDEX = 4, 8, 4  # bytes


def training_bytes(
    spec: NetworkSpec,
    batch_size: int,
    images: int,
    evaluated: int = 0,
    evaluation_batch: int = 256,
    averaged: bool = False,
    teacher: NetworkSpec | None = None,
) -> int:
    """Bytes that training needs besides the data set: weights, activations, gradients, tables, batches, a checkpoint.

    images: training images; a smaller last batch has buffers of its own. evaluated: validation or test images, whichever are
    more, in batches of evaluation_batch. averaged: whether there is a moving average of the weights. teacher: the network that
    this one learns from, if there is one.
    """
    layouts = [_layout(spec, count) for count in _batches(images, batch_size)]
    tables = {table for layout in (*layouts, _layout(spec, 2)) for table in _tables(spec, layout)}
    kept = sum(_activations(spec, layout) for layout in layouts) + _scratch(spec, layouts) + _passing(spec, layouts)
    kept += sum(size for _, size in tables)
    # Parameters, gradients, velocity, folded weights, flipped weights.
    weights = (5 * spec.parameters + _statistics(spec)) * FLOAT
    # The network of averages: parameters, gradients, statistics.
    weights += averaged * (2 * spec.parameters + _statistics(spec)) * FLOAT
    if teacher is not None:
        # The state, the network with its gradients, and a batch that is normalised for it.
        weights += (3 * teacher.parameters + 2 * _statistics(teacher)) * FLOAT + inference_bytes(
            teacher, *_batches(images, batch_size)
        )
        weights += max(_tensor(layout, COLOURS) for layout in layouts)
    # A checkpoint being saved: the state, its tensors as bytes, the payload, the file.
    saving = 4 * ((2 + averaged) * spec.parameters + (1 + averaged) * _statistics(spec)) * FLOAT
    evaluation = 0
    if evaluated:
        evaluation = _loader(spec, evaluated, evaluation_batch) + inference_bytes(spec, *_batches(evaluated, evaluation_batch))
    return CODE + int(MARGIN * (weights + kept + saving + max(_loader(spec, images, batch_size), evaluation)))


def inference_bytes(spec: NetworkSpec, *batches: int) -> int:
    """Bytes that a network frozen for inference needs to run batches of these sizes, besides the batches themselves."""
    full = MAX_IMAGES_IN_CHUNK * spec.larger_chunks
    total = (2 * DOUBLE + 2 * FLOAT) * (spec.parameters + _statistics(spec))
    chunks = {full: max(batches) // full} | {images % full: 1 for images in batches}
    for in_chunk, count in chunks.items():
        if in_chunk and count:
            memory, tables = measured_memory(spec, in_chunk)
            total += min(threads(), count) * memory + tables
    return total


def _batches(images: int, size: int) -> set[int]:
    """The sizes of the batches in an epoch: full ones, and the last one."""
    return {min(size, images), images % size or min(size, images)}


def _statistics(spec: NetworkSpec) -> int:
    """The number of running means and variances."""
    return sum(map(math.prod, spec.buffer_shapes.values()))


def _layout(spec: NetworkSpec, images: int) -> Layout:
    return Layout.of_batch(images, *spec.input_size, np.float32, spec.larger_chunks)


def _loader(spec: NetworkSpec, images: int, size: int) -> int:
    """Bytes of a loader: two full batches, if there are two, and a smaller last one."""
    full = _tensor(_layout(spec, min(size, images)), COLOURS)
    return min(2, max(images // size, 1)) * full + _tensor(_layout(spec, images % size or 1), COLOURS)


def _tensor(layout: Layout, channels: int) -> int:
    """Bytes of a tensor."""
    return layout.chunks * channels * layout.stride * FLOAT


def _activations(spec: NetworkSpec, batch: Layout) -> int:
    """Bytes of all layers' buffers for one batch shape."""
    return sum(size for unit, x in _units(spec, batch) for size in _unit(unit, x))


def _units(spec: NetworkSpec, x: Layout) -> Iterator[tuple]:
    """Each unit with the layout of its input in training: after a sampled sum, that of the samples."""
    for unit in spec.units:
        if not isinstance(unit, Unit):
            raise _unknown(unit)
        yield unit, x
        x = _layout_after(unit, x)


def _layout_after(unit: Unit, x: Layout) -> Layout:
    if isinstance(unit, BottleneckSpec):
        return _sum_layout(unit, x)
    return x.resized(*unit.size_after((x.height, x.width)))


def _unknown(unit: object) -> OptionError:
    return OptionError(f"{unit!r}: its memory use is not known; expected a unit of minisqx.spec")


def _sum_layout(unit: BottleneckSpec, x: Layout) -> Layout:
    height, width = unit.main[-1].output_size
    return x.resized(-(-height // 2), -(-width // 2)) if unit.sampled else x.resized(height, width)


def _unit(unit, x: Layout) -> Iterator[int]:
    """Bytes of the buffers of a unit's layers. x: the layout of its input."""
    match unit:
        case ConvolutionSpec():
            yield _block((unit,), _layout_after(unit, x))
        case BottleneckSpec():
            inside, after = x.resized(*unit.main[-1].output_size), _sum_layout(unit, x)
            yield from (_block(group, inside) for group in unit.groups)
            channels = unit.output_shape[0]
            yield (3 if unit.sampled else 1) * _tensor(after, channels) + 3 * DOUBLE * after.chunks * channels
        case FireSpec():
            yield from (_block((layer,), x) for layer in unit.layers)
            # The outputs of the expansions are the concatenation, already counted. Its gradient, and that of squeeze's output.
            yield _tensor(x, unit.output_shape[0]) + _tensor(x, unit.squeeze.out_channels)
        case ParameterFreeSpec() if type(unit) in PARAMETER_FREE:
            of_input, of_output = PARAMETER_FREE[type(unit)].kept_tensors(unit)
            yield of_input * _tensor(x, unit.channels) + of_output * _tensor(_layout_after(unit, x), unit.channels)
        case LinearSpec():
            pass  # counted with the parameters
        case _:
            raise _unknown(unit)


def _block(group: tuple[ConvolutionSpec, ...], layout: Layout) -> int:
    """Bytes of a basic block: its output, moments, the gradients of each chunk."""
    channels, taps = sum(layer.out_channels for layer in group), math.prod(group[0].kernel)
    gradients = layout.chunks * channels * (group[0].in_channels * taps + taps) * FLOAT
    return _tensor(layout, channels) + 2 * DOUBLE * layout.chunks * channels + gradients


def _passing(spec: NetworkSpec, layouts: list[Layout]) -> int:
    """Bytes of the memory that blocks share for gradients (`Workspace.passing`). A block that needs more takes new memory."""
    sizes: tuple[list[int], list[int]] = ([0], [0])
    for batch in layouts:
        for number, (group, layout) in enumerate(_norm_first_blocks(spec, batch)):
            sizes[number % 2].append(_tensor(layout, sum(layer.out_channels for layer in group)))
    return sum(sum(set(accumulate(each, max))) for each in sizes)


def _norm_first_blocks(spec: NetworkSpec, batch: Layout) -> Iterator[tuple[tuple[ConvolutionSpec, ...], Layout]]:
    """The convolutions of each basic block that has its batch norm before its activation, and the layout of its output."""
    for unit, x in _units(spec, batch):
        groups: Iterable[tuple[ConvolutionSpec, ...]] = ()
        if isinstance(unit, ConvolutionSpec):
            groups, x = ((unit,),), _layout_after(unit, x)
        elif isinstance(unit, BottleneckSpec):
            groups, x = unit.groups, x.resized(*unit.main[-1].output_size)
        yield from ((group, x) for group in groups if group[0].order == "conv-bn-act")


def _tables(spec: NetworkSpec, batch: Layout) -> Iterator[tuple]:
    """(key, bytes) of each look-up table of im2col; equal keys share a table."""
    for unit, x in _units(spec, batch):
        if isinstance(unit, MaxPoolSpec):
            layers: tuple = (unit,)
        else:
            layers = tuple(layer for layer in unit.layers if isinstance(layer, ConvolutionSpec))
        for layer in layers:
            kernel = layer.kernel if isinstance(layer, ConvolutionSpec) else (layer.kernel, layer.kernel)
            padding = layer.padding if isinstance(layer, ConvolutionSpec) else (0, 0)
            if isinstance(unit, BottleneckSpec):
                y = x = x.resized(*layer.output_size)
            else:
                y = _layout_after(layer, x)
            for out, other in ((y, x), (x, y)):
                size = math.prod(kernel) * out.stride * (FLOAT + INDEX)
                yield (kernel, padding, out, other.height, other.width), size


def _scratch(spec: NetworkSpec, layouts: list[Layout]) -> int:
    """Bytes of scratch. A layer that needs more than the layers before allocates a new one; their prepared calls keep the old."""
    depths = [layer.in_channels * math.prod(layer.kernel) for layer in spec.convolutions]
    rows = [depth + layer.out_channels for depth, layer in zip(depths, spec.convolutions)]
    rows = [
        a + max(b, 1)
        for a, b in zip(rows, [*(layer.out_channels * math.prod(layer.kernel) for layer in spec.convolutions[1:]), 0])
    ]
    rows.append(-(-max(layout.stride for layout in layouts) // BLOCK))
    highest = list(accumulate(rows, max))
    return max_threads() * SCRATCH_STRIDE * FLOAT * sum(set(highest))


def check_training(
    spec: NetworkSpec,
    batch_size: int,
    images: int,
    evaluated: int,
    evaluation_batch: int,
    averaged: bool = False,
    teacher: NetworkSpec | None = None,
) -> None:
    """Raises OptionError, which names a batch size that fits, if training needs more memory than is available."""

    def needed(size: int) -> int:
        return training_bytes(spec, size, images, evaluated, evaluation_batch, averaged, teacher)

    found = available()
    if found is None or needed(batch_size) <= found[0]:
        return
    free, why = found
    size = batch_size // 2
    while size > 1 and needed(size) > free:
        size //= 2
    height, width = spec.input_size
    wanted = megabytes(needed(batch_size), up=True)
    advice = f"--batch-size {size} fits" if size > 1 and needed(size) <= free else "no batch size fits"
    raise OptionError(
        f"batch size {batch_size} with images of {size_text(height, width)}: training needs about {wanted} of memory, and"
        f" {megabytes(free)} are {why}; {advice}, smaller images (--image-size) or a smaller --width need less"
    )

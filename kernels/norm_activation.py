"""The backward of an activation f that follows a batch norm: y = f(e scale + shift), as the reader of e applies it.

    ds = g f'(y), stored, and for each row sum ds and sum ds e: the two sums from which batch norm's backward follows

Where g is a product, W^T dz of the next convolution, its tile becomes ds in registers, and leaves the sums there, too. y is
computed again from e, since nothing stores it.

Cost: the product, and one pass over e and ds.
"""

from numba import types

from minisqx.kernels.activation import NO_ACTIVATION
from minisqx.kernels.blocks import (
    block_at,
    blocks_in,
    chunk_of,
    gradient_rows,
    matrix_of,
    pixels_of,
    scratch_of,
    source_columns,
)
from minisqx.kernels.compiler.jit import njit
from minisqx.kernels.compiler.tasks import Chunked, Gathered, Task
from minisqx.kernels.structures import Extent, Matrix, NormActivationBackward, Rows
from minisqx.kernels.tiles.plain import activate, activation_backward, intrinsic_of, row_of_block
from minisqx.kernels.tiles.product import product_to_ds
from minisqx.kernels.tiles.simd import INDEX, VECTOR_BYTES, Loop, Vectors, flat, for_each_activation, moved, unpacked
from minisqx.kernels.tiles.sums import total


def _ds(ds, g, y, m, activation, block, lanes):
    out, gradient, stored = (row_of_block(x, m, block) for x in (ds, g, y))
    gradient = activation_backward(gradient, activate(stored * y.scale[m] + y.shift[m], activation), activation)
    count = VECTOR_BYTES // stored.itemsize
    sums = lanes[2 * m * count : 2 * (m + 1) * count].reshape(2, count)
    sums[0] += gradient.reshape(-1, count).sum(axis=0)
    sums[1] += (gradient * stored).reshape(-1, count).sum(axis=0)
    out[:] = gradient


@intrinsic_of(_ds)
def ds_row(typing_context, ds, g, y, m, activation, block, lanes):
    """ds[m, p] = g[m, p] f'(y[m, p]) for the pixels p of a block; ds and g: `Matrix`. y: `Chunk`, stored without f.

    activation: the number of f. Adds to the row m of lanes, flat (rows, 2, lanes): sum ds and sum ds e for each lane of a vector.
    """
    index = types.int64
    signature = types.void(ds, g, y, index, index, block, lanes)

    def generate(context, builder, signature, arguments):
        v = Vectors(builder, signature.args[0].types[0].dtype)
        ds, g, y, m, activation, block, lanes = (unpacked(context, builder, *each) for each in zip(signature.args, arguments))
        ds, g, e = (moved(builder, matrix, m, block.first).data for matrix in (ds, g, y))
        scale, shift = (v.broadcast(v.load_scalar(each, m)) for each in (y.scale, y.shift))
        places = [builder.mul(builder.add(builder.mul(m, INDEX(2)), INDEX(part)), INDEX(v.lanes)) for part in (0, 1)]
        before = [v.load(lanes, place) for place in places]

        def emit(activation: int) -> None:
            loop = Loop(builder, "ds", before)
            gradient, stored = (v.load(each, loop.index) for each in (g, e))
            gradient = v.activation_backward(gradient, v.activate(v.multiply_add(stored, scale, shift), activation), activation)
            v.store(gradient, ds, loop.index)
            following = [builder.fadd(loop.values[0], gradient), v.multiply_add(gradient, stored, loop.values[1])]
            loop.close(following, v.lanes, block.columns)
            for place, value in zip(places, following):
                v.store(value, lanes, place)

        for_each_activation(builder, activation, emit)
        return context.get_dummy_value()

    return signature, generate


@njit
def backward_chunk(ds, source, y, activated, chunk, pixels, sums, scratch):
    """One chunk of `backward`: ds `Matrix` (rows, pixels), y `Chunk`. sums: (rows, 2) float64, written.

    All padding is zero: that of dz, of stored gradients and of ds, so that it adds nothing to the sums.
    """
    rows, lane_count = sums.shape[0], VECTOR_BYTES // ds.data.itemsize
    lanes = scratch.columns.data[scratch.columns.at :]
    in_registers = 0 if source.added else source.produced
    sums[:] = 0
    for number in range(blocks_in(pixels, ds.data.itemsize)):
        block = block_at(number, pixels, ds.data.itemsize)
        lanes[: 2 * rows * lane_count] = 0
        if in_registers > 0:
            weight = Matrix(flat(source.weight), 0, source.produced)
            dz_columns = source_columns(source, chunk, block, scratch)  # (out_channels * taps, pixels)
            epilogue = NormActivationBackward(scratch.zeros, y.scale, y.shift, Matrix(y.data, y.at, y.stride), lanes)
            middle = min(activated.rows, in_registers)
            for start, stop, activation in ((0, middle, activated.activation), (middle, in_registers, NO_ACTIVATION)):
                if start < stop:
                    extent = Extent(start, stop, source.weight.shape[0], block.first, block.columns)
                    product_to_ds(ds, weight, dz_columns, extent, epilogue, activation)
        if in_registers < rows:
            g = gradient_rows(in_registers, rows, source, chunk, block, scratch)
            for m in range(in_registers, rows):
                activation = activated.activation if m < activated.rows else NO_ACTIVATION
                ds_row(ds, g, y, m, activation, block, lanes)
        for m in range(rows):
            for part in range(2):
                sums[m, part] += total(lanes, (2 * m + part) * lane_count, lane_count)


@njit
def pass_back(ds, source, y, activated, cut, workspace, place):
    """The first stage of `backward`: one chunk of ds, and its sums."""
    chunk = place.piece
    backward_chunk(
        matrix_of(Rows(ds, 0), chunk), source, chunk_of(y, chunk), activated, chunk, pixels_of(cut, chunk),
        workspace.by_chunk[chunk], scratch_of(workspace, place.thread),
    )  # fmt: skip


@njit
def add_sums(ds, source, y, activated, cut, workspace):
    """The last stage of `backward`: the sums of all chunks, in their order."""
    sums, chunk_sums = y.sums, workspace.by_chunk
    sums[:] = 0
    for chunk in range(chunk_sums.shape[0]):
        for m in range(sums.shape[0]):
            for part in range(2):
                sums[m, part] += chunk_sums[chunk, m, part]


# backward(ds, source, y, activated, cut, workspace): ds (chunks, rows, stride) = g f'(y), g from `source`.
#
# activated: `Activated`, f an activation of some of the rows. y: `Tensor`, whose sums are written: sum ds, and sum ds times the
# stored y; its own activation is not used. cut: of ds. workspace.by_chunk: (chunks, rows, 2) float64; its columns hold 2 vectors
# a row.
backward = Task(Chunked(pass_back, lambda ds, *_: len(ds)), Gathered(lambda *arguments: arguments[-1].by_chunk), add_sums)

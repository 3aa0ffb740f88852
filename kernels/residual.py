"""The residual sum r = f(u + v), and its backward.

Forward: u and v are stored tensors with a deferred scale and shift (and, in the order convolution, batch norm, activation, a
deferred activation). Backward: ds = g f'(r). On the way it takes the row sums that the batch norms before the sum need: sum ds,
sum ds u' and sum ds v', u' and v' as they are stored.

Where the layer that reads r has stride 2, only the pixels that it reads are summed, and ds is zero at all others
(`kernels.sampling`). The samples of u and v are kept for backward, a quarter of the tensors, which then reads no others.
"""

from numba import types

from minisqx.kernels.activation import NO_ACTIVATION, NUMBERS
from minisqx.kernels.blocks import (
    block_at,
    blocks_in,
    chunk_of,
    clear_tail,
    copy,
    fill_gradient,
    matrix_of,
    of_block,
    pixels_of,
    scratch_of,
    whole_vectors,
)
from minisqx.kernels.compiler.jit import njit
from minisqx.kernels.compiler.tasks import Chunked, Gathered, Task
from minisqx.kernels.sampling import sample
from minisqx.kernels.structures import Chunk, Rows, Sampling
from minisqx.kernels.tiles.activation_row import activate_row
from minisqx.kernels.tiles.plain import activate, activation_backward, intrinsic_of, row_of_block
from minisqx.kernels.tiles.simd import INDEX, Loop, Vectors, for_each_activation, moved, multiply_add, switch, unpacked


@njit
def load_row(out, out_at, x, m, block):
    """Row m of a block of x, a `Chunk`, as its reader sees it, into out[out_at:]: f(x * scale + shift)."""
    at = x.at + m * x.stride + block.first
    target, stored = out[out_at : out_at + block.columns], x.data[at : at + block.columns]
    for p in range(block.columns):
        target[p] = multiply_add(stored[p], x.scale[m], x.shift[m])
    if x.activation:
        activate_row(out, out_at, out, out_at, x.activation, block.columns)


def _added(out, u, v, m, activation, block):
    left, right = (activate(row_of_block(x, m, block) * x.scale[m] + x.shift[m], x.activation) for x in (u, v))
    row_of_block(out, m, block)[:] = activate(left + right, activation)


@intrinsic_of(_added)
def add_row(typing_context, out, u, v, m, activation, block):
    """out[m, p] = f(u[m, p] + v[m, p]) for the pixels p of a block; out: `Matrix`; u, v: `Chunk`. activation: the number of f.

    u and v may have an activation of their own; it is then f, too.
    """
    index = types.int64
    signature = types.void(out, u, v, index, index, block)

    def generate(context, builder, signature, arguments):
        vectors = Vectors(builder, signature.args[0].types[0].dtype)
        out, u, v, m, activation, block = (unpacked(context, builder, *each) for each in zip(signature.args, arguments))
        out = moved(builder, out, m, block.first).data
        rows = [moved(builder, x, m, block.first).data for x in (u, v)]
        scales, shifts = (
            [vectors.broadcast(vectors.load_scalar(each, m)) for each in pair]
            for pair in ((u.scale, v.scale), (u.shift, v.shift))
        )

        def emit(activation: int, *own: int) -> None:
            loop = Loop(builder, "add", [])
            a, b = (
                vectors.activate(vectors.multiply_add(vectors.load(row, loop.index), scale, shift), each)
                for row, scale, shift, each in zip(rows, scales, shifts, own)
            )
            vectors.store(vectors.activate(builder.fadd(a, b), activation), out, loop.index)
            loop.close([], vectors.lanes, block.columns)

        # An activation of u or v is the sum's own, so only whether there is one makes cases.
        u_active, v_active = (builder.zext(builder.icmp_signed("!=", x.activation, INDEX(NO_ACTIVATION)), INDEX) for x in (u, v))
        selector = builder.add(builder.mul(activation, INDEX(4)), builder.add(builder.mul(u_active, INDEX(2)), v_active))
        cases = {
            4 * each + 2 * a + b: lambda each=each, a=a, b=b: emit(each, a * each, b * each)
            for each in NUMBERS.values()
            if each != NO_ACTIVATION
            for a in (0, 1)
            for b in (0, 1)
        }
        switch(builder, selector, cases)
        return context.get_dummy_value()

    return signature, generate


@njit
def add_chunk(out, u, v, sampling, rows, activation, pixels, scratch):
    """One chunk of out = f(u + v): out `Matrix` (rows, pixels), u and v `Chunk`. activation: the number of f.

    pixels: of the sum. If sampling.sampled, only the samples of v are read. scratch: a `Matrix` of one row of a block.
    """
    for number in range(blocks_in(pixels, out.data.itemsize)):
        block = block_at(number, pixels, out.data.itemsize)
        right = v
        if sampling.sampled:
            # The samples of v's row m: one row of the scratch stands for each.
            right = Chunk(scratch.data, scratch.at - block.first, 0, v.scale, v.shift, v.activation)
        for m in range(rows):
            if sampling.sampled:
                row = v.at + m * v.stride
                sample(scratch.data, scratch.at, v.data, row, sampling.height, sampling.width, block)
            add_row(out, u, right, m, activation, block)
    clear_tail(out, rows, pixels, whole_vectors(pixels, out.data.itemsize))


@njit
def sample_chunk(out, x, rows, sampling, pixels, scratch):
    """The samples of a chunk: out and x are `Matrix` or `Chunk`; pixels: of out. scratch: a `Matrix` of one row of a block."""
    for m in range(rows):
        for number in range(blocks_in(pixels, out.data.itemsize)):
            block = block_at(number, pixels, out.data.itemsize)
            row = x.at + m * x.stride
            sample(scratch.data, scratch.at, x.data, row, sampling.height, sampling.width, block)
            copy(out.data, out.at + m * out.stride + block.first, scratch.data, scratch.at, block.columns)


@njit
def add(out, u, v, activation, cut, sampling, u_samples, v_samples, workspace, place):
    """One chunk of `forward`."""
    chunk, rows = place.piece, out.shape[1]
    scratch, pixels = scratch_of(workspace, place.thread).columns, pixels_of(cut, chunk)
    left, right = chunk_of(u, chunk), chunk_of(v, chunk)
    if sampling.sampled:
        u_kept, v_kept = matrix_of(Rows(u_samples, 0), chunk), matrix_of(Rows(v_samples, 0), chunk)
        sample_chunk(u_kept, left, rows, sampling, pixels, scratch)
        sample_chunk(v_kept, right, rows, sampling, pixels, scratch)
        left = Chunk(u_kept.data, u_kept.at, u_kept.stride, left.scale, left.shift, left.activation)
        right = Chunk(v_kept.data, v_kept.at, v_kept.stride, right.scale, right.shift, right.activation)
    add_chunk(matrix_of(Rows(out, 0), chunk), left, right, Sampling(False, 0, 0), rows, activation, pixels, scratch)


# forward(out, u, v, activation, cut, sampling, u_samples, v_samples, workspace): out (chunks, rows, stride) = f(u + v).
#
# u, v: `Tensor` of as many channels as out has rows. activation: the number of f. cut: of out. If sampling.sampled, only the
# samples of u and v are added; u_samples and v_samples (chunks, rows, stride) then receive them.
forward = Task(Chunked(add, lambda out, *_: len(out)))


def _ds(ds, g, y, u, v, m, activation, block, sums):
    out, gradient, output, left, right = (row_of_block(x, m, block) for x in (ds, g, y, u, v))
    gradient = activation_backward(gradient, output, activation)
    sums += [gradient.sum(), (gradient * left).sum(), (gradient * right).sum()]
    out[:] = gradient


@intrinsic_of(_ds)
def ds_row(typing_context, ds, g, y, u, v, m, activation, block, sums):
    """ds[m, p] = g[m, p] f'(y[m, p]) for the pixels p of a block; all are `Matrix`. activation: the number of f.

    Adds sum ds, sum ds u and sum ds v to sums (3,) float64.
    """
    index = types.int64
    signature = types.void(ds, g, y, u, v, index, index, block, sums)

    def generate(context, builder, signature, arguments):
        element = signature.args[0].types[0].dtype
        vectors = Vectors(builder, element)
        *matrices, m, activation, block, sums = (unpacked(context, builder, *each) for each in zip(signature.args, arguments))
        ds, g, y, u, v = (moved(builder, matrix, m, block.first).data for matrix in matrices)

        def emit(activation: int) -> None:
            loop = Loop(builder, "ds", [vectors.constant(0.0)] * 3)
            gradient, output, left, right = (vectors.load(each, loop.index) for each in (g, y, u, v))
            gradient = vectors.activation_backward(gradient, output, activation)
            vectors.store(gradient, ds, loop.index)
            plain, with_u, with_v = loop.values
            following = [
                builder.fadd(plain, gradient),
                vectors.multiply_add(gradient, left, with_u),
                vectors.multiply_add(gradient, right, with_v),
            ]
            loop.close(following, vectors.lanes, block.columns)
            for number, total in enumerate(following):
                at = builder.gep(sums, [INDEX(number)])
                total = context.cast(builder, vectors.sum(total), element, types.float64)
                builder.store(builder.fadd(builder.load(at), total), at)

        for_each_activation(builder, activation, emit)
        return context.get_dummy_value()

    return signature, generate


@njit
def backward_chunk(ds, source, activation, u, v, chunk, pixels, sums, scratch):
    """One chunk of `backward`: ds, u and v `Matrix` (rows, pixels). sums: (rows, 3) float64, written: for each row sum ds, sum
    ds u and sum ds v.
    """
    rows = sums.shape[0]
    sums[:] = 0
    for number in range(blocks_in(pixels, ds.data.itemsize)):
        block = block_at(number, pixels, ds.data.itemsize)
        first, columns = block.first, block.columns
        valid = min(columns, pixels - first)
        # g (rows, pixels), with zeros in the padding, which must not count in the sums.
        g = of_block(scratch.gradient, block)
        fill_gradient(g, 0, rows, source, chunk, block, scratch)
        for m in range(rows):
            padding = g.at + m * g.stride + first
            g.data[padding + valid : padding + columns] = 0
            ds_row(ds, g, ds, u, v, m, activation, block, sums[m])


@njit
def pass_back(ds, source, activation, u, v, cut, workspace, place):
    """The first stage of `backward`: one chunk of ds, and its sums."""
    chunk = place.piece
    backward_chunk(
        matrix_of(Rows(ds, 0), chunk), source, activation, matrix_of(u, chunk), matrix_of(v, chunk), chunk,
        pixels_of(cut, chunk), workspace.by_chunk[chunk], scratch_of(workspace, place.thread),
    )  # fmt: skip


@njit
def add_sums(ds, source, activation, u, v, cut, workspace):
    """The last stage of `backward`: the sums of all chunks, in their order."""
    chunk_sums = workspace.by_chunk
    for m in range(ds.shape[1]):
        total, with_u, with_v = 0.0, 0.0, 0.0
        for chunk in range(ds.shape[0]):
            total += chunk_sums[chunk, m, 0]
            with_u += chunk_sums[chunk, m, 1]
            with_v += chunk_sums[chunk, m, 2]
        u.sums[m, 0], u.sums[m, 1] = total, with_u
        v.sums[m, 0], v.sums[m, 1] = total, with_v


# backward(ds, source, activation, u, v, cut, workspace): ds (chunks, rows, stride) = g f'(r), g from `source`, in the place of r,
# which has no readers left.
#
# activation: the number of f. u, v: `Tensor`, whose sums are written: sum ds, and sum ds times the stored u or v; their scale,
# shift and activation are not used. cut: of ds. workspace.by_chunk: (chunks, rows, 3) float64.
backward = Task(Chunked(pass_back, lambda ds, *_: len(ds)), Gathered(lambda *arguments: arguments[-1].by_chunk), add_sums)

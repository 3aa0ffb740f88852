"""The epilogues of a product: operations on the sums of a tile while they are in registers (`product.py`).

Each takes a structure of `structures.py`, and is written twice: as a code generator for a row of vectors, and in NumPy
(`plain.py`).
"""

from minisqx.kernels.structures import Affine, Matrix, Moments, NormActivationBackward, NormBackward
from minisqx.kernels.tiles.plain import activate, activation_backward, block_of
from minisqx.kernels.tiles.simd import INDEX, VECTOR_BYTES, Vectors, moved


class Epilogue:
    """Emits code for one tile: `row` for one row of vectors of sums. `meaning` computes the same in NumPy, for all rows of z
    (rows, columns).

    out: `Matrix` of the output, from the tile's first element on. given: the epilogue's structure. tile: `product.Tile`.
    """

    STRUCTURE: type
    BY_ROW: tuple[str, ...]  # fields of the structure that are arrays with one number per row

    def __init__(self, v: Vectors, out: Matrix, given, tile):
        self.v, self.builder, self.out, self.given, self.tile = v, v.builder, out, given, tile
        self._rows = {name: v.builder.gep(getattr(given, name), [tile.row]) for name in self.BY_ROW}

    def row_constant(self, name: str, m: int):
        """The number for the tile's row m, in every lane."""
        return self.v.broadcast(self.v.load_scalar(self._rows[name], INDEX(m)))

    def place(self, matrix: Matrix, m: int, n: int):
        """The offset of vector n of the tile's row m."""
        return self.builder.add(self.builder.mul(INDEX(m), matrix.stride), INDEX(n * self.v.lanes))

    def store(self, value, m: int, n: int) -> None:
        self.v.store(value, self.out.data, self.place(self.out, m, n))

    def ahead(self, rows: int, vectors: int) -> None:
        """Prefetches the places that the next tile of the row writes: a store to memory that no cache holds reads it first."""
        for m in range(rows):
            for n in range(vectors):
                self.v.prefetch(self.out.data, self.place(self.out, m, vectors + n), write=True)


class AffineEpilogue(Epilogue):
    """out = f(z) * scale + shift."""

    STRUCTURE, BY_ROW = Affine, ("bias", "scale", "shift")

    def row(self, m: int, sums: list, activation: int) -> None:
        scale, shift = self.row_constant("scale", m), self.row_constant("shift", m)
        for n, z in enumerate(sums):
            self.store(self.v.multiply_add(self.v.activate(z, activation), scale, shift), m, n)

    @staticmethod
    def meaning(z, out, given: Affine, tile, activation: int) -> None:
        scale, shift = ((each + tile.row).column(len(z)) for each in (given.scale, given.shift))
        out[...] = activate(z, activation) * scale + shift


class MomentsEpilogue(Epilogue):
    """out = f(z) = e; lanes[m] = for each lane its first value K, the sum of e - K, and the sum of (e - K)^2.

    Since K is one of n values, cancellation in their variance is bounded by 1/n, however large their mean is.
    """

    STRUCTURE, BY_ROW = Moments, ("bias",)

    def __init__(self, v: Vectors, out: Matrix, given: Moments, tile):
        super().__init__(v, out, given, tile)
        builder = v.builder
        self.lanes = builder.gep(given.lanes, [builder.mul(tile.row, INDEX(3 * v.lanes))])
        self.is_first = builder.icmp_signed("==", tile.column, INDEX(0))

    def row(self, m: int, sums: list, activation: int) -> None:
        v, builder = self.v, self.builder
        values = [v.activate(z, activation) for z in sums]
        places = [INDEX((3 * m + part) * v.lanes) for part in range(3)]
        first, plain, squares = (v.load(self.lanes, place) for place in places)
        first = builder.select(self.is_first, values[0], first)
        for n, e in enumerate(values):
            self.store(e, m, n)
            difference = builder.fsub(e, first)
            plain = builder.fadd(plain, difference)
            squares = v.multiply_add(difference, difference, squares)
        for part, place in zip((first, plain, squares), places):
            v.store(part, self.lanes, place)

    @staticmethod
    def meaning(z, out, given: Moments, tile, activation: int) -> None:
        e, lane_count = activate(z, activation), VECTOR_BYTES // z.itemsize
        out[...] = e
        lanes = given.lanes + 3 * tile.row * lane_count
        first, plain, squares = lanes.row(len(z) * 3 * lane_count).reshape(len(z), 3, lane_count).swapaxes(0, 1)
        vectors = e.reshape(len(z), -1, lane_count)
        if tile.column == 0:
            first[...] = vectors[:, 0]
        differences = vectors - first[:, None]
        plain += differences.sum(axis=1)
        squares += (differences**2).sum(axis=1)


class NormBackwardEpilogue(Epilogue):
    """out = (a z + b e + c) f'(e); e is loaded before out is stored."""

    STRUCTURE, BY_ROW = NormBackward, ("bias", "a", "b", "c")

    def __init__(self, v: Vectors, out: Matrix, given: NormBackward, tile):
        super().__init__(v, out, given, tile)
        self.e = moved(v.builder, given.e, tile.row, tile.column)

    def ahead(self, rows: int, vectors: int) -> None:
        # Of e, whose place is the output's, too, unless that is scratch.
        for m in range(rows):
            for n in range(vectors):
                self.v.prefetch(self.e.data, self.place(self.e, m, vectors + n))

    def row(self, m: int, sums: list, activation: int) -> None:
        a, b, c = (self.row_constant(name, m) for name in ("a", "b", "c"))
        for n, g in enumerate(sums):
            e = self.v.load(self.e.data, self.place(self.e, m, n))
            self.store(self.v.batch_norm_activation_backward(g, e, a, b, c, activation), m, n)

    @staticmethod
    def meaning(g, out, given: NormBackward, tile, activation: int) -> None:
        a, b, c = ((each + tile.row).column(len(g)) for each in (given.a, given.b, given.c))
        e = block_of(given.e, tile.row, tile.column, *g.shape)
        out[...] = activation_backward(a * g + (b * e + c), e, activation)


class NormActivationBackwardEpilogue(Epilogue):
    """out = z f'(y), y = f(e scale + shift); lanes[m] += for each lane the sum of out, and that of out times e."""

    STRUCTURE, BY_ROW = NormActivationBackward, ("bias", "scale", "shift")

    def __init__(self, v: Vectors, out: Matrix, given: NormActivationBackward, tile):
        super().__init__(v, out, given, tile)
        self.e = moved(v.builder, given.e, tile.row, tile.column)
        self.lanes = v.builder.gep(given.lanes, [v.builder.mul(tile.row, INDEX(2 * v.lanes))])

    def ahead(self, rows: int, vectors: int) -> None:
        super().ahead(rows, vectors)
        for m in range(rows):
            for n in range(vectors):
                self.v.prefetch(self.e.data, self.place(self.e, m, vectors + n))

    def row(self, m: int, sums: list, activation: int) -> None:
        v = self.v
        scale, shift = (self.row_constant(name, m) for name in ("scale", "shift"))
        places = [INDEX((2 * m + part) * v.lanes) for part in (0, 1)]
        plain, with_e = (v.load(self.lanes, place) for place in places)
        for n, z in enumerate(sums):
            e = v.load(self.e.data, self.place(self.e, m, n))
            ds = v.activation_backward(z, v.activate(v.multiply_add(e, scale, shift), activation), activation)
            self.store(ds, m, n)
            plain, with_e = v.builder.fadd(plain, ds), v.multiply_add(ds, e, with_e)
        for part, place in zip((plain, with_e), places):
            v.store(part, self.lanes, place)

    @staticmethod
    def meaning(z, out, given: NormActivationBackward, tile, activation: int) -> None:
        scale, shift = ((each + tile.row).column(len(z)) for each in (given.scale, given.shift))
        e, lane_count = block_of(given.e, tile.row, tile.column, *z.shape), VECTOR_BYTES // z.itemsize
        out[...] = ds = activation_backward(z, activate(e * scale + shift, activation), activation)
        lanes = (given.lanes + 2 * tile.row * lane_count).row(len(z) * 2 * lane_count).reshape(len(z), 2, lane_count)
        for part, values in enumerate((ds, ds * e)):
            lanes[:, part] += values.reshape(len(z), -1, lane_count).sum(axis=1)

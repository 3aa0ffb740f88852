"""What becomes of the sums of a product's tile while they are in registers: the three endings of `product.py`, which see.

Each says it twice: as code for a row of vectors, and in NumPy (`plain.py`).
"""

from minisqx.kernels.plain import activate, activation_backward
from minisqx.kernels.simd import INDEX, VECTOR_BYTES, Vectors


class Ending:
    """What a product's tile does with its sums: `row` emits the code for one row of `vectors` sums at a time, and `meaning` says
    it of the sums z (rows, columns) in NumPy, where `given` holds the tile's arguments by name.
    """

    def __init__(self, v: Vectors, arguments: dict):
        self.v, self.builder, self.arguments = v, v.builder, arguments

    def row_constant(self, name: str, m: int):
        return self.v.broadcast(self.v.load_scalar(self.arguments[name], INDEX(m)))

    def place(self, stride: str, m: int, n: int):
        return self.builder.add(self.builder.mul(INDEX(m), self.arguments[stride]), INDEX(n * self.v.lanes))

    def ahead(self, rows: int, vectors: int) -> None:
        """Asks for what the next tile along a row will read, besides x."""


class Affine(Ending):
    """out = f(z) * scale + shift."""

    def row(self, m: int, sums: list, kind: int) -> None:
        scale, shift = self.row_constant("scale", m), self.row_constant("shift", m)
        for n, z in enumerate(sums):
            y = self.v.multiply_add(self.v.activate(z, kind), scale, shift)
            self.v.store(y, self.arguments["out"], self.place("out_stride", m, n))

    @staticmethod
    def meaning(z, given: dict) -> None:
        scale, shift = (given[name].column(len(z)) for name in ("scale", "shift"))
        given["out"].block(*z.shape, given["out_stride"])[...] = activate(z, given["activation"]) * scale + shift


class Moments(Ending):
    """out = f(z); moments[m] = for each lane its first value K, and the sums of e - K and of (e - K)^2.

    Since K is one of the values, what cancels in their variance is at most a part in their number, however large their mean is.
    """

    def row(self, m: int, sums: list, kind: int) -> None:
        v, builder, moments = self.v, self.builder, self.arguments["moments"]
        values = [self.v.activate(z, kind) for z in sums]
        places = [INDEX((3 * m + part) * v.lanes) for part in range(3)]
        first, plain, squares = (v.load(moments, place) for place in places)
        is_first = builder.icmp_signed("==", self.arguments["before"], INDEX(0))
        first = builder.select(is_first, values[0], first)
        for n, e in enumerate(values):
            v.store(e, self.arguments["out"], self.place("out_stride", m, n))
            difference = builder.fsub(e, first)
            plain = builder.fadd(plain, difference)
            squares = v.multiply_add(difference, difference, squares)
        for part, place in zip((first, plain, squares), places):
            v.store(part, moments, place)

    @staticmethod
    def meaning(z, given: dict) -> None:
        e, lane_count = activate(z, given["activation"]), VECTOR_BYTES // z.itemsize
        given["out"].block(*z.shape, given["out_stride"])[...] = e
        first, plain, squares = given["moments"].row(len(z) * 3 * lane_count).reshape(len(z), 3, lane_count).swapaxes(0, 1)
        vectors = e.reshape(len(z), -1, lane_count)
        if given["before"] == 0:
            first[...] = vectors[:, 0]
        differences = vectors - first[:, None]
        plain += differences.sum(axis=1)
        squares += (differences**2).sum(axis=1)


class ToDz(Ending):
    """out = (a z + b e + c) f'(e), with a, b, c in scale, slope and shift; e is loaded before out is stored."""

    def ahead(self, rows: int, vectors: int) -> None:
        for m in range(rows):
            for n in range(vectors):
                self.v.prefetch(self.arguments["e"], self.place("e_stride", m, vectors + n))

    def row(self, m: int, sums: list, kind: int) -> None:
        a, b, c = (self.row_constant(name, m) for name in ("scale", "slope", "shift"))
        for n, g in enumerate(sums):
            e = self.v.load(self.arguments["e"], self.place("e_stride", m, n))
            dz = self.v.batch_norm_activation_backward(g, e, a, b, c, kind)
            self.v.store(dz, self.arguments["out"], self.place("out_stride", m, n))

    @staticmethod
    def meaning(g, given: dict) -> None:
        a, b, c = (given[name].column(len(g)) for name in ("scale", "slope", "shift"))
        e = given["e"].block(*g.shape, given["e_stride"])
        dz = activation_backward(a * g + (b * e + c), e, given["activation"])
        given["out"].block(*g.shape, given["out_stride"])[...] = dz

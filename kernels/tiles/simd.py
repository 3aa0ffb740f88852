"""Explicit vectors in Numba, with which the register tiles are written.

Numba compiles scalar loops and leaves vectors to LLVM's vectoriser, which reaches 35 to 70 % of a core on small matrix
products and calls libm for `expm1`, one element at a time. So the inner tiles are emitted as LLVM instructions on
`<lanes x type>`. They are still portable: LLVM turns them into AVX-512, AVX2, SSE2 or NEON.

A tile is an intrinsic whose code generator loops in Python; with `Vectors`, the generator reads like arithmetic. Each tile also
has a meaning in NumPy (`plain.py`).
"""

from collections.abc import Callable
from functools import cache

from llvmlite import binding as llvm
from llvmlite import ir
from numba.core import cgutils, types

from minisqx.kernels.activation import NO_ACTIVATION, NUMBERS, check_activation, entry_of
from minisqx.kernels.compiler.identity import cpu_features, cpu_name
from minisqx.kernels.tiles.plain import intrinsic_of

INDEX = ir.IntType(64)
_LANE = ir.IntType(32)


@cache
def vector_registers() -> tuple[int, int]:
    """(bytes of a vector register, number of registers) of the CPU that kernels are compiled for.

    LLVM has no query for it, so this compiles a 64-byte addition: its assembly names the widest registers that LLVM uses.
    """
    vector = ir.VectorType(ir.FloatType(), 16)
    module = ir.Module()
    module.triple = llvm.get_process_triple()
    function = ir.Function(module, ir.FunctionType(vector, [vector, vector]), "add")
    builder = ir.IRBuilder(function.append_basic_block())
    builder.ret(builder.fadd(*function.args))
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(cpu=cpu_name(), features=cpu_features())
    assembly = machine.emit_assembly(llvm.parse_assembly(str(module)))
    if "zmm" in assembly:
        return 64, 32
    if "ymm" in assembly:
        return 32, 16
    return 16, 16 if "xmm" in assembly else 32


VECTOR_BYTES = vector_registers()[0]


def lanes(element: types.Float) -> int:
    """The number of elements of this Numba type in a vector register."""
    return VECTOR_BYTES * 8 // element.bitwidth


class Vectors:
    """Emits instructions on vectors of one element type. Methods return LLVM values.

    count: lanes of a vector; None: as many as a register has.
    """

    def __init__(self, builder: ir.IRBuilder, element: types.Float, count: int | None = None):
        self.builder = builder
        self.lanes = count or lanes(element)
        self.bytes = element.bitwidth // 8
        self.scalar = ir.FloatType() if element == types.float32 else ir.DoubleType()
        self.vector = ir.VectorType(self.scalar, self.lanes)
        self.bits = ir.VectorType(ir.IntType(element.bitwidth), self.lanes)
        self._suffix = f"v{self.lanes}f{element.bitwidth}"

    def constant(self, value: float) -> ir.Constant:
        return ir.Constant(self.vector, [float(value)] * self.lanes)

    def integer(self, value: int) -> ir.Constant:
        """A vector of integers as wide as the elements."""
        return ir.Constant(self.bits, [value] * self.lanes)

    def broadcast(self, scalar):
        return self._repeated(scalar, self.vector)

    def _repeated(self, scalar, vector: ir.VectorType):
        first = self.builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(_LANE, 0))
        return self.builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(_LANE, self.lanes), [0] * self.lanes))

    def load_scalar(self, base, offset):
        return self.builder.load(self.builder.gep(base, [offset]))

    def load(self, base, offset):
        value = self.builder.load(self._pointer(base, offset))
        value.align = self.bytes
        return value

    def load_indices(self, indices, offset):
        """A vector of int32 with as many lanes as a vector of floats."""
        value = self.builder.load(self._indices_pointer(indices, offset))
        value.align = 4
        return value

    def indices_from(self, first):
        """A vector of int32: first, first + 1, and so on. first: an int64."""
        lane = ir.Constant(ir.VectorType(_LANE, self.lanes), list(range(self.lanes)))
        return self.builder.add(self._repeated(self.builder.trunc(first, _LANE), lane.type), lane)

    def first_lanes(self, count):
        """Whether a lane is one of the first `count`, an int64 of any sign."""
        lane = ir.Constant(ir.VectorType(_LANE, self.lanes), list(range(self.lanes)))
        return self.builder.icmp_signed("<", lane, self._repeated(self.builder.trunc(count, _LANE), lane.type))

    def store_indices(self, value, indices, offset):
        self.builder.store(value, self._indices_pointer(indices, offset)).align = 4

    def _indices_pointer(self, indices, offset):
        return self.builder.bitcast(self.builder.gep(indices, [offset]), ir.VectorType(_LANE, self.lanes).as_pointer())

    def gather(self, base, indices, offset):
        """(values, inside): base[indices[offset + lane]] for each lane, and whether that index is not negative; where it is
        negative, the value is base[0]. indices: int32.
        """
        index = self.load_indices(indices, offset)
        zeros = ir.Constant(ir.VectorType(_LANE, self.lanes), [0] * self.lanes)
        inside = self.builder.icmp_signed(">=", index, zeros)
        # llvmlite doesn't support vectors of pointers: the instruction is right, but its type must be set.
        addresses = self.builder.gep(base, [self.builder.select(inside, index, zeros)], source_etype=self.scalar)
        addresses.type = ir.VectorType(self.scalar.as_pointer(), self.lanes)
        mask = ir.VectorType(ir.IntType(1), self.lanes)
        function_type = ir.FunctionType(self.vector, [addresses.type, _LANE, mask, self.vector])
        name = f"llvm.masked.gather.{self._suffix}.v{self.lanes}p0"
        gather = cgutils.get_or_insert_function(self.builder.module, function_type, name)
        arguments = [addresses, ir.Constant(_LANE, self.bytes), ir.Constant(mask, [1] * self.lanes), self.constant(0.0)]
        return self.builder.call(gather, arguments), inside

    def prefetch(self, base, offset, write: bool = False):
        """Prefetches the cache line of an element, which will be read or, if `write`, written."""
        address = self.builder.bitcast(self.builder.gep(base, [offset]), ir.IntType(8).as_pointer())
        function_type = ir.FunctionType(ir.VoidType(), [address.type, _LANE, _LANE, _LANE])
        prefetch = cgutils.get_or_insert_function(self.builder.module, function_type, "llvm.prefetch.p0i8")
        self.builder.call(prefetch, [address, *(ir.Constant(_LANE, value) for value in (0, 3, 1))])

    def store(self, value, base, offset):
        self.builder.store(value, self._pointer(base, offset)).align = self.bytes

    def _pointer(self, base, offset):
        return self.builder.bitcast(self.builder.gep(base, [offset]), self.vector.as_pointer())

    def multiply_add(self, a, b, c):
        """a * b + c, fused if the CPU supports it."""
        function_type, name = ir.FunctionType(self.vector, [self.vector] * 3), f"llvm.fmuladd.{self._suffix}"
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, function_type, name), [a, b, c])

    def sums(self, vectors: list) -> list[tuple[ir.Value, int]]:
        """The sum of the lanes of each vector, as (vector, the lane that holds the sum).

        The upper half of the lanes is added to the lower one, then the upper quarter, and so on. Up to as many vectors as a
        vector has lanes share these instructions, and their sums end up in one vector.
        """
        parts = [(vector, [number] * self.lanes) for number, vector in enumerate(vectors)]
        width = self.lanes
        while width > 1:
            parts = [self._halved(parts[i], parts[min(i + 1, len(parts) - 1)], width) for i in range(0, len(parts), 2)]
            width //= 2
        found = {number: (part, lane) for part, owners in parts for lane, number in enumerate(owners)}
        return [found[number] for number in range(len(vectors))]

    def sum(self, a):
        """The sum of the lanes, as a scalar."""
        ((vector, lane),) = self.sums([a])
        return self.builder.extract_element(vector, ir.Constant(_LANE, lane))

    def _halved(self, a, b, width: int):
        """Adds the halves of every `width` lanes of two vectors. Returns one vector, and the owner of each of its lanes.

        a, b: (vector, owners), owners[lane] the number of the vector to whose sum the lane belongs.
        """
        half, sections = width // 2, self.lanes // width
        # Halves below 128 bits stay within their 128-bit section, because moving lanes between sections costs more.
        group = sections if half * self.bytes >= 16 else 16 // (width * self.bytes)
        low = [
            which * self.lanes + section * width + lane
            for first in range(0, sections, group)
            for which in (0, 1)
            for section in range(first, first + group)
            for lane in range(half)
        ]
        halves = [self._shuffle(a[0], b[0], (lane + offset for lane in low)) for offset in (0, half)]
        return self.builder.fadd(*halves), [(a[1] + b[1])[lane] for lane in low]

    def add_lanes(self, a, lanes: list[int], base, offset):
        """base[offset + i] += a[lanes[i]]."""
        vector = ir.VectorType(self.scalar, len(lanes))
        pointer = self.builder.bitcast(self.builder.gep(base, [offset]), vector.as_pointer())
        before = self.builder.load(pointer)
        before.align = self.bytes
        self.builder.store(self.builder.fadd(before, self._shuffle(a, a, lanes)), pointer).align = self.bytes

    def select(self, comparison: str, a, b, yes, no):
        """`yes` where `a <comparison> b`, else `no`; comparisons with NaN are false."""
        return self.builder.select(self.builder.fcmp_ordered(comparison, a, b), yes, no)

    def even_lanes(self, a, b):
        """Lanes 0, 2, 4, ... of the concatenation of two vectors."""
        return self._shuffle(a, b, range(0, 2 * self.lanes, 2))

    def with_zeros_between(self, a):
        """The lower half of the lanes, each followed by a zero."""
        return self._shuffle(a, self.constant(0.0), (lane for n in range(self.lanes // 2) for lane in (n, self.lanes)))

    def _shuffle(self, a, b, lanes):
        chosen = list(lanes)
        return self.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_LANE, len(chosen)), chosen))

    def minimum(self, a, b):
        """The minimum, in a single instruction; `b` where either is NaN."""
        return self.select("<", a, b, a, b)

    def maximum(self, a, b):
        """The maximum, in a single instruction; `b` where either is NaN."""
        return self.select(">", a, b, a, b)

    def activate(self, z, activation: int):
        """f(z), f the activation with this number; NaN stays NaN."""
        return z if check_activation(activation) == NO_ACTIVATION else entry_of(activation).vectors(self, z)

    def activation_backward(self, g, y, activation: int):
        """g times the activation's slope, from its output y."""
        return g if check_activation(activation) == NO_ACTIVATION else entry_of(activation).vectors_backward(self, g, y)

    def batch_norm_activation_backward(self, g, e, a, b, c, activation: int):
        """(a g + b e + c) times the slope of the activation whose output is e."""
        return self.activation_backward(self.multiply_add(a, g, self.multiply_add(b, e, c)), e, activation)


class Loop:
    """A loop in LLVM with variables in registers. Code emitted after the constructor is its body, until `close`.

    index: starts at 0. values: the other loop variables, with the values `initial` in the first iteration.
    """

    def __init__(self, builder: ir.IRBuilder, name: str, initial: list):
        self.builder = builder
        entry = builder.block
        self.block = builder.append_basic_block(name)
        builder.branch(self.block)
        builder.position_at_end(self.block)
        self.index = builder.phi(INDEX)
        self.index.add_incoming(INDEX(0), entry)
        self.values = [builder.phi(value.type) for value in initial]
        for variable, value in zip(self.values, initial):
            variable.add_incoming(value, entry)

    def close(self, following: list, step: int, count):
        """Ends the body. The next iteration has the values `following`, while index + step < count."""
        builder = self.builder
        after = builder.add(self.index, INDEX(step))
        self.index.add_incoming(after, builder.block)
        for variable, value in zip(self.values, following):
            variable.add_incoming(value, builder.block)
        done = builder.append_basic_block("done")
        builder.cbranch(builder.icmp_signed("<", after, count), self.block, done)
        builder.position_at_end(done)


def switch(builder, selector, emit: dict) -> None:
    """Emits a switch. emit: selector -> function that emits the code of its case.

    Layers and plans raise OptionError for an unknown activation. If a selector without a case gets here nevertheless, the process
    is ended, because otherwise the output would stay unwritten: a wrong result that looks like a right one.
    """
    done, unknown = builder.append_basic_block("switch_done"), builder.append_basic_block("switch_unknown")
    blocks = {number: builder.append_basic_block(f"case_{number}") for number in emit}
    chosen = builder.switch(selector, unknown)
    for number, block in blocks.items():
        chosen.add_case(INDEX(number), block)
        builder.position_at_end(block)
        emit[number]()
        builder.branch(done)
    builder.position_at_end(unknown)
    # Not `llvm.trap`: LLVM lays out code before a call that never returns differently, and inference takes 2 % longer.
    trap = ir.FunctionType(ir.VoidType(), [])
    builder.call(cgutils.get_or_insert_function(builder.module, trap, "llvm.debugtrap"), [])
    builder.branch(done)
    builder.position_at_end(done)


def for_each_activation(builder, activation, emit: Callable[[int], object], none: bool = True) -> None:
    """Emits a switch on an activation's number, with a case emitted by `emit(number)` for each; none: also for NO_ACTIVATION."""
    numbers = [number for number in NUMBERS.values() if none or number != NO_ACTIVATION]
    switch(builder, activation, {number: lambda number=number: emit(number) for number in numbers})


def data_pointer(context, builder, array_type, array):
    """The address of an array's first element."""
    return context.make_array(array_type)(context, builder, array).data


@intrinsic_of(lambda array: array.reshape(-1))
def flat(typing_context, array):
    """An array as one row, without reference counting, so that structures of it cost nothing. It must not outlive the array, so
    kernels call this only on their arguments.
    """
    row = types.Array(array.dtype, 1, "C")

    def generate(context, builder, signature, arguments):
        given, made = context.make_array(array)(context, builder, arguments[0]), context.make_array(row)(context, builder)
        made.data, made.itemsize, made.nitems = given.data, given.itemsize, given.nitems
        made.shape, made.strides = (cgutils.pack_array(builder, [each]) for each in (given.nitems, given.itemsize))
        made.meminfo, made.parent = (cgutils.get_null_value(getattr(made, each).type) for each in ("meminfo", "parent"))
        return made._getvalue()

    return row(array), generate


@intrinsic_of(lambda array, at, rows, columns: array[at : at + rows * columns].reshape(rows, columns))
def matrix_in(typing_context, array, at, rows, columns):
    """The matrix (rows, columns) that begins at element `at` of a flat array. It doesn't count as a reference, either, and raises
    nothing, as `reshape` may: what only infers has no use for Python's errors (`compiler/link.py`).
    """
    matrix = types.Array(array.dtype, 2, "C")

    def generate(context, builder, signature, arguments):
        given, made = context.make_array(array)(context, builder, arguments[0]), context.make_array(matrix)(context, builder)
        _, at, *shape = arguments
        made.data, made.itemsize, made.nitems = builder.gep(given.data, [at]), given.itemsize, builder.mul(*shape)
        made.shape = cgutils.pack_array(builder, shape)
        made.strides = cgutils.pack_array(builder, [builder.mul(shape[1], given.itemsize), given.itemsize])
        made.meminfo, made.parent = (cgutils.get_null_value(getattr(made, each).type) for each in ("meminfo", "parent"))
        return made._getvalue()

    return matrix(array, types.int64, types.int64, types.int64), generate


def structure(cls, *members: types.Type) -> types.BaseTuple:
    """The Numba type of a structure (`structures.py`) whose members have these types."""
    return types.BaseTuple.from_types(members, cls)


def unpacked(context, builder, numba_type, value):
    """The value in the form that code generators take: for an array the address of its first element, for a structure the same
    structure of such values.
    """
    if isinstance(numba_type, types.Array):
        return data_pointer(context, builder, numba_type, value)
    if isinstance(numba_type, types.BaseTuple):
        members = (builder.extract_value(value, i) for i in range(len(numba_type.types)))
        return numba_type.instance_class(*(unpacked(context, builder, *member) for member in zip(numba_type.types, members)))
    return value


def as_c_argument(context, builder, numba_type, value) -> tuple:
    """(Numba type, value) of an argument of a C function: arrays, also in structures, are replaced by addresses."""
    if isinstance(numba_type, types.Array):
        return types.CPointer(numba_type.dtype), data_pointer(context, builder, numba_type, value)
    if isinstance(numba_type, types.BaseTuple):
        members = [
            as_c_argument(context, builder, member, builder.extract_value(value, i)) for i, member in enumerate(numba_type.types)
        ]
        lowered = structure(numba_type.instance_class, *(member for member, _ in members))
        return lowered, context.make_tuple(builder, lowered, [member for _, member in members])
    return numba_type, value


def moved(builder, matrix, row, column):
    """A `structures.Matrix` of LLVM values, moved to start at this row and column."""
    place = builder.add(builder.add(matrix.at, builder.mul(row, matrix.stride)), column)
    return matrix._replace(data=builder.gep(matrix.data, [place]), at=INDEX(0))


@intrinsic_of(lambda a, b, c: a * b + c)
def multiply_add(typing_context, a, b, c):
    """a * b + c for three floats of one type, fused if the CPU supports it, as in `Vectors.multiply_add`. LLVM can vectorise a
    loop of these, and an element has the same bits in a vector as alone.
    """

    def generate(context, builder, signature, arguments):
        scalar = arguments[0].type
        function = ir.FunctionType(scalar, [scalar] * 3)
        name = f"llvm.fmuladd.f{signature.args[0].bitwidth}"
        return builder.call(cgutils.get_or_insert_function(builder.module, function, name), arguments)

    return a(a, a, a), generate


@intrinsic_of(lambda pointer, offset: pointer + offset)
def advance(typing_context, pointer, offset):
    """pointer + offset elements."""
    return pointer(pointer, types.int64), lambda context, builder, signature, arguments: builder.gep(arguments[0], [arguments[1]])

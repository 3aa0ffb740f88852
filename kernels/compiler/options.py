"""The options that all kernels are compiled with."""

# Only `prange` runs on several threads: Numba would also spread each small array expression. Its index is a uint64; loops make
# an int64 of it, or every kernel that they call would be compiled a second time.
PRANGE = {"prange": True} | dict.fromkeys(
    ("comprehension", "reduction", "inplace_binop", "setitem", "numpy", "stencil", "fusion"), False
)

# The compiler may neither reorder nor fuse operations. LLVM makes several versions of a loop and chooses among them by where the
# arrays lie, so with such freedom the same numbers give other bits at other addresses. The source spells out the order of a sum
# (`tiles/sums.py`) and what is fused (`simd.multiply_add`). A kernel that does not say so inherits the flags of its caller.
EXACT = {"fastmath": False, "error_model": "numpy"}


def kernel_options(parallel: bool) -> dict:
    """Of a kernel that Numba calls."""
    return {"nopython": True, "nogil": True, "boundscheck": False, "parallel": PRANGE if parallel else False, **EXACT}

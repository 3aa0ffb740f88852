"""The options with which all kernels are compiled."""

# Only `prange` runs on several threads (`team.py`); by default Numba also parallelises small array expressions.
PRANGE = {"prange": True} | dict.fromkeys(
    ("comprehension", "reduction", "inplace_binop", "setitem", "numpy", "stencil", "fusion"), False
)

# The compiler may neither reorder nor fuse operations. LLVM makes several versions of a loop and chooses by the addresses of the
# arrays, so otherwise the same numbers could give other bits at other addresses. The source states the order of sums
# (`tiles/sums.py`) and fuses explicitly (`simd.multiply_add`). A kernel without these flags would inherit its caller's.
EXACT = {"fastmath": False, "error_model": "numpy"}


def kernel_options(parallel: bool) -> dict:
    """The options of `numba.jit`."""
    return {"nopython": True, "nogil": True, "boundscheck": False, "parallel": PRANGE if parallel else False, **EXACT}

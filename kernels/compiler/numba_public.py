"""The interface of `numba_members` with Numba's public functions alone: every start compiles all kernels, and none is cached."""

import numba

thread_count, set_thread_count = numba.get_num_threads, numba.set_num_threads


def kernel(function, options: dict, kept):
    """A kernel that is compiled for the types with which it is called."""
    return numba.jit(**options)(function)


def c_function(function, signature, options: dict, kept):
    """`function` as a C function for `signature` (of Numba types)."""
    return numba.cfunc(signature, **options)(function)

"""What `numba_members` does, with Numba's public functions alone: kernels are compiled at each start, and none is kept."""

import numba

thread_count, set_thread_count = numba.get_num_threads, numba.set_num_threads


def kernel(function, options: dict, kept):
    """A kernel that compiles what it is called with."""
    return numba.jit(**options)(function)


def c_function(function, signature, options: dict, kept):
    """`function` compiled as a C function for `signature` (of Numba types)."""
    return numba.cfunc(signature, **options)(function)


def code_of(kernel, arguments: tuple):
    """The kernel itself, which looks at the types of its arguments at every call."""
    return kernel

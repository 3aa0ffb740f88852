"""Selects how kernels are compiled: with Numba's private members (`numba_members`), or with its public functions alone."""

import numba
from numba.core.compiler_lock import global_compiler_lock

from minisqx.kernels.compiler import cache, late
from minisqx.kernels.compiler.options import kernel_options


def _difference() -> str | None:
    """Why the private members of this Numba can't be used; None if they can."""
    try:
        from minisqx.kernels.compiler import numba_members

        return next(numba_members.differences(), None)
    except Exception as error:  # an unknown Numba may raise anything while its classes are subclassed
        return f"{type(error).__name__}: {error}"


if _reason := _difference():
    from minisqx.kernels.compiler import numba_public as members

    cache.keep_nothing(
        f"this minisqx doesn't support Numba {numba.__version__} ({_reason}): each start compiles all kernels, for minutes;"
        " install Numba 0.61 to 0.68"
    )
else:
    from minisqx.kernels.compiler import numba_members as members  # type: ignore[no-redef]

__all__ = ["dispatcher", "members"]

# Whatever compiles has imported this module before.
late.hold_during_forks(global_compiler_lock)


def dispatcher(function, parallel: bool):
    """Numba's dispatcher of a kernel, with its machine code in the cache."""
    return members.kernel(function, kernel_options(parallel), cache.KernelCache(function))

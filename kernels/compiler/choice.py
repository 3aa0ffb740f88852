"""Which of Numba's members kernels are compiled with: all that `numba_members` knows, or the public ones alone."""

import numba

from minisqx.kernels.compiler import cache
from minisqx.kernels.compiler.options import kernel_options


def _difference() -> str | None:
    """Why this Numba's members can't be used, if so."""
    try:
        from minisqx.kernels.compiler import numba_members

        return next(numba_members.differences(), None)
    except Exception as error:  # whatever a Numba that nobody has seen yet may raise while its classes are extended
        return f"{type(error).__name__}: {error}"


if _reason := _difference():
    from minisqx.kernels.compiler import numba_public as members

    cache.keep_nothing(
        f"Numba {numba.__version__} is not one that minisqx knows ({_reason}): each start compiles all kernels, for minutes, with"
        " Numba's public functions alone; install Numba 0.61 to 0.68"
    )
else:
    from minisqx.kernels.compiler import numba_members as members  # type: ignore[no-redef]

__all__ = ["dispatcher", "members"]


def dispatcher(function, parallel: bool):
    """A kernel as Numba calls it, whose machine code is kept."""
    return members.kernel(function, kernel_options(parallel), cache.KernelCache(function))

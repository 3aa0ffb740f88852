"""The one place that compiles kernels: the flags, and the folder that keeps compiled code.

Numba's own `cache=True` checks only the file a function stands in, so a change in another file serves stale code; it
raises where its folder is damaged, and writes next to the sources. Here compiled code lies in a folder of our own,
named by a hash of every kernel's source, of Numba's version and of the CPU. A folder that can't be used costs compile
time and one line, never an error.
"""

import functools
import hashlib
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import llvmlite
import numba
from llvmlite import binding as llvm
from llvmlite import ir
from numba.core import caching, cgutils, types
from numba.core.ccallback import CFunc
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher
from numba.core.registry import CPUDispatcher
from numba.core.runtime import _nrt_python
from numba.core.sigutils import normalize_signature

from minisqx.folders import cache_root

# Sums may be reordered (so they can use vectors) and a*b+c fused. NaN and infinity keep their meaning.
FASTMATH = {"reassoc", "contract", "nsz", "arcp"}
# Only `prange` runs on several threads: Numba would also spread each small array expression. Its index is a uint64; loops make
# an int64 of it, or every kernel that they call would be compiled a second time.
PRANGE = {"prange": True} | dict.fromkeys(
    ("comprehension", "reduction", "inplace_binop", "setitem", "numpy", "stencil", "fusion"), False
)


def cpu_name() -> str:
    """The CPU that code is made for: the host's, unless `NUMBA_CPU_NAME` names another."""
    return numba.config.CPU_NAME or llvm.get_host_cpu_name()


def cpu_features() -> str:
    """Its features in LLVM's notation (`+avx2,-avx512f,...`)."""
    if numba.config.CPU_FEATURES is not None:
        return numba.config.CPU_FEATURES
    if numba.config.CPU_NAME and llvm.get_host_cpu_name() != numba.config.CPU_NAME:
        return ""
    return llvm.get_host_cpu_features().flatten()


def threads() -> int:
    """The threads on which a parallel kernel runs that this Python thread calls."""
    return numba.get_num_threads()


def most_threads() -> int:
    """The threads that parallel kernels can have at most: Numba fixes it when it is imported."""
    return numba.config.NUMBA_NUM_THREADS


def _sources_digest() -> str:
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__} {sys.version} {cpu_name()} {cpu_features()}".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:20]


class _Folder(caching._CacheLocator):
    """Tells Numba where compiled kernels lie, and that the folder's name says all there is to know of their age."""

    path = None  # set once, below

    def __init__(self, py_func):
        self._name = f"{py_func.__module__}.{py_func.__qualname__}"

    def get_cache_path(self):
        return str(self.path)

    def get_source_stamp(self):
        return self.path.name

    def get_disambiguator(self):
        return self._name

    @classmethod
    def from_function(cls, py_func, py_file):
        return cls(py_func)


class _Implementation(caching.CompileResultCacheImpl):
    _locator_classes = [_Folder]


class _KernelCache(caching.FunctionCache):
    """Compiled kernels on disk, where any fault means "compile again"."""

    _impl_class = _Implementation

    def _index_key(self, sig, codegen):
        # The folder's name stands for all sources, and the file's for the function: Numba's own key would also hash what a
        # kernel closes over, which differs in every process.
        return sig, codegen.magic_tuple()

    def load_overload(self, sig, target_context):
        try:
            # Numba's own would first import and register all that a compilation may need: a third of a second.
            _memory_symbols()
            loaded = self._load_overload(sig, target_context)
        except Exception:
            # Damaged: forget this function's files, so that the new code can be kept.
            for stale in Path(self.cache_path).glob(f"{self._impl.filename_base}*"):
                stale.unlink(missing_ok=True)
            loaded = None
        if loaded is None:
            _tell_before_compiling()
        return loaded

    def save_overload(self, sig, data):
        if _Kernel._depth > 1:
            return
        try:
            super().save_overload(sig, data)
        except Exception as error:
            _without_cache(error)


@functools.cache
def _memory_symbols() -> None:
    """Makes known what compiled code calls of Numba's memory management, as `rtsys.initialize` does before it compiles more."""
    for name, address in _nrt_python.c_helpers.items():
        llvm.add_symbol(name if name.startswith("_") else f"NRT_{name}", address)


_tell: Callable[[], object] | None = None


def before_compiling(tell: Callable[[], object]) -> None:
    """Has `tell` called once, before the first kernel that is not in the folder is compiled; never if all are there."""
    global _tell
    _tell = tell


def _tell_before_compiling() -> None:
    global _tell
    if _tell is not None:
        told, _tell = _tell, None
        told()


def _without_cache(reason) -> None:
    warnings.warn(
        f"compiled kernels are not kept ({reason}); set MINISQX_CACHE to a folder that can be written to start faster",
        stacklevel=2,
    )
    _Folder.path = None


def _open_folder() -> None:
    try:
        path = cache_root() / "kernels" / _sources_digest()
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(f"no permission to write {path}")
        _Folder.path = path
    except (OSError, RuntimeError) as error:
        _without_cache(error)


_open_folder()


def folder() -> Path | None:
    """Where compiled kernels lie; None if they can't be kept."""
    return _Folder.path


def _flags(fastmath: bool) -> dict:
    """Numba puts these flags on every operation, those that `simd` emits, too: what relies on exact rounding goes without.

    It must say so: a kernel that says nothing inherits the flags of the kernel for which it is compiled.
    """
    return {"fastmath": FASTMATH if fastmath else False}


class _Inlined:
    """Stands for the entry of a kernel that was compiled only to become part of others."""


class _Kernel(CPUDispatcher):
    """Numba makes machine code, and an entry from Python, of every kernel that another one calls, though what is called is
    a copy within its caller. Here that waits until the kernel is called from Python, which most never are.
    """

    _depth = 0  # of kernels that are being compiled, each for the one before; guarded by Numba's lock

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        self._compiler._customize_flags = self._adapt

    @staticmethod
    def _adapt(flags):
        if _Kernel._depth > 1:
            flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
        return flags

    def compile(self, sig):
        with global_compiler_lock:
            kinds = normalize_signature(sig)[0]
            if _Kernel._depth == 0 and kinds in self.overloads and isinstance(self.overloads[kinds].entry_point, _Inlined):
                del self.overloads[kinds]
            _Kernel._depth += 1
            try:
                return super().compile(sig)
            finally:
                _Kernel._depth -= 1

    def add_overload(self, cres):
        if cres.entry_point is not None:
            super().add_overload(cres)
            return
        cres = cres._replace(entry_point=_Inlined())
        self.targetctx.insert_user_function(cres.entry_point, cres.fndesc, [cres.library])
        self.overloads[tuple(cres.signature.args)] = cres


def njit(function=None, *, parallel: bool = False, fastmath: bool = True):
    """Compiles a kernel on its first call with given types, without the interpreter's lock, and keeps the machine code."""
    if function is None:
        return lambda f: njit(f, parallel=parallel, fastmath=fastmath)
    options = {"nogil": True, "boundscheck": False, "error_model": "numpy", "parallel": PRANGE if parallel else False}
    if numba.config.DISABLE_JIT:
        return function
    dispatcher = _Kernel(py_func=function, targetoptions={"nopython": True, **options, **_flags(fastmath)})
    if _Folder.path is not None:
        dispatcher._cache = _KernelCache(function)
    return dispatcher


def bound(kernel, arguments: tuple):
    """The machine code of a kernel for the types of these arguments, to be called again and again with others of the same types.

    Numba finds out the type of every argument at every call, which costs more than a small layer: 10 us for two dozen of them.
    """
    if not isinstance(kernel, Dispatcher):
        return kernel
    kinds = tuple(kernel.typeof_pyval(argument) for argument in arguments)
    kernel.compile(kinds)
    return kernel.overloads[kinds].entry_point


# Numba copies a kernel into every kernel that calls it, and LLVM compiles each copy again. Large ones are compiled
# once, as C functions, and called through a symbol.
_published: dict[str, object] = {}


def publish(name: str, signature, function, *, fastmath: bool) -> None:
    """Compiles `function` for `signature` (Numba types) as a C function, or loads it, and makes it callable by
    `call_published`.
    """
    if name in _published:
        return
    compiled = CFunc(function, (signature.args, signature.return_type), {}, {**_flags(fastmath), "error_model": "numpy"})
    if _Folder.path is not None:
        compiled._cache = _KernelCache(function)
    compiled.compile()
    llvm.add_symbol(name, compiled.address)
    _published[name] = compiled


def call_published(context, builder, name: str, signature, arguments: list) -> None:
    """Emits the call of a published function; an array passes the address of its first element."""
    values, kinds = [], []
    for kind, value in zip(signature.args, arguments):
        if isinstance(kind, types.Array):
            value = context.make_array(kind)(context, builder, value).data
        values.append(value)
        kinds.append(value.type)
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), kinds), name)
    builder.call(function, values)

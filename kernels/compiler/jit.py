"""The one place that compiles kernels and lets parallel kernels run one at a time; `cache` keeps the machine code."""

import functools
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numba
import numpy as np
import numpy.ma  # Numba would at a kernel's first call: a fork in that moment left its child waiting for the import's lock
from llvmlite import binding as llvm
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.ccallback import CFunc
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher
from numba.core.registry import CPUDispatcher, cpu_target
from numba.core.sigutils import normalize_signature
from numba.np.ufunc import parallel as numba_threads

from minisqx.errors import TrainingError
from minisqx.kernels.compiler.cache import KernelCache
from minisqx.machine.threads import threads

# Only `prange` runs on several threads: Numba would also spread each small array expression. Its index is a uint64; loops make
# an int64 of it, or every kernel that they call would be compiled a second time.
PRANGE = {"prange": True} | dict.fromkeys(
    ("comprehension", "reduction", "inplace_binop", "setitem", "numpy", "stencil", "fusion"), False
)


def threading_layer() -> str:
    """What Numba's parallel kernels run on: tbb, omp or workqueue. It is started if it has not been."""
    numba.get_num_threads()
    return numba.threading_layer()


# The compiler may neither reorder nor fuse operations. LLVM makes several versions of a loop and chooses among them by where the
# arrays lie, so with such freedom the same numbers give other bits at other addresses. The source spells out the order of a sum
# (`tiles/sums.py`) and what is fused (`simd.multiply_add`). A kernel that does not say so inherits the flags of its caller.
EXACT = {"fastmath": False, "error_model": "numpy"}


# Numba's `workqueue` layer ends the process when two Python threads run parallel kernels at once, and GNU OpenMP ends a process
# that was forked after it had been used. So there is a lock, and a child that is told apart. A fork waits for both locks, this
# one and the compiler's: in the child nobody would be left to release them.
_parallel = threading.RLock()
_forked_after_openmp = False


def _before_fork() -> None:
    _parallel.acquire()
    global_compiler_lock.acquire()


def _after_fork() -> None:
    global_compiler_lock.release()
    _parallel.release()


def _after_fork_in_child() -> None:
    global _forked_after_openmp
    _after_fork()
    with suppress(ValueError):  # no layer has been started
        _forked_after_openmp = _forked_after_openmp or (numba.threading_layer() == "omp" and sys.platform == "linux")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)


def _run_alone(code, *arguments):
    """Runs a parallel kernel while no other one runs. Raises TrainingError where the system would end the process."""
    if _forked_after_openmp:
        raise TrainingError(
            "this process was forked from one that had trained, and GNU OpenMP can't go on in it: start it with"
            " multiprocessing's method 'spawn', or set NUMBA_THREADING_LAYER=workqueue before Python starts"
        )
    with _parallel:
        if not numba_threads._is_initialized:
            numba.get_num_threads()
        # Numba keeps a number for each Python thread. It is the caller's: ours counts for this kernel alone.
        before, count = numba_threads._get_num_threads(), threads()
        if count == before:
            return code(*arguments)
        numba_threads._set_num_threads(count)
        try:
            return code(*arguments)
        finally:
            numba_threads._set_num_threads(before)


_SHARED = (llvm.Linkage.linkonce_odr, llvm.Linkage.weak_odr)


class _Library(JITCodeLibrary):
    """A function with its own copies of those that it calls; machine code only where something asks for its address.

    Numba optimises all that it compiles and makes machine code of it: of callees, and three times of each parallel loop, though
    only their copies within a kernel ever run. It leaves those copies, each optimised for its kernel, under one weak name; the
    linker takes whichever of them a process met first, and they need not round alike. So here a callee is handed on before it
    is optimised, and its caller optimises it once, as a part of its own that nobody else sees.
    """

    _is_code = False

    def _optimize_final_module(self):
        pass  # until machine code is made

    def _finalize_final_module(self):
        if self._object_caching_enabled and self._compiled_object is not None:
            self._is_code = True  # from the folder
            super()._finalize_final_module()
        else:
            self._finalize_dynamic_globals()
            self._finalized = True

    def _make_code(self) -> None:
        self._ensure_finalized()
        if self._is_code:
            return
        self._is_code = True
        self._get_module_for_linking()  # for callers: Numba keeps a clone, since its functions can be seen outside
        linked = [library._get_module_for_linking() for library in self._linking_libraries]
        copies = {function.name for module in linked for function in _defined(module)}
        for function in _defined(self._final_module):
            if function.name in copies and function.linkage in _SHARED:
                function.linkage = llvm.Linkage.internal
        super()._optimize_final_module()
        self._final_module.verify()
        super()._finalize_final_module()

    def get_pointer_to_function(self, name):
        self._ensure_finalized()
        is_loop = self.name.startswith("__numba_parfor_gufunc")  # asked for its entry from Python, which nobody calls
        if not is_loop and any(function.name == name for function in _defined(self._final_module)):
            self._make_code()
        return super().get_pointer_to_function(name)

    def _get_compiled_object(self):
        self._make_code()
        return super()._get_compiled_object()


def _defined(module) -> list:
    return [function for function in module.functions if not function.is_declaration]


@contextmanager
def _lazy_code() -> Iterator[None]:
    """While it is entered, with Numba's lock held, what is compiled is such a library."""
    codegen = cpu_target.target_context.codegen()
    before, set_env = dict(vars(codegen)), codegen.set_env

    def set_env_in_code(name, environment):
        if codegen._engine.is_symbol_defined(name):  # not in what is only a part of a kernel
            set_env(name, environment)

    codegen._library_class, codegen.set_env = _Library, set_env_in_code
    try:
        yield
    finally:
        for name in ("_library_class", "set_env"):
            if name in before:
                setattr(codegen, name, before[name])
            else:
                delattr(codegen, name)


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
    def is_part():
        """Whether what is compiled now is only a part of another kernel."""
        return _Kernel._depth > 1

    @staticmethod
    def _adapt(flags):
        if _Kernel.is_part():
            flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
        return flags

    def compile(self, sig):
        with global_compiler_lock:
            kinds = normalize_signature(sig)[0]
            if _Kernel._depth == 0 and kinds in self.overloads and isinstance(self.overloads[kinds].entry_point, _Inlined):
                del self.overloads[kinds]
            _Kernel._depth += 1
            try:
                with _lazy_code():
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


class _ParallelKernel(_Kernel):
    """A kernel that spreads its `prange` over several threads."""

    def __call__(self, *arguments):
        return _run_alone(super().__call__, *arguments)


def njit(function=None, *, parallel: bool = False):
    """Compiles a kernel on its first call with given types, without the interpreter's lock, and keeps the machine code."""
    if function is None:
        return lambda f: njit(f, parallel=parallel)
    options = {"nopython": True, "nogil": True, "boundscheck": False, "parallel": PRANGE if parallel else False, **EXACT}
    if numba.config.DISABLE_JIT:
        # As compiled code: a counter wraps, a division by zero is infinite, and nobody is warned.
        return np.errstate(all="ignore")(function)
    made = _ParallelKernel if parallel else _Kernel
    dispatcher = made(py_func=function, targetoptions=options)
    dispatcher._cache = KernelCache(function, _Kernel.is_part)
    return dispatcher


def bound(kernel, arguments: tuple):
    """The machine code of a kernel for the types of these arguments, to be called again and again with others of the same types.

    Numba finds out the type of every argument at every call, which costs more than a small layer: 10 us for two dozen of them.
    """
    if not isinstance(kernel, Dispatcher):
        return kernel
    kinds = tuple(kernel.typeof_pyval(argument) for argument in arguments)
    kernel.compile(kinds)
    code = kernel.overloads[kinds].entry_point
    return functools.partial(_run_alone, code) if isinstance(kernel, _ParallelKernel) else code


# Numba copies a kernel into every kernel that calls it, and LLVM compiles each copy again. Large ones are compiled
# once, as C functions, and called through a symbol.
_published: dict[str, object] = {}


def publish(name: str, signature, function) -> None:
    """Compiles `function` for `signature` (Numba types) as a C function, or loads it, and makes it callable by
    `call_published`.
    """
    with global_compiler_lock:  # a second thread would replace code that the first one's kernels call
        if name in _published or numba.config.DISABLE_JIT:
            return
        compiled = CFunc(function, (signature.args, signature.return_type), {}, EXACT)
        compiled._cache = KernelCache(function, _Kernel.is_part)
        with _lazy_code():
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

"""Everything that minisqx uses of Numba without Numba promising it; no other file does.

`differences` compares each member with what this was written for: Numba 0.61 to 0.68. Where one is missing or another, `choice`
takes `numba_public` in place of this module and says so in one line: results keep their bits, but nothing is kept on disk.
"""

import functools
import inspect
from collections.abc import Iterator
from contextlib import contextmanager

import numba
from llvmlite import binding as llvm
from numba.core.caching import NullCache
from numba.core.ccallback import CFunc
from numba.core.codegen import CodeLibrary, CPUCodeLibrary, JITCodeLibrary, JITCPUCodegen
from numba.core.compiler import CompileResult, Flags
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher, _FunctionCompiler
from numba.core.registry import CPUDispatcher, cpu_target
from numba.core.runtime import _nrt_python
from numba.core.serialize import dumps
from numba.core.sigutils import normalize_signature
from numba.np.ufunc import parallel

# Functions that are called or replaced, and their parameters.
_PARAMETERS = {
    (JITCodeLibrary, "_optimize_final_module"): "self",
    (JITCodeLibrary, "_finalize_final_module"): "self",
    (JITCodeLibrary, "_finalize_dynamic_globals"): "self",
    (JITCodeLibrary, "_get_module_for_linking"): "self",
    (JITCodeLibrary, "_ensure_finalized"): "self",
    (JITCodeLibrary, "_get_compiled_object"): "self",
    (JITCodeLibrary, "get_pointer_to_function"): "self name",
    (JITCPUCodegen, "_library_class"): "codegen name",
    (JITCPUCodegen, "set_env"): "self env_name env",
    (JITCPUCodegen, "magic_tuple"): "self",
    (CPUDispatcher, "compile"): "self sig",
    (CPUDispatcher, "add_overload"): "self cres",
    (CPUDispatcher, "typeof_pyval"): "self val",
    (_FunctionCompiler, "_customize_flags"): "self flags",
    (CFunc, "__init__"): "self pyfunc sig locals options pipeline_class",
    (CFunc, "compile"): "self",
    (NullCache, "load_overload"): "self sig target_context",
    (NullCache, "save_overload"): "self sig cres",
    (CompileResult, "_reduce"): "self",
    (CompileResult, "_rebuild"): (
        "target_context libdata fndesc env signature objectmode lifted typeann reload_init referenced_envs"
    ),
}
# What classes and modules have, and what a method sets or reads on its object.
_ATTRIBUTES = {
    CodeLibrary: "_finalized _object_caching_enabled has_dynamic_globals",
    Flags: "no_compile no_cpython_wrapper no_cfunc_wrapper",
    CompileResult: "entry_point signature fndesc library lifted",
    _nrt_python: "c_helpers",
    parallel: "_is_initialized _launch_threads",
}
_NAMES = {
    (CPUCodeLibrary, "__init__"): "_linking_libraries _final_module",
    (JITCodeLibrary, "get_pointer_to_function"): "_engine is_symbol_defined",
    (Dispatcher, "__init__"): "targetctx _cache _compiler",
    (Dispatcher, "compile"): "overloads load_overload save_overload",
    (CodeLibrary, "_get_compiled_object"): "_compiled_object",
    (CFunc, "__init__"): "_cache",
    (CFunc, "compile"): "_library",
}


def differences() -> Iterator[str]:
    """The members that are not what this module takes them for, each in a few words."""
    for (owner, name), expected in _PARAMETERS.items():
        found = " ".join(inspect.signature(getattr(owner, name)).parameters)
        if found != expected:
            yield f"{owner.__name__}.{name} takes ({found}), expected ({expected})"
    for owner, names in _ATTRIBUTES.items():
        for name in names.split():
            if not hasattr(owner, name):
                yield f"{owner.__name__} has no {name}"
    for (owner, name), names in _NAMES.items():
        used = inspect.unwrap(getattr(owner, name)).__code__.co_names
        for missing in set(names.split()).difference(used):
            yield f"{owner.__name__}.{name} does not use {missing}"


_SHARED = (llvm.Linkage.linkonce_odr, llvm.Linkage.weak_odr)


class Library(JITCodeLibrary):
    """A function with its own copies of those that it calls; machine code only where something asks for its address.

    Numba optimises all that it compiles and makes machine code of it: of callees, and three times of each parallel loop, though
    only their copies within a kernel ever run. It leaves those copies, each optimised for its kernel, under one weak name; the
    linker takes whichever of them a process met first, and they need not round alike. So here a callee is handed on before it
    is optimised, and its caller optimises it once, as a part of its own that nobody else sees.
    """

    _is_code = False
    object_file: bytes | None = None  # as it came from the folder

    def _optimize_final_module(self):
        pass  # until machine code is made

    def _finalize_final_module(self):
        if self._object_caching_enabled and self._compiled_object is not None:
            self._is_code, self.object_file = True, self._compiled_object
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
def lazy_code() -> Iterator[None]:
    """While it is entered, with Numba's lock held, what is compiled is such a library."""
    codegen = cpu_target.target_context.codegen()
    before, set_env = dict(vars(codegen)), codegen.set_env

    def set_env_in_code(name, environment):
        if codegen._engine.is_symbol_defined(name):  # not in what is only a part of a kernel
            set_env(name, environment)

    codegen._library_class, codegen.set_env = Library, set_env_in_code
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


class Kernel(CPUDispatcher):
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
        return Kernel._depth > 1

    @staticmethod
    @contextmanager
    def within_another() -> Iterator[None]:
        """While it is entered, with Numba's lock held, kernels that are compiled are parts of one more."""
        Kernel._depth += 1
        try:
            yield
        finally:
            Kernel._depth -= 1

    @staticmethod
    def _adapt(flags):
        if Kernel.is_part():
            flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
        return flags

    def compile(self, sig):
        with global_compiler_lock:
            kinds = normalize_signature(sig)[0]
            if Kernel._depth == 0 and kinds in self.overloads and isinstance(self.overloads[kinds].entry_point, _Inlined):
                del self.overloads[kinds]
            with Kernel.within_another(), lazy_code():
                return super().compile(sig)

    def add_overload(self, cres):
        if cres.entry_point is not None:
            super().add_overload(cres)
            return
        cres = cres._replace(entry_point=_Inlined())
        self.targetctx.insert_user_function(cres.entry_point, cres.fndesc, [cres.library])
        self.overloads[tuple(cres.signature.args)] = cres


class DiskCache(NullCache):
    """Tells Numba of the machine code that is `kept` on disk (`cache.KernelCache`)."""

    def __init__(self, kept):
        self._kept = kept

    def load_overload(self, sig, target_context):
        key = f"{sig} {target_context.codegen().magic_tuple()}"
        return self._kept.load(key, lambda reduced: _rebuilt(reduced, target_context), Kernel.is_part())

    def save_overload(self, sig, compiled):
        if not (Kernel.is_part() or compiled.lifted or compiled.library.has_dynamic_globals):
            self._kept.save(f"{sig} {compiled.codegen.magic_tuple()}", lambda key: dumps((key, compiled._reduce())))


def _rebuilt(reduced: tuple, target_context):
    # Numba's own loading would first import and register all that a compilation may need: a third of a second.
    _add_memory_symbols()
    return CompileResult._rebuild(target_context, *reduced)


@functools.cache
def _add_memory_symbols() -> None:
    """Makes known what compiled code calls of Numba's memory management, as `rtsys.initialize` does before it compiles more."""
    for name, address in _nrt_python.c_helpers.items():
        llvm.add_symbol(name if name.startswith("_") else f"NRT_{name}", address)


def kernel(function, options: dict, kept) -> Kernel:
    """A kernel that compiles, or loads, what it is called with."""
    made = Kernel(py_func=function, targetoptions=options)
    made._cache = DiskCache(kept)
    return made


def c_function(function, signature, options: dict, kept) -> CFunc:
    """`function` compiled, or loaded, as a C function for `signature` (of Numba types)."""
    made = CFunc(function, (signature.args, signature.return_type), {}, options)
    made._cache = DiskCache(kept)
    with global_compiler_lock, lazy_code(), Kernel.within_another():
        made.compile()
    return made


def object_file(made: CFunc) -> bytes:
    """The object file with the machine code of a C function."""
    return made._library.object_file or made._library._get_compiled_object()


def code_of(kernel: Kernel, arguments: tuple):
    """A kernel's machine code for the types of these arguments, which it takes without looking at them again."""
    kinds = tuple(kernel.typeof_pyval(argument) for argument in arguments)
    kernel.compile(kinds)
    return kernel.overloads[kinds].entry_point


def thread_count() -> int:
    """`numba.get_num_threads()` in a tenth of its time."""
    if not parallel._is_initialized:
        return numba.get_num_threads()
    return parallel._get_num_threads()


def set_thread_count(count: int) -> None:
    """`numba.set_num_threads(count)` in a tenth of its time."""
    parallel._set_num_threads(count)

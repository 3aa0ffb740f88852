"""All uses of Numba's private members; no other file has any.

`differences` compares each member with those of Numba 0.61 to 0.68, for which this file was written. If one is missing or
different, `choice` uses `numba_public` instead and reports it in one line: results keep their bits, but nothing is cached.
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

# Functions that are called or overridden, and their parameters.
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
# Attributes of classes and modules.
_ATTRIBUTES = {
    CodeLibrary: "_finalized _object_caching_enabled has_dynamic_globals",
    Flags: "no_compile no_cpython_wrapper no_cfunc_wrapper",
    CompileResult: "entry_point signature fndesc library lifted",
    _nrt_python: "c_helpers",
    parallel: "_is_initialized _launch_threads",
}
# Names that functions use.
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
    """Describes each member that is missing or different."""
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
    """A compiled function with private copies of its callees, and with machine code only when its address is needed.

    Numba optimises and generates machine code for everything it compiles: for callees, and three times for each parallel loop,
    although only their copies within a kernel run. Each copy is optimised for its kernel, but all have one weak symbol; the
    linker uses the first that the process loaded, and the copies may round differently. So here a callee is passed on
    unoptimised, and its caller optimises it once, as an internal function.
    """

    _is_code = False
    object_file: bytes | None = None  # as loaded from the cache

    def _optimize_final_module(self):
        pass  # done in `_make_code`

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
        self._get_module_for_linking()  # for callers: Numba keeps this clone, in which functions are still visible
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
        is_loop = self.name.startswith("__numba_parfor_gufunc")  # the requested entry point from Python is never called
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
    """A context in which Numba compiles to `Library`; enter it with Numba's compiler lock held."""
    codegen = cpu_target.target_context.codegen()
    previous, set_env = dict(vars(codegen)), codegen.set_env

    def set_env_in_code(name, environment):
        if codegen._engine.is_symbol_defined(name):  # it isn't for a callee without machine code
            set_env(name, environment)

    codegen._library_class, codegen.set_env = Library, set_env_in_code
    try:
        yield
    finally:
        for name in ("_library_class", "set_env"):
            if name in previous:
                setattr(codegen, name, previous[name])
            else:
                delattr(codegen, name)


class _Inlined:
    """Placeholder for the entry point of a kernel that was compiled only as a callee."""


class Kernel(CPUDispatcher):
    """A dispatcher that doesn't generate machine code and a Python entry point for callees.

    Numba does so for every callee, although only the copy in its caller runs. Here it happens when a kernel is first called from
    Python, which most never are.
    """

    _depth = 0  # nesting of kernels being compiled, each as a callee of the previous one; guarded by Numba's compiler lock

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        self._compiler._customize_flags = self._adapt

    @staticmethod
    def is_part():
        """Whether the kernel being compiled is a callee of another kernel."""
        return Kernel._depth > 1

    @staticmethod
    @contextmanager
    def nested() -> Iterator[None]:
        """A context in which kernels are compiled as callees of one more function; enter it with the compiler lock held."""
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
            argument_types = normalize_signature(sig)[0]
            known = self.overloads.get(argument_types)
            if Kernel._depth == 0 and known is not None and isinstance(known.entry_point, _Inlined):
                del self.overloads[argument_types]
            with Kernel.nested(), lazy_code():
                return super().compile(sig)

    def add_overload(self, cres):
        if cres.entry_point is not None:
            super().add_overload(cres)
            return
        cres = cres._replace(entry_point=_Inlined())
        self.targetctx.insert_user_function(cres.entry_point, cres.fndesc, [cres.library])
        self.overloads[tuple(cres.signature.args)] = cres


class DiskCache(NullCache):
    """Lets Numba load and save machine code in `kept`, a `cache.KernelCache`."""

    def __init__(self, kept):
        self._kept = kept

    def load_overload(self, sig, target_context):
        key = f"{sig} {target_context.codegen().magic_tuple()}"
        return self._kept.load(key, lambda reduced: _rebuilt(reduced, target_context), Kernel.is_part())

    def save_overload(self, sig, compiled):
        if not (Kernel.is_part() or compiled.lifted or compiled.library.has_dynamic_globals):
            self._kept.save(f"{sig} {compiled.codegen.magic_tuple()}", lambda key: dumps((key, compiled._reduce())))


def _rebuilt(reduced: tuple, target_context):
    # Numba's own loader would first import and register everything a compilation may need, which takes a third of a second.
    _add_memory_symbols()
    return CompileResult._rebuild(target_context, *reduced)


@functools.cache
def _add_memory_symbols() -> None:
    """Registers the symbols of Numba's memory management, as `rtsys.initialize` does, which also compiles code."""
    for name, address in _nrt_python.c_helpers.items():
        llvm.add_symbol(name if name.startswith("_") else f"NRT_{name}", address)


def kernel(function, options: dict, kept) -> Kernel:
    """A kernel that is compiled, or loaded from `kept`, for the types with which it is called."""
    made = Kernel(py_func=function, targetoptions=options)
    made._cache = DiskCache(kept)
    return made


def c_function(function, signature, options: dict, kept) -> CFunc:
    """`function` as a C function for `signature` (of Numba types), compiled or loaded from `kept`."""
    made = CFunc(function, (signature.args, signature.return_type), {}, options)
    made._cache = DiskCache(kept)
    with global_compiler_lock, lazy_code(), Kernel.nested():
        made.compile()
    return made


def object_file(made: CFunc) -> bytes:
    """The object file with the machine code of a C function."""
    return made._library.object_file or made._library._get_compiled_object()


def thread_count() -> int:
    """`numba.get_num_threads()`, ten times as fast."""
    if not parallel._is_initialized:
        return numba.get_num_threads()
    return parallel._get_num_threads()


def set_thread_count(count: int) -> None:
    """`numba.set_num_threads(count)`, ten times as fast."""
    parallel._set_num_threads(count)

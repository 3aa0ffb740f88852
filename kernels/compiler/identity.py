"""What compiled code depends on: all kernels' sources, versions, the CPU, Numba's settings; known without importing Numba."""

import functools
import hashlib
import os
import pkgutil
import sys
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from types import CodeType

import numpy as np

import minisqx
from minisqx.machine.threads import NUMBA_FILE

# Numba's settings that don't affect machine code: output, warnings, profiling, paths, GPUs, and what is decided at run time. All
# others are part of an entry's key, including those that a later Numba adds.
NO_CODE = """
    ANNOTATE CHROME_TRACE COLOR_SCHEME DEBUG DEBUG_ARRAY_OPT DEBUG_ARRAY_OPT_STATS DEBUG_FRONTEND DEBUG_INLINE_CLOSURE
    DEBUG_TYPEINFER DEVELOPER_MODE DIFF_IR DISABLE_CUDA DISABLE_PERFORMANCE_WARNINGS DISABLE_TYPEINFER_FAIL_CACHE ENABLE_CUDASIM
    ENABLE_PROFILING ENABLE_SYS_MONITORING FORCE_CUDA_CC FUNCTION_CACHE_SIZE GDB_BINARY HIGHLIGHT_DUMPS HTML JIT_COVERAGE
    LLVM_PASS_TIMINGS PARALLEL_DIAGNOSTICS RUNNING_UNDER_PROFILER SHOW_HELP TRACE USE_LLVMLITE_MEMORY_MANAGER
"""
_NO_CODE = frozenset(NO_CODE.split())
_NO_CODE_BEGINNINGS = ("ALWAYS_WARN", "CACHE_", "CUDA_", "DEBUG_CACHE", "DEBUG_PRINT", "DUMP_", "NUMBA_", "THREADING_LAYER")

PREFIX = "NUMBA_"


def affects_code(name: str) -> bool:
    """Whether a setting of Numba, a name in `numba.config`, may affect machine code."""
    return name.isupper() and name not in _NO_CODE and not name.startswith(_NO_CODE_BEGINNINGS)


def settings(config) -> dict[str, str]:
    """The current values in `config` (`numba.config`) of Numba's settings that affect machine code, as text."""
    return {name: repr(value) for name, value in sorted(vars(config).items()) if affects_code(name)}


def has_default_settings() -> bool:
    """Whether no variable and no file gives Numba other settings that affect machine code."""
    given = (name.removeprefix(PREFIX) for name in os.environ if name.startswith(PREFIX))
    return not any(affects_code(name) for name in given if name != "NUM_THREADS") and not os.path.exists(NUMBA_FILE)


def code_digest(package: str) -> str:
    """A hash of all modules of a package: of their files, in a folder or a zip file, or of their byte code in a frozen program.

    Raises OSError, or an exception of the loader, if there is neither.
    """
    digest, names = hashlib.sha256(), _modules(package)
    for name in names:
        spec = find_spec(name)
        try:
            content = spec.loader.get_data(spec.origin)
        except OSError:  # a frozen program has no such file
            content = _content(spec.loader.get_code(spec.name)).encode()
        digest.update(f"{name.removeprefix(package)} {len(content)} ".encode() + content)
    if not names:
        raise OSError(f"the modules of {package} can't be listed, so a change of their code would not be noticed")
    return digest.hexdigest()


def _modules(package: str) -> list[str]:
    """The full names of all modules of a package and its sub-packages, sorted."""
    home = find_spec(package)
    places = home.submodule_search_locations if home is not None else None
    found = [(f"{package}.{module.name}", module.ispkg) for module in pkgutil.iter_modules(places or [])]
    return sorted(name for module, is_package in found for name in (module, *(_modules(module) if is_package else ())))


def _content(code) -> str:
    """Byte code and constants as text that is the same in every process and doesn't contain paths."""
    if isinstance(code, CodeType):
        parts = (code.co_name, code.co_flags, code.co_code, code.co_consts, code.co_names, code.co_varnames, code.co_freevars)
        return f"code{_content(parts)}"
    if isinstance(code, tuple):
        return f"({','.join(map(_content, code))})"
    return f"{{{','.join(sorted(map(_content, code)))}}}" if isinstance(code, frozenset) else repr(code)


def version_of(package: str) -> str:
    """The version of Numba or llvmlite; without importing it, if it is installed as usual."""
    if package not in sys.modules and (home := find_spec(package)) is not None:
        spec = PathFinder.find_spec(f"{package}._version", home.submodule_search_locations)
        if spec is not None and spec.loader is not None:
            module = module_from_spec(spec)
            spec.loader.exec_module(module)
            return module.get_versions()["version"]
    return import_module(package).__version__


@functools.cache
def name_of_all() -> str:
    """The name of the folder for all kernels of these sources and versions. CPU and settings are part of an entry's key."""
    versions = (minisqx.__version__, version_of("numba"), version_of("llvmlite"), np.__version__)
    facts = (*versions, sys.version, sys.flags.optimize, code_digest("minisqx.kernels"))
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:20]


def cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """Model and features of the first CPU, as Linux describes those of x86-64; None if there is no such description."""
    names = ("vendor_id", "cpu family", "model", "model name", "stepping", "flags")
    facts: dict[str, str] = {}
    try:
        with open(cpuinfo, encoding="utf-8", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                if not line.strip():
                    break
                facts[name.strip()] = value.strip()
    except OSError:
        return None
    return " | ".join(facts[name] for name in names) if facts.keys() >= set(names) else None


def cpu_name() -> str:
    """The CPU that kernels are compiled for: the host's, unless `NUMBA_CPU_NAME` is set."""
    import numba
    from llvmlite import binding as llvm

    return numba.config.CPU_NAME or llvm.get_host_cpu_name()


def cpu_features() -> str:
    """The features of that CPU in LLVM's notation (`+avx2,-avx512f,...`)."""
    import numba
    from llvmlite import binding as llvm

    if numba.config.CPU_FEATURES is not None:
        return numba.config.CPU_FEATURES
    if numba.config.CPU_NAME and llvm.get_host_cpu_name() != numba.config.CPU_NAME:
        return ""
    return llvm.get_host_cpu_features().flatten()

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

# Numba's settings that leave the machine code as it is: what is printed, drawn, warned of or measured, where things lie, what
# is for GPUs, and what is decided when the code runs. Any other one counts, also one that a later Numba adds.
NO_CODE = """
    ANNOTATE CHROME_TRACE COLOR_SCHEME DEBUG DEBUG_ARRAY_OPT DEBUG_ARRAY_OPT_STATS DEBUG_FRONTEND DEBUG_INLINE_CLOSURE
    DEBUG_TYPEINFER DEVELOPER_MODE DIFF_IR DISABLE_CUDA DISABLE_PERFORMANCE_WARNINGS DISABLE_TYPEINFER_FAIL_CACHE ENABLE_CUDASIM
    ENABLE_PROFILING ENABLE_SYS_MONITORING FORCE_CUDA_CC FUNCTION_CACHE_SIZE GDB_BINARY HIGHLIGHT_DUMPS HTML JIT_COVERAGE
    LLVM_PASS_TIMINGS PARALLEL_DIAGNOSTICS RUNNING_UNDER_PROFILER SHOW_HELP TRACE USE_LLVMLITE_MEMORY_MANAGER
"""
_NO_CODE = frozenset(NO_CODE.split())
_NO_CODE_BEGINNINGS = ("ALWAYS_WARN", "CACHE_", "CUDA_", "DEBUG_CACHE", "DEBUG_PRINT", "DUMP_", "NUMBA_", "THREADING_LAYER")

PREFIX = "NUMBA_"


def changes_code(name: str) -> bool:
    """Whether machine code may depend on this setting of Numba's, a name in `numba.config`."""
    return name.isupper() and name not in _NO_CODE and not name.startswith(_NO_CODE_BEGINNINGS)


def settings(config) -> dict[str, str]:
    """Numba's settings that change code, as they are in `config` (`numba.config`) now; in words, as they go into a key."""
    return {name: repr(value) for name, value in sorted(vars(config).items()) if changes_code(name)}


def has_usual_settings() -> bool:
    """Whether neither a variable nor a file would give Numba other settings than the usual ones."""
    given = (name.removeprefix(PREFIX) for name in os.environ if name.startswith(PREFIX))
    return not any(changes_code(name) for name in given if name != "NUM_THREADS") and not os.path.exists(NUMBA_FILE)


def code_digest(package: str) -> str:
    """A hash of all modules of a package, each as its loader has it: the file, in a folder or a zip, or else the code in a
    frozen program. Raises an exception of the loader's where there is neither.
    """
    digest, names = hashlib.sha256(), _modules(package)
    for name in names:
        spec = find_spec(name)
        try:
            content = spec.loader.get_data(spec.origin)
        except OSError:  # there is no such file in a frozen program
            content = _content(spec.loader.get_code(spec.name)).encode()
        digest.update(f"{name.removeprefix(package)} {len(content)} ".encode() + content)
    if not names:
        raise OSError(f"the modules of {package} can't be listed, so nothing tells one version's code from another's")
    return digest.hexdigest()


def _modules(package: str) -> list[str]:
    """The full names of a package's modules and of those of its sub-packages, in order."""
    home = find_spec(package)
    places = home.submodule_search_locations if home is not None else None
    found = [(f"{package}.{module.name}", module.ispkg) for module in pkgutil.iter_modules(places or [])]
    return sorted(name for module, is_package in found for name in (module, *(_modules(module) if is_package else ())))


def _content(code) -> str:
    """Byte code and constants in words that are the same in every process; where a file lay doesn't count."""
    if isinstance(code, CodeType):
        parts = (code.co_name, code.co_flags, code.co_code, code.co_consts, code.co_names, code.co_varnames, code.co_freevars)
        return f"code{_content(parts)}"
    if isinstance(code, tuple):
        return f"({','.join(map(_content, code))})"
    return f"{{{','.join(sorted(map(_content, code)))}}}" if isinstance(code, frozenset) else repr(code)


def version_of(package: str) -> str:
    """The version of Numba or llvmlite, without importing it where it is an installation as usual."""
    if package not in sys.modules and (home := find_spec(package)) is not None:
        spec = PathFinder.find_spec(f"{package}._version", home.submodule_search_locations)
        if spec is not None and spec.loader is not None:
            module = module_from_spec(spec)
            spec.loader.exec_module(module)
            return module.get_versions()["version"]
    return import_module(package).__version__


@functools.cache
def name_of_all() -> str:
    """A name for all kernels as they are here: their folder's. The CPU and Numba's settings are in the name of each entry."""
    versions = (minisqx.__version__, version_of("numba"), version_of("llvmlite"), np.__version__)
    facts = (*versions, sys.version, sys.flags.optimize, code_digest("minisqx.kernels"))
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:20]


def cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """The first CPU, its features and all, as Linux has it for x86-64; None elsewhere."""
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
    """The CPU that Numba makes code for: the host's, unless `NUMBA_CPU_NAME` names another."""
    import numba
    from llvmlite import binding as llvm

    return numba.config.CPU_NAME or llvm.get_host_cpu_name()


def cpu_features() -> str:
    """Its features in LLVM's notation (`+avx2,-avx512f,...`)."""
    import numba
    from llvmlite import binding as llvm

    if numba.config.CPU_FEATURES is not None:
        return numba.config.CPU_FEATURES
    if numba.config.CPU_NAME and llvm.get_host_cpu_name() != numba.config.CPU_NAME:
        return ""
    return llvm.get_host_cpu_features().flatten()

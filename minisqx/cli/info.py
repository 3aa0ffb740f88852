"""What `minisqx info` prints about the machine and the installation, for bug reports and speed measurements."""

import os
import platform
import sys
import textwrap
from collections.abc import Iterator
from importlib import import_module, metadata
from pathlib import Path

import minisqx
from minisqx.errors import MinisqxError
from minisqx.inference.model import load
from minisqx.kernels.compiler.alone import threading_layer
from minisqx.kernels.compiler.cache import system_refusal
from minisqx.kernels.compiler.identity import cpu_features, cpu_name
from minisqx.kernels.tiles.simd import vector_registers
from minisqx.machine.folders import cache_root, folder_size, system_cache
from minisqx.spec import zoo
from minisqx.text import WIDTH, table

REQUIRED = ("numpy", "numba", "llvmlite", "PIL", "h5py")
EXTRA = ("tqdm", "matplotlib", "pooch")


def info(threads: int, source: str) -> Iterator[str]:
    """Lines about versions, CPU, threads and folders. threads: the count in use; source: where it was set."""
    facts = [
        ("minisqx", f"{minisqx.__version__} in {Path(minisqx.__file__).parent}"),
        ("python", f"{platform.python_version()} ({sys.executable})"),
        *(("pillow" if name == "PIL" else name, import_module(name).__version__) for name in REQUIRED),
        *((name, _extra(name)) for name in EXTRA),
        ("system", f"{platform.system()} {platform.release()}, {platform.machine()}"),
        ("CPU", f"{_cpu_model()}, {os.cpu_count()} logical CPUs"),
        ("code for", f"{cpu_name()}, {vector_registers()[0] * 8}-bit vectors"),
        ("threads", f"{threads} ({source})"),
        ("thread layer", f"{threading_layer()} (Numba's)"),
        ("cache", _cache()),
        ("system cache", _system_cache()),
        ("weights", _weights()),
    ]
    width = max(len(name) for name, _ in facts)
    yield from table(facts, left=2)
    features = " ".join(feature[1:] for feature in cpu_features().split(",") if feature.startswith("+"))
    indent = " " * (width + 2)
    yield from textwrap.wrap(
        features or "unknown", WIDTH, initial_indent="CPU features".ljust(width + 2), subsequent_indent=indent
    )


def _cache() -> str:
    try:
        return folder_size(cache_root())
    except OSError as error:
        return f"none: {error}"


def _system_cache() -> str:
    root = system_cache()
    if root is None or not root.is_dir():
        return "none; root creates it with: minisqx warmup --system"
    refusal = system_refusal()
    return folder_size(root) if refusal is None else f"{root}, not used: {refusal}"


def _extra(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed; get it with: pip install 'minisqx[train]'"


def _cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The CPU's model. For ARM, Linux gives only the board ("Model") or part numbers: implementer 0x41 is ARM Ltd."""
    facts: dict[str, str] = {}
    try:
        for line in cpuinfo.read_text().splitlines():
            key, _, value = line.partition(":")
            facts.setdefault(key.strip(), value.strip())
    except OSError:
        pass
    for key in ("model name", "Model"):
        if facts.get(key):
            return facts[key]
    if "CPU part" in facts:
        return f"ARM implementer {facts.get('CPU implementer', 'unknown')}, part {facts['CPU part']}"
    return platform.processor() or "unknown model"


def _weights() -> str:
    try:
        model = load(zoo.DEFAULT)
    except MinisqxError as error:
        return str(error)
    accuracy = model.metrics.get("test_accuracy")
    measured = "" if accuracy is None else f", test accuracy {100 * accuracy:.2f} %"
    return f"{model.name}, trained on {model.provenance.get('data', 'unknown data')}{measured}"

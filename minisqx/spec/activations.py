"""The names of the activations, read from `kernels/activation_table.py` without importing Numba.

A regular import of that file would run `minisqx.kernels`, which imports Numba and would slow down `--help`.
"""

import sys
from importlib.util import find_spec, module_from_spec
from types import ModuleType


def _table() -> ModuleType:
    package, name = find_spec("minisqx.kernels"), "minisqx.kernels.activation_table"
    folders = None if package is None else package.submodule_search_locations
    found = (finder.find_spec(name, folders) for finder in sys.meta_path)
    spec = next((spec for spec in found if spec is not None), None)
    if spec is None or spec.loader is None:
        raise ImportError(f"{name} not found: run 'pip install -e .' in the repository")
    table = module_from_spec(spec)
    spec.loader.exec_module(table)
    return table


# Name in descriptions and options -> name in pictures.
TITLES: dict[str, str] = {activation.name: activation.title for activation in _table().ACTIVATIONS}
ACTIVATIONS = tuple(TITLES)

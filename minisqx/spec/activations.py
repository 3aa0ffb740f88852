"""The names of the activations, for descriptions, options and pictures: read from `kernels/activation_table.py` without Numba.

To import that file as a part of its package would import Numba, which `--help` must not wait for.
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
        raise ImportError(f"{name} is not there: run 'pip install -e .' in the repository")
    table = module_from_spec(spec)
    spec.loader.exec_module(table)
    return table


# By the name that descriptions and options have, what a picture says.
TITLES: dict[str, str] = {activation.name: activation.title for activation in _table().ACTIVATIONS}
ACTIVATIONS = tuple(TITLES)

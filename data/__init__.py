"""Data sets: readers, the embedded data set, and the loader that makes batches.

    from minisqx.data import open_dataset, Loader

Public names are loaded on first use, so that importing the package costs nothing.
"""

from importlib import import_module

# How files of an image folder show that they belong together (`groups.py`): by their names up to the number at the end, or by
# folders within the classes.
GROUPINGS = PREFIX, FOLDER = "prefix", "folder"
# How images of a folder are set aside (`split.py`): by the name of each file alone, or drawn.
SPLITS = FILES, DRAWN = "files", "drawn"

_MODULES = {
    "Batch": "loader",
    "Dataset": "dataset",
    "Loader": "loader",
    "open_dataset": "sources",
    "split_validation": "dataset",
}

__all__ = list(_MODULES)


def __getattr__(name: str):
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

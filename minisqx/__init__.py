"""Shallow SqueezeNext on a CPU: train it, and classify images with it.

    import minisqx
    print(minisqx.infer("cat.jpg"))

Public names are loaded on first use (PEP 562), so that importing the package takes no time.
"""

import os
import sys
from importlib import import_module
from importlib.util import find_spec, spec_from_file_location
from typing import TYPE_CHECKING

__version__ = "0.2.0"

if TYPE_CHECKING:
    from minisqx import errors as errors
    from minisqx.formats.export import export as export
    from minisqx.inference.foreign import from_safetensors as from_safetensors
    from minisqx.inference.foreign import from_torch as from_torch
    from minisqx.inference.model import Model as Model
    from minisqx.inference.model import infer as infer
    from minisqx.inference.model import load as load
    from minisqx.inference.prediction import Prediction as Prediction
    from minisqx.network import Network as Network
    from minisqx.network import ShallowSqueezeNext as ShallowSqueezeNext
    from minisqx.spec import NetworkSpec as NetworkSpec
    from minisqx.spec.squeezenet import SqueezeNetSpec as SqueezeNetSpec
    from minisqx.spec.squeezenext import SqueezeNextSpec as SqueezeNextSpec
    from minisqx.training.optim import SGD as SGD
    from minisqx.training.optim import cross_entropy as cross_entropy
    from minisqx.training.schedule import StepSchedule as StepSchedule

_MODULES = {
    "Model": "inference.model",
    "Network": "network",
    "NetworkSpec": "spec",
    "Prediction": "inference.prediction",
    "SGD": "training.optim",
    "ShallowSqueezeNext": "network",
    "SqueezeNetSpec": "spec.squeezenet",
    "SqueezeNextSpec": "spec.squeezenext",
    "StepSchedule": "training.schedule",
    "cross_entropy": "training.optim",
    "export": "formats.export",
    "from_safetensors": "inference.foreign",
    "from_torch": "inference.foreign",
    "infer": "inference.model",
    "load": "inference.model",
}

__all__ = ["__version__", "errors", *_MODULES]


def __getattr__(name: str):
    value: object
    if name == "errors":
        value = import_module("minisqx.errors")
    elif name in _MODULES:
        value = getattr(import_module(f"minisqx.{_MODULES[name]}"), name)
    else:
        raise AttributeError(f"module 'minisqx' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _CloneFinder:
    """Finds `minisqx.kernels` and `minisqx.data` in a clone, where they are beside this package and not inside it."""

    here = os.path.dirname(os.path.abspath(__file__))
    top = os.path.dirname(here)

    @classmethod
    def is_needed(cls) -> bool:
        inside, mark = os.path.join(cls.here, "kernels"), os.path.join(cls.top, "pyproject.toml")
        return not os.path.isdir(inside) and os.path.isfile(mark)

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name in ("minisqx.kernels", "minisqx.data"):
            return spec_from_file_location(name, os.path.join(cls.top, name.partition(".")[2], "__init__.py"))
        return None


# Python started in a clone imports the clone's minisqx, even if another is installed: kernels and data must be the clone's, too.
if _CloneFinder.is_needed():
    sys.meta_path.insert(0, _CloneFinder)
    if find_spec("numba") is None:
        _line = "minisqx: this is a clone without its dependencies: run `pip install -e .` in it, or start Python elsewhere"
        # `python -m minisqx` is a command: it prints the line without a traceback.
        raise SystemExit(_line) if sys.argv[:1] == ["-m"] else ImportError(_line)

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

__version__ = "0.1.0"

if TYPE_CHECKING:
    from minisqx import errors as errors
    from minisqx.inference.model import Model as Model
    from minisqx.inference.model import Prediction as Prediction
    from minisqx.inference.model import infer as infer
    from minisqx.inference.model import load as load
    from minisqx.network import Network as Network
    from minisqx.network import ShallowSqueezeNext as ShallowSqueezeNext
    from minisqx.spec import NetworkSpec as NetworkSpec
    from minisqx.spec.squeezenet import SqueezeNetSpec as SqueezeNetSpec
    from minisqx.spec.squeezenext import SqueezeNextSpec as SqueezeNextSpec
    from minisqx.training.optim import SGD as SGD
    from minisqx.training.optim import cross_entropy as cross_entropy
    from minisqx.training.schedule import StepSchedule as StepSchedule

_HOMES = {
    "Model": "inference.model",
    "Network": "network",
    "NetworkSpec": "spec",
    "Prediction": "inference.model",
    "SGD": "training.optim",
    "ShallowSqueezeNext": "network",
    "SqueezeNetSpec": "spec.squeezenet",
    "SqueezeNextSpec": "spec.squeezenext",
    "StepSchedule": "training.schedule",
    "cross_entropy": "training.optim",
    "infer": "inference.model",
    "load": "inference.model",
}

__all__ = ["__version__", "errors", *_HOMES]


def __getattr__(name: str):
    value: object
    if name == "errors":
        value = import_module("minisqx.errors")
    elif name in _HOMES:
        value = getattr(import_module(f"minisqx.{_HOMES[name]}"), name)
    else:
        raise AttributeError(f"module 'minisqx' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Beside:
    """Finds the two packages that are installed inside this one, and lie beside it in the repository."""

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


# Python that is started in a clone finds this folder first, whatever is installed: it gets the kernels of the same clone.
if _Beside.is_needed():
    sys.meta_path.insert(0, _Beside)
    if find_spec("numba") is None:
        _line = "minisqx: this is the repository and its needs are not installed: run `pip install -e .` here, or start elsewhere"
        # `python -m minisqx` is a command: it ends with the line alone.
        raise SystemExit(_line) if sys.argv[:1] == ["-m"] else ImportError(_line)

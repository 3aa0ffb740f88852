"""Shallow SqueezeNext on a CPU: train it, and classify images with it.

    import minisqx
    print(minisqx.infer("cat.jpg"))

Public names are loaded on first use (PEP 562), so that importing the package takes no time.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minisqx import errors as errors
    from minisqx.inference import Model as Model
    from minisqx.inference import Prediction as Prediction
    from minisqx.inference import infer as infer
    from minisqx.inference import load as load
    from minisqx.network import Network as Network
    from minisqx.network import ShallowSqueezeNext as ShallowSqueezeNext
    from minisqx.optim import SGD as SGD
    from minisqx.optim import StepSchedule as StepSchedule
    from minisqx.optim import cross_entropy as cross_entropy
    from minisqx.spec import NetworkSpec as NetworkSpec
    from minisqx.squeezenet import SqueezeNetSpec as SqueezeNetSpec
    from minisqx.squeezenext import SqueezeNextSpec as SqueezeNextSpec

    __version__: str

_HOMES = {
    "Model": "inference",
    "Network": "network",
    "NetworkSpec": "spec",
    "Prediction": "inference",
    "SGD": "optim",
    "ShallowSqueezeNext": "network",
    "SqueezeNetSpec": "squeezenet",
    "SqueezeNextSpec": "squeezenext",
    "StepSchedule": "optim",
    "cross_entropy": "optim",
    "infer": "inference",
    "load": "inference",
}

__all__ = ["__version__", "errors", *_HOMES]


def __getattr__(name: str):
    value: object
    if name == "__version__":
        from importlib.metadata import version

        value = version("minisqx")
    elif name == "errors":
        value = import_module("minisqx.errors")
    elif name in _HOMES:
        value = getattr(import_module(f"minisqx.{_HOMES[name]}"), name)
    else:
        raise AttributeError(f"module 'minisqx' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


# In the repository, kernels/ and data/ lie beside this folder, and only an editable installation knows them as ours. With
# another one, or none, Python finds this folder first when it is started there, and not the rest.
if find_spec("minisqx.kernels") is None:
    _line = (
        "minisqx: this is the repository and it is not installed for development: run `pip install -e .` here, or start elsewhere"
    )
    # `python -m minisqx` is a command: it ends with the line alone.
    raise SystemExit(_line) if sys.argv[:1] == ["-m"] else ImportError(_line)

"""The packages of minisqx: `kernels/` and `data/` are at the top of the repository and are installed inside `minisqx`."""

import re
import sys
from pathlib import Path

from setuptools import find_packages, setup

version = re.search(r'^__version__ = "(.+)"$', Path("minisqx", "__init__.py").read_text(encoding="utf-8"), re.MULTILINE)
kernels = [f"minisqx.{name}" for name in find_packages(include=["kernels*"])]
packages = {
    "packages": [*find_packages(include=["minisqx*"]), *kernels, "minisqx.data"],
    "package_dir": {"minisqx.kernels": "kernels", "minisqx.data": "data"},
    "package_data": {
        "minisqx": ["py.typed"],
        "minisqx.formats": ["*.c", "*.mjs", "*.html", "*.txt"],
        "minisqx.report": ["*.css", "*.js"],
        "minisqx.data": ["measured.json", "weights/*.h5"],
    },
}
if "editable_wheel" in sys.argv:
    packages = {"packages": ["minisqx"], "package_dir": {"": "editable"}}  # see editable/minisqx/__init__.py
setup(version=version[1], **packages)

"""What `pip install -e .` puts on Python's path: this clone's package, and nothing else of the clone.

A plain folder on the path is what setuptools makes of this. Where it must map packages to folders it installs a finder, and
Python asks that only after its path: a clone called `minisqx` in the folder of a script, which has no `__init__.py`, would be
taken for the package. A package on the path goes before such a folder, wherever on the path that is.
"""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

_package_file = Path(__file__).parents[2] / "minisqx" / "__init__.py"
if not _package_file.is_file():
    raise ImportError(
        "minisqx: this program was frozen from an editable installation, whose files it lacks: install minisqx without -e, as in"
        " `pip install .`, and freeze it again"
    )
_spec = spec_from_file_location(__name__, _package_file)
sys.modules[__name__] = _package = module_from_spec(_spec)
_spec.loader.exec_module(_package)

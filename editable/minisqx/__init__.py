"""What `pip install -e .` puts on Python's path: a package that loads this clone's `minisqx/`.

For a package in a plain folder, setuptools adds the folder to the path. To map packages to other folders it would install a
finder, which Python asks only after the path: a clone called `minisqx` beside a script, a folder without `__init__.py`, would be
imported as a namespace package instead. A regular package takes precedence over such a folder wherever it is on the path.
"""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

_package_file = Path(__file__).parents[2] / "minisqx" / "__init__.py"
if not _package_file.is_file():
    raise ImportError(
        "minisqx: this program was frozen from an editable installation, without its files: install minisqx with"
        " `pip install .`, not -e, and freeze it again"
    )
_spec = spec_from_file_location(__name__, _package_file)
sys.modules[__name__] = _package = module_from_spec(_spec)
_spec.loader.exec_module(_package)

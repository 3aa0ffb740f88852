"""`python -m minisqx.train ...` is `minisqx train ...`; to Python programs, `minisqx.train` is the function.

An import of this module would put the module into the package, in the function's place. So it hands the function to the import
system instead of itself, as Python allows a module to do with its entry in `sys.modules`.
"""

import sys

from minisqx.cli import main
from minisqx.training.interface import train

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
sys.modules[__name__] = train  # type: ignore[assignment]

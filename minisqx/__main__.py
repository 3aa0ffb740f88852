"""`python -m minisqx COMMAND ...` is `minisqx COMMAND ...`."""

import sys

from minisqx.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""`python -m minisqx.train ...` is `minisqx train ...`."""

import sys

from minisqx.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))

"""Flips one random bit of a checkpoint at a time: `python -m tests.stress.flips --count 2000`. Each flip must be refused."""

import argparse
import random
import sys
import tempfile
from pathlib import Path

import numpy as np

from minisqx.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from minisqx.errors import CheckpointError
from minisqx.spec.squeezenext import SqueezeNextSpec


def flip(count: int, seed: int) -> int:
    """The number of `count` flips that were not refused."""
    spec, random_bits = SqueezeNextSpec(width=0.2), random.Random(seed)
    numbers = np.random.default_rng(seed)
    state = {name: numbers.normal(size=shape) for name, shape in {**spec.parameter_shapes, **spec.buffer_shapes}.items()}
    checkpoint = Checkpoint(
        spec, state, optimizer={"velocity": np.zeros(spec.parameters)}, training={"epoch": 3, "history": [{"loss": 0.1}] * 3}
    )
    refused = accepted = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "last.h5")
        save_checkpoint(path, checkpoint)
        whole = path.read_bytes()
        load_checkpoint(path)
        for _ in range(count):
            bit = random_bits.randrange(8 * len(whole))
            damaged = bytearray(whole)
            damaged[bit // 8] ^= 1 << bit % 8
            path.write_bytes(damaged)
            try:
                load_checkpoint(path)
            except CheckpointError:
                refused += 1
            else:
                accepted += 1
                print(f"bit {bit % 8} of byte {bit // 8} was not noticed")
    print(f"{count} single-bit flips over a checkpoint of {len(whole)} bytes: {refused} refused, {accepted} accepted")
    return accepted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    sys.exit(1 if flip(options.count, options.seed) else 0)


if __name__ == "__main__":
    main()

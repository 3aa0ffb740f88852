"""The estimate of a training's memory against the peak that a process really had, network by network.

python -m tests.stress.memory --count 12

--count: of the trainings below, the first so many. Ends with 1 if one took more than was estimated, or less than 1 / 1.25 of it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from minisqx.training.options import TrainingOptions

# Options, and the side of the images.
TRAININGS = (
    ({}, 32),
    ({"batch_size": 512}, 32),
    ({"batch_size": 16}, 96),
    ({"batch_size": 32, "width": 0.5, "blocks": (1, 1, 4, 1)}, 64),
    ({"width": 1.0}, 32),
    ({"batch_size": 24, "width": 0.5}, 128),
    ({"batch_size": 100, "block_order": "conv-bn-act", "activation": "relu"}, 48),
    ({"model": "squeezenet-v1.1", "batch_size": 64, "lr": 0.01}, 64),
    ({"model": "squeezenet-v1.0", "batch_size": 16, "lr": 0.01}, 128),
    ({"model": "squeezenext-23-1x-v1", "batch_size": 32}, 64),
    ({"model": "squeezenext-23-1x-v5", "batch_size": 128}, 32),
    ({"model": "shallow-14-2x", "batch_size": 64}, 32),
)
MOST_OVER = 1.25


def child(options: dict, side: int) -> dict[str, int]:
    """Trains two batches of the full size and one of the rest, and measures; the data is there before."""
    import numpy as np

    from minisqx.machine.threads import use_threads
    from minisqx.training import memory
    from minisqx.training.data import Part, TrainingData
    from minisqx.training.run_folder import RunFolder
    from minisqx.training.trainer import EVALUATION_BATCH, Trainer

    use_threads(2)
    chosen = TrainingOptions(**options, epochs=1)
    images = 2 * chosen.batch_size + chosen.batch_size // 2
    generator = np.random.default_rng(0)

    def part(count: int) -> Part:
        return Part(generator.integers(0, 256, (count, side, side, 3), np.uint8), np.arange(count) % 10)

    data = TrainingData("noise", tuple("abcdefghij"), part(images), part(0), part(300), (0.5,) * 3, (0.3,) * 3, True, "")
    with tempfile.TemporaryDirectory() as path, RunFolder.create(str(Path(path) / "run"), "") as folder:
        before = status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        spec = chosen.network(10, (side, side))
        estimate = memory.training_bytes(spec, chosen.batch_size, images, 300, EVALUATION_BATCH)
        trainer = Trainer(chosen, data, folder, "", lambda line: None)
        trainer.save()
        trainer.run()
        return {"before": before, "estimate": estimate, "peak": status("VmHWM")}


def status(name: str) -> int:
    """Bytes, of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    raise LookupError(name)


def measured(options: dict, side: int) -> dict[str, int]:
    code = f"import json; from tests.stress.memory import child; print(json.dumps(child({options!r}, {side})))"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=len(TRAININGS))
    wrong = 0
    chosen = TRAININGS[: parser.parse_args().count]
    print("| network | images | batch | before | estimated | peak | estimated / peak |\n|---|---|---|---|---|---|---|")
    for options, side in chosen:
        found = measured(options, side)
        run = TrainingOptions(**options)
        total = found["before"] + found["estimate"]
        ratio = total / found["peak"]
        wrong += not 1 <= ratio <= MOST_OVER
        sizes = " | ".join(f"{size / 1e6:.0f} MB" for size in (found["before"], total, found["peak"]))
        print(f"| {run.network().name} | {side} x {side} | {run.batch_size} | {sizes} | {ratio:.2f} |", flush=True)
    fine = len(chosen) - wrong
    print(f"\n{len(chosen)} trainings: {fine} took what was estimated, or down to 1 / {MOST_OVER} of it; {wrong} did not")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())

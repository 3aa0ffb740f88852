"""The estimated memory of a training against the peak of a process, network by network.

python -m tests.stress.memory --count 12

--count: run only the first trainings below. Exits with 1 if one took more than the estimate, or less than 1 / 1.25 of it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from minisqx.training.options import TrainingOptions

# (options, side of the images in pixels).
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
MAX_RATIO = 1.25


def child(options: dict, side: int) -> dict[str, int]:
    """Measures the memory of training two full batches and a smaller one; the data is in memory before."""
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
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        spec = chosen.network(10, (side, side))
        estimate = memory.training_bytes(spec, chosen.batch_size, images, 300, EVALUATION_BATCH)
        trainer = Trainer(chosen, data, folder, "", lambda line: None)
        trainer.save()
        trainer.run()
        return {"before": before, "estimate": estimate, "peak": status("VmHWM")}


def status(name: str) -> int:
    """A size from this process's status, in bytes."""
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
        wrong += not 1 <= ratio <= MAX_RATIO
        sizes = " | ".join(f"{size / 1e6:.0f} MB" for size in (found["before"], total, found["peak"]))
        print(f"| {run.network().name} | {side} x {side} | {run.batch_size} | {sizes} | {ratio:.2f} |", flush=True)
    fine = len(chosen) - wrong
    print(f"\n{len(chosen)} trainings: {fine} took at most the estimate and at least 1 / {MAX_RATIO} of it; {wrong} did not")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())

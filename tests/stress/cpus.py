"""How far results differ between CPUs: `python -m tests.stress.cpus`.

Runs the same work in one process for each target CPU: this one, x86-64 with AVX2, and x86-64 without AVX. Results of other
machines come from files: `--write arm.npz` there, `--with arm.npz` here (`python -m tests.stress.aarch64` writes one). Prints a
table of the largest differences, and exits with 1 if one is more than rounding or an image's class differs. The table has a
control: this CPU, with every initial weight of the training moved to the next float.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import minisqx
from minisqx.cli.report import table
from minisqx.data.dataset import Dataset
from minisqx.data.shapes import draw_shapes
from minisqx.inference.model import load
from minisqx.kernels.compiler.identity import cpu_name
from minisqx.kernels.tiles.simd import vector_registers
from minisqx.plan import Plan
from minisqx.spec import zoo

# The host's CPU, and others by NUMBA_CPU_NAME.
CPUS = (None, "haswell", "generic") if platform.machine() in ("x86_64", "AMD64") else (None,)
DTYPES = ("float32", "float64")
IMAGES, BATCH, STEPS = 256, 32, 50
CPU, EQUAL = "CPU", "equal bits"
# Limits of the largest difference, relative to the largest value. Images and initial weights come from integers and single
# operations that IEEE 754 fixes. Logits and gradients are sums of up to a few thousand terms in another order, through some 30
# layers. Training has no limit: each step multiplies the differences of the one before, as the control shows.
LIMITS = {
    "images": {"": 0.0},
    "initial weights": {"float32": 0.0, "float64": 0.0},
    "logits": {"float32": 1e-5, "float64": 1e-13},
    "first gradients": {"float32": 1e-5, "float64": 1e-13},
}

Results = dict[str, np.ndarray]


def results(images: int, batch: int, steps: int, nudge: bool = False) -> Results:
    """This CPU's results on the embedded images: "DTYPE: RESULT" -> array.

    Logits of the included weights for test images; the first gradients of training a small network, its weights and running
    statistics at the end, and its loss. nudge: the control, whose training starts at the next floats above the initial weights.
    """
    data = draw_shapes()
    found = {
        CPU: np.array(f"{platform.machine()}, code for {cpu_name()}, vectors of {vector_registers()[0] * 8} bits"),
        "images": np.concatenate([data.test.images[:images], data.train.images[: batch * steps]]),
    }
    for dtype in DTYPES:
        parts = {"logits": _logits(data.test.images[:images], dtype)} | _training(data, batch, steps, dtype, nudge)
        found |= {f"{dtype}: {what}": array for what, array in parts.items()}
    return found


def _logits(images: np.ndarray, dtype: str) -> np.ndarray:
    model = load(zoo.DEFAULT)
    plan = Plan(model.spec, {name: tensor.astype(dtype) for name, tensor in model.state.items()})
    layout = plan.layout(len(images), *model.spec.input_size)
    x = (images / 255 - model.mean) / model.std
    return plan.run(layout.pack(x.transpose(0, 3, 1, 2).astype(dtype), layout.empty(3, dtype)), layout)


def _training(data: Dataset, batch: int, steps: int, dtype: str, nudge: bool) -> Results:
    net = minisqx.ShallowSqueezeNext(width=0.2, seed=1, dtype=dtype)
    optimizer = minisqx.SGD(net, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-4)
    found = {"initial weights": net.flat_parameters.copy()}
    if nudge:
        net.flat_parameters[:] = np.nextafter(net.flat_parameters, np.inf, dtype=dtype)
    for step in range(steps):
        part = slice(batch * step, batch * (step + 1))
        x = data.train.images[part].transpose(0, 3, 1, 2) / 255 - 0.5
        loss, dlogits = minisqx.cross_entropy(net.forward(x, training=True), data.train.labels[part])
        net.backward(dlogits)
        if step == 0:
            found["first gradients"] = net.flat_gradients.copy()
        optimizer.step()
    found["weights at the end"] = np.concatenate([net.flat_parameters, net.flat_buffers])
    found["loss at the end"] = np.array(loss)
    return found


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference, relative to the largest value of `one`; infinity if there is a NaN."""
    largest = np.abs(one.astype(np.float64) - other).max() / np.abs(one).max()
    return float(largest) if np.isfinite(largest) else np.inf


def compare(reference: Results, others: dict[str, Results]) -> tuple[list[list[str]], list[str]]:
    """(rows of the table: a result and each other's difference from the reference; a line for each that exceeds its limit)."""
    rows, wrong = [], []
    for what in (what for what in reference if what != CPU):
        dtype, _, result = what.rpartition(": ")
        one, row = reference[what], [what]
        for name, other in others.items():
            far = difference(one, other[what])
            row.append(EQUAL if one.tobytes() == other[what].tobytes() else f"{far:.1e}")
            limit = LIMITS.get(result, {}).get(dtype, np.inf)
            if far > limit:
                wrong.append(f"{name}, {what}: differs by {far:.1e}, expected at most {limit:.0e}")
        rows.append(row)
        if result == "logits":
            counts = [int((one.argmax(axis=1) == other[what].argmax(axis=1)).sum()) for other in others.values()]
            rows.append([f"{dtype}: same class", *(f"{count} of {len(one)}" for count in counts)])
            fewer = [(name, count) for name, count in zip(others, counts) if count < len(one)]
            wrong += [f"{name}, {what}: only {count} of {len(one)} images have the same class" for name, count in fewer]
    return rows, wrong


def run(file: Path, cpu: str | None = None, *options: str) -> Results:
    """The results of another process, compiled for the CPU of this name, or for the host's with None."""
    # An empty feature list means those of the named CPU.
    environment = os.environ | ({"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": ""} if cpu else {})
    command = [sys.executable, "-m", "tests.stress.cpus", "--write", str(file), *options]
    subprocess.run(command, env=environment, check=True)
    return read(file)


def read(file: Path) -> Results:
    with np.load(file, allow_pickle=False) as stored:
        return dict(stored)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.stress.cpus", description="How far results differ between CPUs.")
    parser.add_argument("--write", type=Path, metavar="FILE", help="only write this CPU's results, for --with on another machine")
    parser.add_argument("--nudge", action="store_true", help="with --write: move every initial weight to the next float")
    parser.add_argument(
        "--with", type=Path, action="append", default=[], dest="files", metavar="FILE", help="another CPU's results"
    )
    arguments = parser.parse_args()
    if arguments.write:
        np.savez(arguments.write, **results(IMAGES, BATCH, STEPS, arguments.nudge))
        return 0
    with tempfile.TemporaryDirectory(prefix="minisqx-cpus-") as name:
        file = Path(name, "results.npz")
        found = {cpu or "this CPU": run(file, cpu) for cpu in CPUS} | {"control": run(file, None, "--nudge")}
    found |= {file.stem: read(file) for file in arguments.files}
    (first, reference), *others = found.items()
    rows, wrong = compare(reference, dict(others))
    print(*table([[name, str(one[CPU])] for name, one in found.items()], left=2), "", sep="\n")
    print(*table([[f"from {first}'s, of the largest value", *(name for name, _ in others)], *rows]), sep="\n")
    print(*wrong, f"{len(found) - 1} CPUs, {len(wrong)} differences beyond rounding", sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""Start-up time: `python -m benchmarks.startup`.

Times and peak memory of whole processes, from start to exit: `import`; the prediction for an image on the command line, with all
kernels compiled before and with none; the first training batch, with none compiled. For comparison: the peers' imports, and their
prediction for an image, with a new session.

Checks: `import minisqx` does not import Numba, our prediction is a class of the included model, the first batch leaves finite
weights, and the two peers predict the same. The first round is not counted.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

import minisqx
from benchmarks.machine import describe

RESULTS = Path(__file__).parent / "results" / "startup.json"
PACKAGES = ("minisqx", "numpy", "numba", "llvmlite", "h5py", "pillow", "torch", "onnxruntime", "openvino")
PEERS = ("ONNX Runtime: a session and an answer", "OpenVINO: a compiled model and an answer")
FIRST = "first training batch, nothing compiled"
FIRST_BATCH = """
import numpy as np, minisqx
net = minisqx.ShallowSqueezeNext(0.2)
x = np.random.default_rng(0).normal(size=(128, 3, 32, 32)).astype(np.float32)
loss, dlogits = minisqx.cross_entropy(net.forward(x, training=True), np.zeros(128, np.int64))
net.backward(dlogits)
minisqx.SGD(net, lr=0.1).step()
assert np.isfinite(loss) and np.isfinite(net.flat_parameters).all()
import numba
print(numba.threading_layer())
"""
# The peers get the same network as an ONNX file, and decode and resize the image in the same way.
ONNX_RUNTIME = """
import sys, numpy as np, onnxruntime
from PIL import Image
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
x = np.asarray(Image.open(sys.argv[2]).convert("RGB").resize((32, 32)), np.float32).transpose(2, 0, 1)[None] / 255
print(session.run(None, {"x": x})[0].argmax())
"""
OPENVINO = """
import sys, numpy as np, openvino
from PIL import Image
settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
model = openvino.Core().compile_model(sys.argv[1], "CPU", settings)
x = np.asarray(Image.open(sys.argv[2]).convert("RGB").resize((32, 32)), np.float32).transpose(2, 0, 1)[None] / 255
print(model(x)[0].argmax())
"""


# Each process writes its own peak memory at exit: resource usage of children would include the parent's.
SITE = """
import atexit, os

def keep():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    open(os.environ["STARTUP_MEMORY"], "w").write(line.split()[1])

atexit.register(keep)
"""


def run(command: Sequence[str], folder: Path, cache: Path, threads: int) -> tuple[float, float, str]:
    """(seconds, peak MB, output) of a process with this many threads. Raises SystemExit if it fails."""
    (folder / "sitecustomize.py").write_text(SITE)
    memory = folder / "memory"
    own = {"MINISQX_CACHE": cache, "MINISQX_NUM_THREADS": threads, "PYTHONPATH": folder, "STARTUP_MEMORY": memory}
    environment = os.environ | {name: str(value) for name, value in own.items()}
    start = time.perf_counter()
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}")
    return seconds, int(memory.read_text()) / 1024, done.stdout


def commands(folder: Path) -> dict[str, tuple[list[str], bool]]:
    """Name -> (command, whether it starts without compiled kernels)."""
    import onnx

    from benchmarks.onnx_graph import onnx_model

    photo, graph = folder / "photo.png", folder / "network.onnx"
    pixels = np.random.default_rng(0).integers(0, 256, (300, 451, 3), np.uint8)
    Image.fromarray(pixels).save(photo)
    net = minisqx.load("shallow-06-0.2x").network
    onnx.save(onnx_model(net.spec, net.state_dict(), 1), graph)
    python = [sys.executable, "-c"]
    infer = [sys.executable, "-m", "minisqx", "infer", str(photo)]
    return {
        "python, nothing imported": ([*python, "pass"], False),
        "import minisqx": ([*python, "import sys, minisqx; assert 'numba' not in sys.modules"], False),
        "minisqx infer photo.png": (infer, False),
        "minisqx infer photo.png, nothing compiled": (infer, True),
        FIRST: ([*python, FIRST_BATCH], True),
        "import numba": ([*python, "import numba"], False),
        "import onnxruntime": ([*python, "import onnxruntime"], False),
        "import openvino": ([*python, "import openvino"], False),
        "import torch": ([*python, "import torch"], False),
        PEERS[0]: ([*python, ONNX_RUNTIME, str(graph), str(photo)], False),
        PEERS[1]: ([*python, OPENVINO, str(graph), str(photo)], False),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description="Start-up time.")
    parser.add_argument(
        "--repeats", type=int, default=9, help="processes per command; figures are their median (default %(default)s)"
    )
    parser.add_argument(
        "--compilations", type=int, default=3, help="processes per command with nothing compiled (default %(default)s)"
    )
    parser.add_argument("--output", type=Path, default=RESULTS, help="result file (default %(default)s)")
    options = parser.parse_args()
    facts = describe(PACKAGES) | {"repeats": options.repeats, "compilations": options.compilations, "threads": 1}
    print(f"{facts['cpu']}, whole processes, median of {options.repeats} (nothing compiled: {options.compilations})")
    found: dict[str, dict] = {}
    answers: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="minisqx-startup-") as name:
        folder = Path(name)
        all_commands = commands(folder)
        labels = minisqx.load("shallow-06-0.2x").classes
        for number in range(options.repeats + 1):
            for title, (command, is_first) in all_commands.items():
                if is_first and number > options.compilations:
                    continue
                # The first round is not counted: it fills the disk cache and compiles the kernels.
                cache = folder / f"{number}-{len(title)}" if is_first else folder / "cache"
                # The first training batch compiles in a second process, too, where it may use a second CPU.
                seconds, megabytes, printed = run(command, folder, cache, 2 if title == FIRST else 1)
                answers[title] = printed.strip()
                if title.startswith("minisqx infer") and not any(label in printed for label in labels):
                    raise SystemExit(f"{title} predicted no class:\n{printed}")
                if number > 0:
                    runs = found.setdefault(title, {"seconds": [], "megabytes": []})
                    runs["seconds"].append(round(seconds, 3))
                    runs["megabytes"].append(round(megabytes, 1))
            if answers[PEERS[0]] != answers[PEERS[1]]:
                raise SystemExit(f"the peers differ: {[answers[peer] for peer in PEERS]}")
    for title, runs in found.items():
        runs["median_seconds"] = statistics.median(runs["seconds"])
        runs["median_megabytes"] = statistics.median(runs["megabytes"])
        spread = f"{min(runs['seconds']):.2f} - {max(runs['seconds']):.2f} s"
        print(f"  {title:44} {runs['median_seconds']:7.2f} s  ({spread:>15})  {runs['median_megabytes']:6.0f} MB peak")
    options.output.write_text(json.dumps(facts | {"threading_layer": answers[FIRST], "rows": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()

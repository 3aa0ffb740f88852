"""Start-up time: `python -m benchmarks.startup`.

Times and peak memory of whole processes, from start to exit: `import`; the prediction for an image on the command line, with all
kernels compiled before and with none; the first training batch, with none compiled. For comparison: imports, and the prediction
of other engines for an image, with a new session: the same network in the engine's own file, and Pillow for the picture.

Checks: `import minisqx` does not import Numba, our prediction is a class of the network, the first batch leaves finite
weights, and the peers predict the same. The first round is not counted.
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
from benchmarks.engines.litert import LiteRt
from benchmarks.engines.ncnn import Ncnn
from benchmarks.engines.onnx_runtime import OnnxRuntime
from benchmarks.engines.openvino import OpenVino
from benchmarks.inference import PACKAGES as ENGINE_PACKAGES
from benchmarks.inference import Variant, Workshop
from benchmarks.machine import alone, describe
from benchmarks.turns import Contestant, ContestantError

RESULTS = Path(__file__).parent / "results" / "startup.json"
PACKAGES = ("h5py", "pillow", *ENGINE_PACKAGES)
NETWORK = "shallow-06-0.2x"  # every engine's
FIRST, ANSWER = "first training batch, nothing compiled", ": a session and an answer"
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
# The image in the layouts of the peers, N C H W and N H W C.
PICTURE = """
import sys, numpy as np
from PIL import Image
image = np.asarray(Image.open(sys.argv[2]).convert("RGB").resize((32, 32)), np.float32) / 255
x = np.ascontiguousarray(image.transpose(2, 0, 1))[None]
"""
ONNX_RUNTIME = """
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
print(session.run(None, {"x": x})[0].argmax())
"""
OPENVINO = """
import openvino
settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
core = openvino.Core()
model = core.read_model(sys.argv[1])
model.reshape(x.shape)
print(core.compile_model(model, "CPU", settings)(x)[0].argmax())
"""
LITERT = """
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
interpreter.invoke()
print(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).argmax())
"""
NCNN = """
import ncnn
net = ncnn.Net()
net.opt.num_threads = 1
net.load_param(sys.argv[1])
net.load_model(sys.argv[1].replace(".param", ".bin"))
extractor = net.create_extractor()
extractor.input("in0", ncnn.Mat(x[0]))
print(np.array(extractor.extract("out0")[1]).argmax())
"""
PEERS = {
    "ONNX Runtime": (Variant(OnnxRuntime, folded=False), ONNX_RUNTIME),
    "OpenVINO": (Variant(OpenVino), OPENVINO),
    "LiteRT": (Variant(LiteRt), LITERT),
    "ncnn": (Variant(Ncnn, folded=False), NCNN),
}


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
    own["PYTHONDONTWRITEBYTECODE"] = ""  # an installed package has its bytecode on disk, ours and theirs
    environment = os.environ | {name: str(value) for name, value in own.items()}
    start = time.perf_counter()
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}")
    return seconds, int(memory.read_text()) / 1024, done.stdout


def commands(folder: Path) -> dict[str, tuple[list[str], bool]]:
    """Name -> (command, whether it starts without compiled kernels)."""
    photo, model = folder / "photo.png", minisqx.load(NETWORK)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 451, 3), np.uint8)).save(photo)
    python = [sys.executable, "-c"]
    infer = [sys.executable, "-m", "minisqx", "infer", str(photo), "--model", NETWORK]
    found = {
        "python, nothing imported": ([*python, "pass"], False),
        "import minisqx": ([*python, "import sys, minisqx; assert 'numba' not in sys.modules"], False),
        "minisqx infer photo.png": (infer, False),
        "minisqx infer photo.png, nothing compiled": (infer, True),
        FIRST: ([*python, FIRST_BATCH], True),
        "import numpy": ([*python, "import numpy"], False),
        "import numba": ([*python, "import numba"], False),
        "import torch": ([*python, "import torch"], False),
    }
    workshop = Contestant("workshop", Workshop, {})
    for name, (variant, script) in PEERS.items():
        try:
            workshop.call("write", variant, folder, model.spec, model.state, np.zeros((0, 3, 32, 32)))
        except ContestantError as error:
            print(f"  {name}: absent: {error.reason}")
            continue
        found[f"{name}{ANSWER}"] = ([*python, PICTURE + script, str(variant.file(folder)), str(photo)], False)
    workshop.close()
    return found


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
    with tempfile.TemporaryDirectory(prefix="minisqx-startup-") as name, alone():
        folder = Path(name)
        all_commands = commands(folder)
        labels = minisqx.load(NETWORK).classes
        for number in range(options.repeats + 1):
            for title, (command, is_first) in all_commands.items():
                if is_first and number > options.compilations:
                    continue
                # The first round is not counted: it fills the disk cache and compiles the kernels.
                cache = folder / f"{number}-{len(title)}" if is_first else folder / "cache"
                # The first training batch compiles in a second process, too, where it may use a second CPU.
                seconds, megabytes, printed = run(command, folder, cache, 2 if title == FIRST else 1)
                answers[title] = printed.strip().splitlines()[-1] if printed.strip() else ""
                if title.startswith("minisqx infer") and not any(label in printed for label in labels):
                    raise SystemExit(f"{title} predicted no class:\n{printed}")
                if number > 0:
                    runs = found.setdefault(title, {"seconds": [], "megabytes": []})
                    runs["seconds"].append(round(seconds, 3))
                    runs["megabytes"].append(round(megabytes, 1))
        of_peers = {answer for title, answer in answers.items() if title.endswith(ANSWER)}
        if len(of_peers) > 1:
            raise SystemExit(f"the peers differ: {answers}")
    for title, runs in found.items():
        runs["median_seconds"] = statistics.median(runs["seconds"])
        runs["median_megabytes"] = statistics.median(runs["megabytes"])
        spread = f"{min(runs['seconds']):.2f} - {max(runs['seconds']):.2f} s"
        print(f"  {title:44} {runs['median_seconds']:7.2f} s  ({spread:>15})  {runs['median_megabytes']:6.0f} MB peak")
    options.output.write_text(json.dumps(facts | {"threading_layer": answers[FIRST], "rows": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""An answer from a warm cache needs no Numba; whatever is wrong with the machine code in the cache costs one line."""

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from PIL import Image

import minisqx
import minisqx.kernels
from minisqx.kernels.compiler import c_function, cache, identity, image, jit, link
from minisqx.kernels.compiler.words import types_of

pytestmark = pytest.mark.skipif(not image.are_supported(), reason="images are for Linux on x86-64")

ROOT = Path(__file__).parent.parent
SAY = "import sys; print([name for name in ('numba', 'llvmlite') if name in sys.modules])"
# Kernels of every sort of argument and result. The last is cleared by a call of the C library.
KERNELS = """
import numpy as np
from typing import NamedTuple
from minisqx.kernels.compiler.jit import entry, njit

class Scaled(NamedTuple):
    values: np.ndarray
    factor: float

class Part(NamedTuple):
    scaled: Scaled
    first: int
    negative: bool

@njit
def scaled(part, i):
    value = part.scaled.values[part.first + i] * part.scaled.factor
    return -value if part.negative else value

@entry
def add(out, part, columns):
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] += scaled(part, i) + columns[j, i]

@entry
def total(values, start) -> float:
    for value in values:
        start += value
    return start

@entry
def largest(values) -> int:
    place = 0
    for i in range(values.size):
        if values[i] > values[place]:
            place = i
    return place

@entry
def is_sorted(values) -> bool:
    for i in range(values.size - 1):
        if values[i] > values[i + 1]:
            return False
    return True

@entry
def clear(values):
    values[:] = 0

out, x, cleared = np.arange(12.0).reshape(3, 4), np.arange(40, dtype=np.float32), np.ones(5000, np.int32)
add(out, Part(Scaled(x[10:], 0.5), 2, True), np.arange(24.0).reshape(4, 6)[:, ::2])
clear(cleared)
print(out.tolist(), total(x, 3), total(out[0], 0.25), largest(x), is_sorted(x), is_sorted(x[::-1]), cleared.any())
"""


def python(code, cache_folder, expected_lines=0, folder=ROOT, **variables):
    """What a new process prints; on stderr it prints so many lines."""
    environment = os.environ | {"MINISQX_CACHE": str(cache_folder), "MINISQX_QUIET": ""} | variables
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == expected_lines, lines
    return done.stdout.splitlines(), lines


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """A folder with an image, and a cache in which all that `infer` needs is compiled."""
    folder = tmp_path_factory.mktemp("warm")
    pixels = np.random.default_rng(0).integers(0, 256, (50, 40, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "noise.png")
    python("import minisqx; minisqx.infer('noise.png')", folder / "cache", 1, folder)
    return folder


INFER = f"import minisqx; print(minisqx.infer('noise.png').probabilities.tobytes().hex()); {SAY}"
COMMAND = f"from minisqx.cli import main; main(['infer', 'noise.png']); {SAY}"


@pytest.mark.parametrize("code", [INFER, COMMAND], ids=["script", "command"])
def test_an_answer_from_a_warm_cache_has_the_bits_of_numba_without_it(warm, code):
    (*found, loaded), _ = python(code, warm / "cache", folder=warm)
    (*expected, with_numba), _ = python(f"import numba; {code}", warm / "cache", folder=warm)
    assert found == expected and found
    assert loaded == "[]" and with_numba == "['numba', 'llvmlite']"


def test_threads_at_once_and_a_fork_among_them_have_the_same_answer(warm):
    code = f"""
import os, threading
import minisqx
answers, start = [], threading.Barrier(5)
def answer():
    return minisqx.infer("noise.png").probabilities.tobytes().hex()
def work():
    start.wait()
    answers.append(answer())
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
start.wait()
child = os.fork()
if child == 0:
    print(answer(), flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
for thread in threads:
    thread.join()
print(*sorted(set(answers)))
{SAY}
"""
    (child, parent, loaded), _ = python(f"import warnings; warnings.simplefilter('ignore')\n{code}", warm / "cache", folder=warm)
    assert child == parent and loaded == "[]"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A cache in which the kernels above are compiled, and what they print."""
    folder = tmp_path_factory.mktemp("compiled")
    printed, _ = python(KERNELS, folder, 1)
    return folder, printed


@pytest.fixture
def copied(compiled, tmp_path):
    folder, printed = compiled
    shutil.copytree(folder, tmp_path / "cache")
    return tmp_path / "cache", printed


def test_arguments_and_results_of_every_sort_are_the_same_without_numba(compiled):
    folder, printed = compiled
    assert python(KERNELS + SAY, folder)[0] == [*printed, "[]"]
    assert python(KERNELS, folder, NUMBA_DISABLE_JIT="1")[0] == printed
    assert "[0.0, 7.0, 14.0, 21.0]" not in printed[0] and printed[0].endswith("39 True False False")
    images = {path.name.split("-")[0] for path in folder.glob("kernels/*/*.image")}
    assert images == {f"__main__.{name}" for name in ("add", "total", "largest", "is_sorted", "clear")}


def images(folder, name="total"):
    return sorted(folder.glob(f"kernels/*/__main__.{name}-*.image"))


def flipped(data):
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :]


def exchange(folder):
    """Each of two images has the other's name."""
    first, second = images(folder)
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)


FAULTS = {
    "a flipped bit": lambda folder: [path.write_bytes(flipped(path.read_bytes())) for path in images(folder)],
    "an empty file": lambda folder: [path.write_bytes(b"") for path in images(folder)],
    "another kernel": exchange,
    "others may write": lambda folder: [path.chmod(0o646) for path in images(folder)],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_image_that_cannot_be_trusted_costs_one_line_and_is_made_again(copied, fault):
    folder, printed = copied
    FAULTS[fault](folder)
    found, (line,) = python(KERNELS + SAY, folder, 1)
    assert found == [*printed, "['numba', 'llvmlite']"] and ".image: " in line
    assert python(KERNELS + SAY, folder)[0] == [*printed, "[]"]


def test_without_a_folder_or_an_image_numba_is_imported_and_nothing_is_said(copied):
    folder, printed = copied
    for path in images(folder, "*"):
        path.unlink()
    assert python(KERNELS + SAY, folder)[0] == [*printed, "['numba', 'llvmlite']"]
    assert python(KERNELS + SAY, folder)[0] == [*printed, "[]"]


def test_no_image_is_loaded_after_a_kernels_source_has_changed(tmp_path):
    for package, place in ((minisqx, "minisqx"), (minisqx.kernels, "minisqx/kernels")):
        home, ignore = Path(str(package.__file__)).parent, shutil.ignore_patterns("__pycache__")
        shutil.copytree(home, tmp_path / place, ignore=ignore, dirs_exist_ok=True)
    source = tmp_path / "minisqx" / "kernels" / "pixels.py"
    code = f"""
import numpy as np
from minisqx.kernels import pixels
out = np.zeros((3, 1))
pixels.look_up(out, np.array([1, 2, 3], np.uint8), np.arange(768.0).reshape(3, 256))
print(out.ravel().tolist())
{SAY}
"""
    settings = {"folder": tmp_path, "PYTHONPATH": str(tmp_path)}
    python(code, tmp_path / "cache", 1, **settings)
    assert python(code, tmp_path / "cache", **settings)[0] == ["[1.0, 258.0, 515.0]", "[]"]
    text = source.read_text(encoding="utf-8")
    source.write_text(text.replace("= values[", "= 2 * values["), encoding="utf-8")
    (found, loaded), _ = python(code, tmp_path / "cache", 1, **settings)
    assert found == "[2.0, 516.0, 1030.0]" and loaded == "['numba', 'llvmlite']"


def test_other_settings_of_numba_go_numbas_way(compiled, tmp_path):
    folder, printed = compiled
    assert python(KERNELS + SAY, folder, 1, NUMBA_OPT="1")[0] == [*printed, "['numba', 'llvmlite']"]
    assert python(KERNELS + SAY, folder, NUMBA_NUM_THREADS="1")[0] == [*printed, "[]"]
    (tmp_path / ".numba_config.yaml").write_text("color_scheme: no_color")
    settings = {"folder": tmp_path, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONWARNINGS": "ignore"}
    assert python(KERNELS + SAY, folder, **settings)[0] == [*printed, "['numba', 'llvmlite']"]


# In this process Numba is imported.


@pytest.fixture
def own_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(cache, "_folder", tmp_path)
    monkeypatch.setattr(cache, "_system", None)
    monkeypatch.setattr(cache, "_tell", None)
    return tmp_path


def twice(values):
    for i in range(values.size):
        values[i] *= 2


def test_code_of_settings_that_a_program_has_changed_is_not_saved_as_an_image(own_folder, monkeypatch):
    monkeypatch.setattr(numba.config, "LOOP_VECTORIZE", 0)
    jit.entry(twice)(np.ones(3))
    assert list(own_folder.glob("*.nbc")) and not list(own_folder.glob("*.image"))
    monkeypatch.undo()
    monkeypatch.setattr(cache, "_folder", own_folder)
    jit.entry(twice)(np.ones(3))
    assert list(own_folder.glob("*.image"))


def test_an_image_is_for_one_cpu_and_for_arguments_of_its_types(monkeypatch):
    here = image._entry("kernel", "float32[1C]")
    assert image._entry("kernel", "float64[1C]") != here
    monkeypatch.setattr(image, "cpu", lambda: "another")
    assert image._entry("kernel", "float32[1C]") != here


def test_the_cpu_is_known_by_its_model_and_its_features(tmp_path):
    lines = ["vendor_id: A", "cpu family: 6", "model: 1", "model name: B", "stepping: 2", "cpu MHz: {}", "flags: fpu {}", "", ""]
    files = [tmp_path / str(number) for number in range(4)]
    for path, values in zip(files, (("1", "avx"), ("2", "avx"), ("1", "avx avx2"), ("1", ""))):
        path.write_text("\n".join(lines).format(*values) + "processor: 1\nflags: other\n")
    first, slower, more, fewer = map(identity.cpu, files)
    assert first == slower and len({first, more, fewer}) == 3
    files[0].write_text("processor: 0\nBogoMIPS: 50\n")
    assert identity.cpu(files[0]) is None and identity.cpu(tmp_path / "none") is None


def allocates(values):
    values[:] = np.sort(values)


def refuses(values):
    if values.size > 3:
        raise ValueError("too many")


@pytest.mark.parametrize("function", [allocates, refuses])
def test_code_that_needs_numba_or_python_is_no_image_and_runs(own_folder, function):
    values = np.array([2.0, 1.0])
    jit.entry(function)(values)
    assert list(values) == ([1.0, 2.0] if function is allocates else [2.0, 1.0])
    assert not list(own_folder.glob("*.image"))


def test_an_object_file_of_another_machine_is_no_image():
    for data in (b"", b"\x7fELF\x01\x01" + bytes(100), b"MZ" + bytes(200)):
        with pytest.raises(link.LinkError):
            link.link([data], "start", {})


def test_every_kernel_of_inference_is_an_image(warm):
    names = {path.name.split("-")[0] for path in (warm / "cache").glob("kernels/*/*.image")}
    resized = {"resize.prepare", "resize.add_rows", "resize.finish"}
    assert names == {"inference.run", "pixels.look_up", "softmax.shift", "softmax.normalise"} | resized
    for path in (warm / "cache").glob("kernels/*/*.image"):
        _, content = pickle.loads(cache.checked_content(path.read_bytes()))
        found = image.Image(*content)
        assert {name for name, _ in found.calls} <= set(image.LIBRARY_FUNCTIONS) and 0 <= found.start < len(found.code)


@pytest.mark.parametrize(
    "wrong", [np.zeros(3, ">f8"), np.array([None]), "text", None, np.zeros(17, np.uint8)[1:].view(np.float64)]
)
def test_an_argument_that_no_c_function_takes_is_refused(wrong):
    with pytest.raises(TypeError, match="expected"):
        types_of((wrong,))


def test_numbas_default_settings_are_read_without_its_programs_changes(monkeypatch):
    assert c_function._are_default(numba.config)
    monkeypatch.setattr(numba.config, "OPT", 0)
    assert not c_function._are_default(numba.config)

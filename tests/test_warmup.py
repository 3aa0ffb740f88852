"""Compiling ahead: after it nothing is left to compile, and a process that waits for a compilation says why, once."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from minisqx.kernels.compiler import cache, jit


def minisqx(*arguments, **variables):
    command = [sys.executable, "-m", "minisqx", *map(str, arguments)]
    return subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, timeout=600)


def python(code, **variables):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, timeout=600)


def kernels():
    return set(Path(os.environ["MINISQX_CACHE"]).glob("kernels/*/*"))


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    """A cache folder into which no other test compiles at the same time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINISQX_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def warm(own_cache):
    """What `minisqx warmup` says."""
    return minisqx("warmup")


def test_warmup_says_what_it_compiled_and_where_it_lies(warm):
    assert warm.returncode == 0 and not warm.stderr and kernels()
    inference, training, folder = warm.stdout.splitlines()
    for line, what in ((inference, "inference"), (training, "training")):
        assert re.fullmatch(rf"{what} \(float32\): \d+\.\d s, (\d+ kernels compiled|nothing was left to compile)", line)
    assert folder.startswith(f"compiled code: {next(iter(kernels())).parent}, ")


def test_a_second_warmup_finds_nothing_to_compile(warm):
    before = kernels()
    assert [line.split(", ")[-1] for line in minisqx("warmup").stdout.splitlines()[:2]] == ["nothing was left to compile"] * 2
    assert kernels() == before


def test_after_a_warmup_nothing_is_compiled_and_nothing_said_of_it(warm, tmp_path):
    before, run = kernels(), tmp_path / "run"
    network = ["--width", 0.125, "--blocks", "1,2,1,1"]
    Image.new("RGB", (50, 40)).save(tmp_path / "photo.png")
    for arguments in (
        ["train", *network, "--data", "shapes", "--epochs", 1, "--batch-size", 1000, "--out", run],
        ["evaluate", run / "best.h5", "--data", "shapes"],
        ["bench", *network, "--layers", "--repeats", 1],
        ["infer", tmp_path / "photo.png"],
    ):
        done = minisqx(*arguments)
        assert done.returncode == 0 and "compiling" not in done.stderr + done.stdout, done.stderr
    assert kernels() == before


@pytest.fixture
def own_folder(monkeypatch, tmp_path):
    """A folder of compiled code for the kernels that a test makes: the usual one knows nothing of a test's sources."""
    monkeypatch.setattr(cache, "_folder", tmp_path)
    monkeypatch.setattr(cache, "_system", None)


def test_compiling_is_announced_once_and_only_if_there_is_some(own_folder):
    told = []
    cache.before_compiling(lambda: told.append(1))
    try:

        @jit.njit
        def twice(x):
            return 2 * x

        assert twice(2) == 4 and twice(2.0) == 4.0
        assert told == [1]
        cache.before_compiling(lambda: told.append(2))
        assert jit.njit(twice.py_func)(2) == 4
    finally:
        cache.before_compiling(None)
    assert told == [1]


def test_a_kernel_compiled_within_another_can_be_called_alone_afterwards(own_folder):
    @jit.njit
    def inner(x):
        return x + 1

    @jit.njit
    def outer(x):
        return 2 * inner(x)

    @jit.njit
    def another(x):
        return 3 * inner(x)

    assert (outer(1), inner(1), another(1), inner(1.5), outer(1.5)) == (4, 2, 6, 2.5, 5.0)


def test_infer_announces_on_stderr_that_it_compiles_in_python_too(tmp_path):
    Image.new("RGB", (32, 32)).save(tmp_path / "black.png")
    variables = {"MINISQX_CACHE": str(tmp_path / "cache"), "MINISQX_QUIET": ""}
    first = python(f"import minisqx; print(minisqx.infer({str(tmp_path / 'black.png')!r}))", **variables)
    second = minisqx("infer", tmp_path / "black.png", **variables)
    assert first.returncode == second.returncode == 0 and first.stdout.split()[0] in second.stdout
    assert first.stderr.count("compiling kernels") == 1 and len(first.stderr.splitlines()) == 1 and not second.stderr

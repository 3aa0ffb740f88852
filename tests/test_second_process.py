"""A first training step shares the compilation with a second process; the bits are those of a process that compiles alone."""

import os
import re
import subprocess
import sys

import pytest

from minisqx.kernels.compiler import cache, second_process
from minisqx.training.warmup import BACKWARD

STEP = """
import hashlib, sys
import numpy as np
import minisqx
from minisqx.kernels.compiler import cache

net = minisqx.ShallowSqueezeNext(0.125)
x = np.random.default_rng(0).normal(size=(4, 3, 32, 32)).astype(np.float32)
loss, dlogits = minisqx.cross_entropy(net.forward(x, training=True), np.zeros(4, np.int64))
net.backward(dlogits)
print(loss, hashlib.sha256(net.flat_gradients.tobytes()).hexdigest())
"""
COMPILE = """
import sys
from minisqx.kernels.compiler import cache
from minisqx.training.warmup import compile_backward
compile_backward("float32", sys.argv[1] or str(cache.folder()))
"""


def python(folder, threads: int, code: str, *arguments: str) -> str:
    environment = os.environ | {"MINISQX_CACHE": str(folder), "MINISQX_NUM_THREADS": str(threads), "MINISQX_QUIET": "1"}
    done = subprocess.run([sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return done.stdout


def compiled(folder) -> dict[str, float]:
    """Name of each kernel in a cache folder, without the types that it is for -> time at which it was written."""
    files = folder.glob("kernels/*/*.nbc")
    return {re.sub(r"_[0-9a-f]{16}$", "", path.name.rsplit("-", 1)[0]): path.stat().st_mtime for path in files}


@pytest.fixture
def started(monkeypatch, tmp_path):
    """The commands of the processes that would have been started, where all conditions for one hold."""
    commands: list[list[str]] = []
    monkeypatch.setattr(second_process.subprocess, "Popen", lambda command, **options: commands.append(command))
    monkeypatch.setattr(second_process, "_process", None)
    monkeypatch.setattr(second_process, "threads", lambda: 2)
    monkeypatch.setattr(second_process.late, "is_jit_disabled", lambda: False)
    monkeypatch.setattr(cache, "_folder", tmp_path)
    monkeypatch.setattr(cache, "_system", None)
    return commands


def start():
    second_process.start("convolution.pass_back", "module", "function", "float32")


def test_the_second_process_compiles_its_kernels_and_runs_none(tmp_path):
    python(tmp_path, 2, COMPILE, "")
    found = compiled(tmp_path)
    assert set(found) >= BACKWARD
    assert not any(name.startswith(("tiles.", "convolution.convolve", "residual.add_chunk")) for name in found)
    # A process that compiles the others itself takes these, and its gradients have the bits of one that compiles all.
    shared = python(tmp_path, 1, STEP)
    assert {name: compiled(tmp_path)[name] for name in BACKWARD} == {name: found[name] for name in BACKWARD}
    assert shared == python(cache.folder().parent.parent, 1, STEP)


def test_the_second_process_leaves_another_folder_alone(tmp_path):
    python(tmp_path, 2, COMPILE, "another folder")
    assert not compiled(tmp_path)


def test_it_starts_where_a_kernel_is_missing(started):
    start()
    assert len(started) == 1 and started[0][0] == sys.executable


def test_it_does_not_start_where_the_kernel_is_compiled(started, tmp_path):
    (tmp_path / "convolution.pass_back_0123456789abcdef-0.nbc").touch()
    start()
    assert not started


def test_it_does_not_start_for_one_thread(started, monkeypatch):
    monkeypatch.setattr(second_process, "threads", lambda: 1)
    start()
    assert not started


def test_it_does_not_start_without_a_folder(started, monkeypatch):
    monkeypatch.setattr(cache, "_folder", None)
    start()
    assert not started


@pytest.mark.parametrize("executable", ["", "/usr/bin/uwsgi"])
def test_it_does_not_start_a_program_that_embeds_python(started, monkeypatch, executable):
    monkeypatch.setattr(sys, "executable", executable)
    start()
    assert not started


def test_a_second_process_that_fails_is_no_error(monkeypatch, tmp_path):
    monkeypatch.setattr(cache, "_folder", tmp_path)
    monkeypatch.setattr(second_process, "_process", None)
    monkeypatch.setattr(second_process, "threads", lambda: 2)
    monkeypatch.setattr(second_process.late, "is_jit_disabled", lambda: False)
    second_process.start("no.kernel", "no_module", "no_function")
    assert second_process._process is not None
    second_process.wait()
    assert second_process._process is None

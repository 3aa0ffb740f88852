"""Numba's members that it doesn't promise: all as expected here, and where one is not, its public functions do."""

import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from minisqx.kernels.compiler import choice, numba_members

CALLS = """
import hashlib
import numpy as np
from minisqx.kernels import dropout, linear, loss
from minisqx.kernels.layout import Layout
from minisqx.kernels.structures import Cut, Tensor

generator, digest = np.random.default_rng(0), hashlib.sha256()
logits, dlogits = generator.normal(size=(7, 10)), np.empty((7, 10))
digest.update(np.float64(loss.softmax_cross_entropy(dlogits, logits, np.arange(7), np.ones(10))).tobytes() + dlogits.tobytes())
out, features, weight = np.empty((3, 5)), generator.normal(size=(3, 37)), generator.normal(size=(5, 37))
linear.forward(out, features, weight, np.ones(5))
digest.update(out.tobytes())
layout = Layout.of_batch(9, 4, 5, np.dtype("float64"), 1)
x = layout.pack(generator.normal(size=(9, 2, 4, 5)), layout.empty(2, "float64"))
tensor = Tensor(x, 0, np.ones(2), np.zeros(2), 0, np.empty((2, 2)))
dropped = layout.empty(2, "float64")
dropout.apply(dropped, tensor, 0.3, np.array([5], np.uint64), Cut(9, layout.images_per_chunk, layout.map_pixels))
digest.update(layout.unpack(dropped).tobytes())
print(digest.hexdigest())
"""
ANOTHER_NUMBA = """
from numba.core import codegen
usual = codegen.CPUCodeLibrary._optimize_final_module
codegen.CPUCodeLibrary._optimize_final_module = lambda self, level=3: usual(self)
"""


def printed(code, cache):
    environment = os.environ | {"MINISQX_CACHE": str(cache)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr.splitlines()


def test_every_member_is_what_it_is_taken_for():
    assert not list(numba_members.differences()) and choice.members is numba_members


def test_another_numba_computes_the_same_bits_and_one_line_says_why_it_is_slow(tmp_path):
    usual, lines = printed(CALLS, tmp_path / "usual")
    assert len(lines) == 1 and "compiling kernels" in lines[0]
    assert list((tmp_path / "usual").glob("kernels/*/*.nbc"))
    found, lines = printed(ANOTHER_NUMBA + CALLS, tmp_path / "other")
    assert found == usual
    assert len(lines) == 1 and "_optimize_final_module takes (self level), expected (self)" in lines[0]
    assert not list((tmp_path / "other").glob("kernels/*/*.nbc"))


FORK = """
import os
import threading
import time
import warnings

from minisqx.kernels.compiler import late

warnings.simplefilter("ignore")
late.module("choice")
from llvmlite import binding as llvm

inside = threading.Event()


def stay_in_llvm():
    with llvm.ffi.lib._lock:
        inside.set()
        time.sleep(0.3)


thread = threading.Thread(target=stay_in_llvm)
thread.start()
inside.wait()
child = os.fork()
if child == 0:
    llvm.get_default_triple()
    os._exit(0)
thread.join()
assert os.waitpid(child, 0)[1] == 0 and llvm.get_default_triple()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_fork_waits_until_no_thread_is_inside_llvm():
    with subprocess.Popen([sys.executable, "-c", FORK], start_new_session=True) as process:
        try:
            assert process.wait(60) == 0
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

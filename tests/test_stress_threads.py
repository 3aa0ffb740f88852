"""The stress commands for threads, forks, the kernel cache and load, at the smallest counts, so that they can't rot."""

import os
import subprocess
import sys

import pytest


def stress(name, *arguments):
    command = [sys.executable, "-m", f"tests.stress.{name}", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_three_threads_get_the_same_bits_while_others_train():
    out = stress("threads", "--threads", 3, "--calls", 3)
    assert "workqueue: 3 threads x 3 calls: 9 of 9 answers bit-equal" in out


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_forked_and_spawned_processes_answer_right():
    out = stress("forks", "--forks", 2, "--spawns", 1, "--cold", 2)
    assert "2 of 2 forks right" in out and "1 of 1 spawned processes right" in out and "2 of 2 forks during a first" in out


def test_a_damaged_cache_is_told_in_one_line_and_heals():
    out = stress("caches", "--processes", 0, "--flips", 100, "--only", "a flipped bit")
    assert "a flipped bit: right answer, lines: 1, healed" in out and "100 of 100 flipped bits refused" in out


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="its memory is read from /proc")
def test_the_load_test_runs():
    out = stress("load", "--minutes", 0.02)
    assert "one thread: " in out and "two threads at once: " in out and "memory: " in out

"""Kernels for other CPUs than this one: without fused multiply-add (plain SSE2), and with AVX2 but not AVX-512.

The numeric tests of tiles, ELU and im2col, and a network's gradients, run again in a process whose code is made for that CPU.
That compiles everything they call, some half a minute each, once; `-m "not other_cpu"` leaves them out. The whole numeric part
ran on each, docs/reliability.md says with what result; `python -m tests.stress.cpus` says how far the CPUs' results differ.
"""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from llvmlite import binding as llvm

HERE = Path(__file__).parent
TILES = ("test_kernels_product.py", "test_kernels_activation.py", "test_kernels_im2col.py")
# ELU within a kernel that is compiled with other flags.
INLINED = ("test_kernels_residual.py::test_the_average_and_its_backward_are_their_naive_twin",)
# Training kernels, in float64: three steps held against PyTorch, and gradients against the complex step.
NETWORK = (
    "test_golden.py::test_float64_is_pytorchs[other_options-gradients]",
    "test_golden.py::test_float64_is_pytorchs[other_options-after_three_steps]",
    "test_gradients.py::test_gradients_are_the_complex_step_of_the_naive_network[3-options0]",
)

pytestmark = [
    pytest.mark.other_cpu,
    pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the CPUs are named for x86-64"),
]


def run(tests: tuple[str, ...], cpu: str) -> None:
    """Runs tests for another CPU; fails with their last lines. An empty list of features: those that its name implies."""
    code = "from minisqx.kernels.tiles.simd import vector_registers; print(*vector_registers())"
    environment = os.environ | {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": ""}
    registers = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert registers.stdout.split() == {"generic": ["16", "16"], "haswell": ["32", "16"]}[cpu]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *(str(HERE / name) for name in tests)],
        cwd=HERE.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:]


def test_the_tiles_are_right_without_fused_multiply_add():
    run(TILES, "generic")


def test_elu_within_other_kernels_is_right_without_fused_multiply_add():
    run(INLINED, "generic")


def test_a_networks_gradients_are_right_without_fused_multiply_add():
    run(NETWORK, "generic")


@pytest.mark.skipif(not llvm.get_host_cpu_features().get("avx2"), reason="this CPU has no AVX2")
def test_the_tiles_are_right_with_avx2_alone():
    run((*TILES, *INLINED), "haswell")


@pytest.mark.skipif(not llvm.get_host_cpu_features().get("avx2"), reason="this CPU has no AVX2")
def test_a_networks_gradients_are_right_with_avx2_alone():
    run(NETWORK, "haswell")


@pytest.mark.skipif(not llvm.get_host_cpu_features().get("avx2"), reason="this CPU has no AVX2")
def test_a_process_that_compiles_has_the_bits_of_one_that_loads(tmp_path):
    """Numba leaves copies of a function in several kernels' code, which may round differently, under one name."""
    code = (
        "import hashlib, minisqx, numpy as np; net = minisqx.ShallowSqueezeNext(dtype='float64');"
        "logits = net.forward(np.random.default_rng(0).normal(size=(8, 3, 32, 32)), training=True);"
        "print(hashlib.sha256(logits.tobytes() + net.flat_buffers.tobytes()).hexdigest())"
    )
    environment = os.environ | {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "", "MINISQX_CACHE": str(tmp_path)}
    hashes = []
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-3000:]
        hashes.append(done.stdout)
    assert hashes[0] == hashes[1]

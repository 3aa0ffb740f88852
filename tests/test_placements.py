"""The same numbers give the same bits wherever their arrays lie: `tests.stress.placements` at small counts."""

from types import SimpleNamespace

import numpy as np
import pytest

from minisqx.kernels import convolution, dropout, linear, loss, max_pool, norm_activation, pooling, residual
from minisqx.kernels.compiler import jit, tasks
from minisqx.kernels.compiler import numba_members as members
from minisqx.kernels.compiler.entry import Code, Entry
from minisqx.machine.threads import threads, use_threads
from tests.kernel_records import Recorder, run_networks
from tests.stress.placements import BATCHES, DTYPES, flagged_operations, step_digest


def named(task: tasks.Task) -> SimpleNamespace:
    """The module and the name of a task; of one that a layer makes of a kernel, the kernel's."""
    for module in (convolution, dropout, max_pool, norm_activation, pooling, residual):
        for name, value in vars(module).items():
            if value is task:
                return SimpleNamespace(__module__=module.__name__, __name__=name)
    return task.stages[0]


@pytest.fixture(scope="module")
def records():
    """The calls that Python makes of kernels; kernels that are called by these are a part of them."""
    recorder, called, code, run = Recorder(), jit.Kernel.__call__, Entry.code, tasks.Program.run
    watched = recorder.watched

    def call_kernel(kernel, *arguments):
        if kernel.is_parallel:  # its table has the addresses of tasks, which are recorded themselves
            return called(kernel, *arguments)
        return watched(kernel.py_func, called.__get__(kernel))(*arguments)

    def run_each(program):
        for call in program.calls:
            watched(named(call.task), lambda *_, call=call: run(tasks.Program([call])))(*call.arguments)

    code_of = lambda call: Code(call, lambda *a: lambda: call(*a))  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jit.Kernel, "__call__", call_kernel)
        patch.setattr(tasks.Program, "run", run_each)
        patch.setattr(Entry, "code", lambda self, arguments: code_of(watched(self, code(self, arguments).call)))
        for dtype in DTYPES:
            run_networks(dtype)
    return recorder.records


@pytest.fixture
def one_thread():
    """With more it is a matter of time which thread's scratch holds what."""
    before = threads()
    use_threads(1)
    yield
    use_threads(before)


def test_kernels_have_the_same_bits_wherever_their_arrays_lie(records, one_thread):
    generator = np.random.default_rng(0)
    seen = {record.name for record in records}
    assert {"forward", "backward", "softmax_cross_entropy", "step", "apply", "input_gradient", "run", "fill_batch"} <= seen
    for record in records:
        assert len({record.run(generator) for _ in range(25)}) == 1, (record.module, record.name)


@pytest.mark.parametrize("dtype", DTYPES)
def test_steps_of_fresh_networks_have_the_same_bits(dtype):
    generator, kept = np.random.default_rng(0), []
    for images in BATCHES:
        found = set()
        for _ in range(8):
            found.add(step_digest(dtype, images))
            kept = [np.empty(size, np.uint8) for size in generator.integers(1, 4000, 20)]
        assert len(found) == 1 and kept


def test_no_operation_of_the_generated_code_may_be_reordered_or_fused():
    calls = (
        (loss.softmax_cross_entropy, (np.empty((3, 5)), np.zeros((3, 5)), np.zeros(3, np.int64), np.ones(5))),
        (linear.forward, (np.empty((3, 5)), np.ones((3, 17)), np.ones((5, 17)), np.zeros(5))),
    )
    for kernel, arguments in calls:
        fresh = members.Kernel(py_func=kernel.py_func, targetoptions=kernel.targetoptions)  # not from the folder
        count, flagged = flagged_operations(lambda fresh=fresh, arguments=arguments: fresh(*arguments))
        assert count > 10 and not flagged

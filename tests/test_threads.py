"""The thread count: where it comes from, and who is told. A failure on any thread is the caller's."""

import os
import subprocess
import sys
import threading
import time

import numba
import numpy as np
import pytest

from minisqx.errors import OptionError
from minisqx.kernels.compiler import alone
from minisqx.machine import threads


@pytest.fixture(autouse=True)
def eight_cpus_and_no_variables(monkeypatch):
    monkeypatch.delenv("MINISQX_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "_usable_cpus", lambda: 8)
    monkeypatch.setattr(threads, "_control_group_quota", lambda: None)
    monkeypatch.setattr(threads, "_numba_limit", lambda: None)


def test_the_option_overrides_the_variable_and_the_variable_the_machine(monkeypatch):
    assert threads.thread_count() == (8, "CPUs available to this process")
    monkeypatch.setenv("MINISQX_NUM_THREADS", "3")
    assert threads.thread_count() == (3, "MINISQX_NUM_THREADS")
    assert threads.thread_count(5) == (5, "--threads")


def test_an_empty_variable_is_like_none(monkeypatch):
    monkeypatch.setenv("MINISQX_NUM_THREADS", "")
    assert threads.thread_count()[0] == 8


@pytest.mark.parametrize(
    "quota, openmp, expected", [(2.5, "", 2), (0.5, "", 1), (6.0, "4,2", 4), (None, "16", 8), (None, "none", 8), (None, "0", 8)]
)
def test_without_a_request_the_smallest_limit_of_the_machine_counts(monkeypatch, quota, openmp, expected):
    monkeypatch.setattr(threads, "_control_group_quota", lambda: quota)
    monkeypatch.setenv("OMP_NUM_THREADS", openmp)
    assert threads.thread_count()[0] == expected


@pytest.mark.parametrize("wrong", [0, -1, 1025, True, 1.5])
def test_a_wrong_option_is_refused_in_one_line(wrong):
    with pytest.raises(OptionError, match=r"^threads .*: expected a whole number from 1 to 1024$"):
        threads.thread_count(wrong)


@pytest.mark.parametrize("wrong", ["0", "-2", "two", "1.5", "²", "9999"])
def test_a_wrong_variable_is_refused_in_one_line(monkeypatch, wrong):
    monkeypatch.setenv("MINISQX_NUM_THREADS", wrong)
    with pytest.raises(OptionError, match=r"^MINISQX_NUM_THREADS .*: expected a whole number from 1 to 1024$"):
        threads.thread_count()


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


class TestControlGroupQuota:
    # The fixture above replaces the function in the module, not this reference.
    limits = staticmethod(threads._control_group_quota)

    def quota(self, membership, root):
        return self.limits(membership=membership, root=root)

    def test_version_2_takes_the_smallest_on_the_way_to_the_group(self, tmp_path):
        write(tmp_path / "membership", "0::/slice/box\n")
        write(tmp_path / "root/slice/cpu.max", "150000 100000\n")
        write(tmp_path / "root/slice/box/cpu.max", "max 100000\n")
        assert self.quota(tmp_path / "membership", tmp_path / "root") == 1.5

    def test_version_1_is_read_from_its_own_files(self, tmp_path):
        write(tmp_path / "membership", "5:memory:/box\n4:cpu,cpuacct:/box\n0::/\n")
        write(tmp_path / "root/cpu,cpuacct/box/cpu.cfs_quota_us", "300000\n")
        write(tmp_path / "root/cpu,cpuacct/box/cpu.cfs_period_us", "100000\n")
        assert self.quota(tmp_path / "membership", tmp_path / "root") == 3.0

    def test_version_1_in_a_container_stands_at_the_root(self, tmp_path):
        write(tmp_path / "membership", "4:cpu:/docker/0123\n")
        write(tmp_path / "root/cpu/cpu.cfs_quota_us", "200000\n")
        write(tmp_path / "root/cpu/cpu.cfs_period_us", "100000\n")
        assert self.quota(tmp_path / "membership", tmp_path / "root") == 2.0

    def test_no_quota_is_no_limit(self, tmp_path):
        assert self.quota(tmp_path / "missing", tmp_path) is None
        write(tmp_path / "membership", "4:cpu:/\n0::/\n")
        write(tmp_path / "root/cpu/cpu.cfs_quota_us", "-1\n")
        write(tmp_path / "root/cpu/cpu.cfs_period_us", "100000\n")
        write(tmp_path / "root/cpu.max", "max 100000\n")
        assert self.quota(tmp_path / "membership", tmp_path / "root") is None


def run(code, **variables):
    """The last line that a fresh Python prints, on stdout or, after an error, on stderr."""
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", code], env=environment | variables, capture_output=True, text=True, timeout=120)
    return (done.stdout or done.stderr).strip().splitlines()[-1]


USE = """
import os
before = dict(os.environ)
from minisqx.machine.threads import use_threads
use_threads({})
import numba
from minisqx.kernels.compiler import alone
numba.njit(lambda x: x + 1)(1)  # Numba reads its variables again
assert dict(os.environ) == before and numba.config.NUMBA_NUM_THREADS == numba.config.NUMBA_DEFAULT_NUM_THREADS
print(alone.run_alone(numba.get_num_threads))
"""


@pytest.mark.parametrize("count", [7, 1])
def test_more_and_fewer_threads_than_cpus_can_be_used(count):
    assert run(USE.format(count)) == str(count)


def test_numba_starts_with_room_for_the_threads_wherever_it_is_imported():
    code = "from minisqx.machine import threads; threads.use_threads({}); import sys; assert 'numba' not in sys.modules; {}"
    found = "import numba; print(threads.max_threads())"
    assert run(code.format(500, found)) == "500"
    assert run(code.format(500, f"threads.use_threads(600); threads.use_threads(1); {found}")) == "600"
    # Others look for Numba without importing it.
    looked = f"from importlib.util import find_spec; find_spec('numba'); {found}"
    assert run(code.format(500, looked)) == "500"


STEP = """
import os
before = dict(os.environ)
import {first}, minisqx, numba, numpy as np
network = minisqx.ShallowSqueezeNext(width=0.125)
loss, gradient = minisqx.cross_entropy(network.forward(np.zeros((2, 3, 16, 16)), training=True), np.arange(2))
network.backward(gradient)
minisqx.SGD(network, lr=0.1).step()
from minisqx.machine.threads import thread_count, threads
print(threads(), *thread_count(), dict(os.environ) == before)
"""


@pytest.mark.parametrize("first", ["numba", "minisqx"])
def test_numbas_variable_is_a_limit_in_any_order_of_imports_and_stays_set(first):
    assert run(STEP.format(first=first), NUMBA_NUM_THREADS="1") == "1 1 NUMBA_NUM_THREADS True"


def test_numbas_file_of_settings_is_a_limit_too(monkeypatch, tmp_path):
    monkeypatch.undo()  # the limit is asked for in earnest, where Numba is not imported yet
    monkeypatch.setattr(threads, "max_threads", lambda: 3)
    monkeypatch.delitem(sys.modules, "numba")
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    monkeypatch.chdir(tmp_path)
    assert threads._numba_limit() is None
    (tmp_path / ".numba_config.yaml").write_text("num_threads: 3")
    assert threads._numba_limit() == 3


@pytest.fixture
def numba_number():
    """The most that Numba can have; afterwards it and minisqx have the numbers of before."""
    chosen, is_default, numbas = threads.threads(), threads._is_default, numba.get_num_threads()
    numba.set_num_threads(threads.max_threads())
    yield threads.max_threads()
    numba.set_num_threads(numbas)
    threads.use_threads(chosen, "" if is_default else threads.OPTION)


def test_a_parallel_kernel_leaves_the_callers_number_of_numbas_threads(numba_number):
    threads.use_threads(1)
    assert alone.run_alone(numba.get_num_threads) == 1 and numba.get_num_threads() == numba_number

    def fails():
        raise MemoryError

    with pytest.raises(MemoryError):
        alone.run_alone(fails)
    assert numba.get_num_threads() == numba_number


def test_numbas_own_setting_limits_a_default_but_no_explicit_number(numba_number):
    threads.use_threads(numba_number, "CPUs available to this process")
    numba.set_num_threads(1)
    assert threads.threads() == alone.run_alone(numba.get_num_threads) == 1
    threads.use_threads(numba_number)
    assert threads.threads() == alone.run_alone(numba.get_num_threads) == numba_number
    assert numba.get_num_threads() == 1


def test_without_a_number_the_variable_counts_and_then_the_earlier_choice():
    assert run(USE.format(""), MINISQX_NUM_THREADS="5") == "5"
    assert (
        run("from minisqx.machine.threads import use_threads; use_threads(3); print(use_threads())", MINISQX_NUM_THREADS="5")
        == "3"
    )


def test_too_many_threads_after_numba_has_started_are_refused_with_the_way_out():
    code = "import numba; from minisqx.machine.threads import use_threads; use_threads(999)"
    assert "set NUMBA_NUM_THREADS=999 before" in run(code)
    first = "import numba; from minisqx.machine.threads import use_threads; print(use_threads())"
    assert "set NUMBA_NUM_THREADS=999 before" in run(first, MINISQX_NUM_THREADS="999")
    assert run(first, MINISQX_NUM_THREADS="999", NUMBA_NUM_THREADS="999") == "999"
    assert "set NUMBA_NUM_THREADS=999 before" in run(code.removeprefix("import numba; "), NUMBA_NUM_THREADS="1")


@pytest.mark.parametrize("wrong", ["0", "-1"])
def test_a_number_with_which_numba_cannot_be_imported_is_refused_in_one_line(wrong):
    line = "minisqx.errors.OptionError: NUMBA_NUM_THREADS {!r}: expected a whole number from 1"
    assert run("from minisqx.machine.threads import use_threads; use_threads()", NUMBA_NUM_THREADS=wrong) == line.format(wrong)


def test_the_variable_sets_the_threads_of_a_script_too():
    code = "import minisqx; minisqx.ShallowSqueezeNext(); from minisqx.machine.threads import threads; print(threads())"
    assert run(code, MINISQX_NUM_THREADS="5") == "5"


@pytest.fixture
def plan_on_two_threads():
    """A plan, a batch of several chunks for it, and the right logits."""
    from minisqx.network import ShallowSqueezeNext

    before = threads.threads()
    threads.use_threads(2)
    network = ShallowSqueezeNext(width=0.125)
    plan, x = network.plan(), np.random.default_rng(0).normal(size=(40, 3, 8, 8)).astype(np.float32)
    layout = plan.layout(len(x), 8, 8)
    data = layout.pack(x, layout.empty(3, np.float32))
    yield plan, data, layout, plan.run(data, layout)
    threads.use_threads(before)


def test_a_failure_on_another_thread_is_raised_and_no_answer_is_returned(plan_on_two_threads, monkeypatch):
    plan, data, layout, right = plan_on_two_threads
    run_chunk, main = plan._run_chunk, threading.current_thread()

    def fails_elsewhere(*arguments):
        if threading.current_thread() is not main:
            raise MemoryError("none left")
        time.sleep(0.01)  # so that the other thread gets a chunk
        run_chunk(*arguments)

    monkeypatch.setattr(plan, "_run_chunk", fails_elsewhere)
    with pytest.raises(MemoryError, match="none left"):
        plan.run(data, layout)
    monkeypatch.undo()
    assert plan.run(data, layout).tobytes() == right.tobytes()


def test_buffers_are_given_back_also_after_a_failure(plan_on_two_threads):
    plan, data, layout, _ = plan_on_two_threads
    threads.use_threads(1)
    table = plan._table(8, 8, 8)
    idle = plan._idle[table]
    count = len(idle)

    def fails(*arguments):
        raise MemoryError

    idle[:] = [run._replace(call=fails) for run in idle]
    with pytest.raises(MemoryError):
        plan.run(data, layout)
    assert len(idle) == count > 0


def test_where_no_thread_can_be_started_the_answer_is_the_same(plan_on_two_threads, monkeypatch):
    plan, data, layout, right = plan_on_two_threads

    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert plan.run(data, layout).tobytes() == right.tobytes()


def test_a_batch_runs_on_as_many_threads_as_chosen_and_none_of_numbas():
    code = """
from minisqx.machine.threads import use_threads
use_threads(3)
import threading, numba, numpy as np, minisqx
started = []
start = threading.Thread.start
threading.Thread.start = lambda self: (started.append(self), start(self))
images = [np.zeros((32, 32, 3), np.uint8)] * 64
caller = threading.Thread(target=minisqx.infer, args=(images,))
caller.start()
caller.join()
try:
    print(len(started) - 1, numba.threading_layer())
except ValueError:
    print(len(started) - 1, "none")
"""
    assert run(code) == "2 none"


WAITING = """
import os, numpy as np, numba, minisqx
before = dict(os.environ)
minisqx.ShallowSqueezeNext(width=0.125).forward(np.zeros((2, 3, 16, 16)), training=True)
assert dict(os.environ) == before
print(numba.threading_layer())
"""


@pytest.mark.parametrize("given, expected", [({}, alone.SPINS), ({"GOMP_SPINCOUNT": "77"}, "77")])
def test_a_waiting_thread_of_gnu_openmp_sleeps_soon_unless_the_user_chose(given, expected):
    variables = os.environ | {"OMP_DISPLAY_ENV": "verbose"} | given  # GNU OpenMP prints what it has read
    done = subprocess.run([sys.executable, "-c", WAITING], env=variables, capture_output=True, text=True, timeout=120)
    if done.stdout.strip() != "omp" or sys.platform != "linux":
        pytest.skip("this Numba has another threading layer")
    assert f"GOMP_SPINCOUNT = '{expected}'" in done.stderr, done.stderr

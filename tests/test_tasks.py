"""Tasks: every piece is computed once, stages follow each other, and a network's pass is one row of them."""

import ctypes

import numba
import numpy as np
import pytest

import minisqx
from minisqx.errors import OptionError
from minisqx.kernels import sgd
from minisqx.kernels.compiler.tasks import Program, Shared, Task
from minisqx.kernels.exchange import exchange
from minisqx.layers import Workspace
from minisqx.machine.threads import max_threads, threads, use_threads


@numba.njit
def scatter(counts, order, place):
    counts[place.piece] += 1


@numba.njit
def check(counts, order):
    # Each piece of the stage before has been computed as often as this stage was reached.
    order[0] += 1
    for count in counts:
        if count != order[0]:
            order[1] += 1


@pytest.fixture
def count(monkeypatch):
    """The task of this file, not from the cache, which knows kernels by their names."""
    from minisqx.kernels.compiler import c_function

    class Nothing:
        def __init__(self, function):
            pass

        def load(self, signature, rebuilt, is_part):
            return None

        def save(self, signature, pickled):
            pass

    monkeypatch.setattr(c_function, "KernelCache", Nothing)
    return Task(Shared(scatter, lambda counts, order: len(counts)), check)


@pytest.fixture(params=[1, 2, 5])
def number_of_threads(request):
    before = threads()
    use_threads(min(request.param, max_threads()))
    yield
    use_threads(before)


@pytest.mark.parametrize("pieces", [1, 2, 16, 301, 20_001])
def test_every_piece_is_computed_once_before_the_next_stage_begins(pieces, number_of_threads, count):
    counts, order = np.zeros(pieces, np.int64), np.zeros(2, np.int64)
    program = Program([count.bind((counts, order))] * 40)
    for times in (1, 2, 3):
        program.run()
        assert set(counts) == {40 * times} and list(order) == [40 * times, 0]


def test_a_program_may_be_empty_or_have_stages_of_one_piece_alone(number_of_threads):
    Program([]).run()
    weights, gradients, velocity = np.full(3, 8.0), np.ones(3), np.zeros(3)
    Program([Task(sgd.step).bind((weights, gradients, velocity, 1.0, 0.0, 0.0, False))] * 5).run()
    assert list(weights) == [3.0] * 3


def test_calls_run_at_once_or_at_the_end_of_one_program(number_of_threads, count):
    workspace, counts, order = Workspace("float32"), np.zeros(16, np.int64), np.zeros(2, np.int64)
    workspace.call(count, counts, order)
    assert list(order) == [1, 0]
    with workspace.one_program():
        workspace.call(count, counts, order)
        workspace.call(count, counts, order)
        assert list(order) == [1, 0]
    assert list(order) == [3, 0]


def test_after_an_error_nothing_of_a_program_is_run(count):
    workspace, counts, order = Workspace("float32"), np.zeros(16, np.int64), np.zeros(2, np.int64)
    with pytest.raises(OptionError), workspace.one_program():
        workspace.call(count, counts, order)
        raise OptionError("a layer refuses its input")
    assert list(order) == [0, 0]
    workspace.call(count, counts, order)
    assert list(order) == [1, 0]


@pytest.mark.compiled
def test_logits_and_gradients_stay_the_callers_when_a_network_goes_on():
    network, generator = minisqx.ShallowSqueezeNext(width=0.125), np.random.default_rng(0)
    x = generator.normal(size=(3, 3, 16, 16)).astype(np.float32)
    logits = network.forward(x, training=True)
    dlogits = generator.normal(size=logits.shape).astype(np.float32)
    dx = network.backward(dlogits, input_gradient=True)
    activations, kept = None, [logits.copy(), dx.copy()]
    for _ in range(2):
        network.forward(-x, training=True)
        activations, before = network.activations(), activations
        network.backward(dlogits, input_gradient=True)
    assert np.array_equal(logits, kept[0]) and np.array_equal(dx, kept[1])
    assert before is not None and not any(np.shares_memory(before[name], activations[name]) for name in activations)


def test_an_exchange_starts_its_request_and_then_waits_for_it():
    # strcpy and strcat in the place of MPI_Start and MPI_Wait: they, too, take two addresses.
    library = ctypes.CDLL(None)
    functions = [ctypes.cast(each, ctypes.c_void_p).value for each in (library.strcpy, library.strcat)]
    request, status = np.zeros(8, np.uint8), np.frombuffer(bytearray(b"ab\0"), np.uint8)
    exchange(*functions, request.ctypes.data, status.ctypes.data)
    assert request.tobytes() == b"abab\0\0\0\0"

"""A copy does what its original does, to the bit, however it was made, used before or not; and what can't be copied says so."""

import copy
import os
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

import minisqx
from minisqx.errors import OptionError
from minisqx.machine import threads
from minisqx.network import Network
from minisqx.plan import Plan
from minisqx.training.optim import SGD
from tests import copies
from tests.copies import CASES, SMALL, X, different, learn, outcomes, prepared


def pickled_beside_its_arrays(made):
    """As between processes that share memory: the arrays that come out can only be read."""
    buffers = []
    data = pickle.dumps(made, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=[bytes(buffer.raw()) for buffer in buffers])


WAYS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda made: pickle.loads(pickle.dumps(made, protocol=4)),
    "pickle with buffers": pickled_beside_its_arrays,
}


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Here and in other processes: networks this small are slower on more, and what they do is the same."""
    monkeypatch.setenv("MINISQX_NUM_THREADS", "1")
    before = threads.threads()
    threads.use_threads(1)
    yield
    threads.use_threads(before)


def test_a_copy_does_what_its_original_does():
    objects = prepared()
    found = {}
    for way, copied in WAYS.items():
        # A shallow copy of an optimizer has the same network, as it should; see below.
        chosen = {name: made for name, made in objects.items() if way != "copy" or "optimizer" not in name}
        found[way] = {name: copied(made) for name, made in chosen.items()}
    # The copies go first: if they shared anything with the originals, those would do something else afterwards.
    found = {way: outcomes(copies) for way, copies in found.items()}
    expected = outcomes(objects)
    for way, answers in found.items():
        assert different(answers, {name: expected[name] for name in answers}) == [], way


def test_a_copy_in_a_spawned_process_does_what_its_original_does():
    objects = prepared()
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        found = pool.submit(outcomes, objects).result()
    assert different(found, outcomes(objects)) == []


def test_a_copy_in_a_worker_of_joblib_does_what_its_original_does():
    """Which gets arrays as files in memory that can only be read: here all of 100 bytes or more."""
    joblib = pytest.importorskip("joblib")
    objects = prepared()
    (found,) = joblib.Parallel(n_jobs=2, max_nbytes=100)([joblib.delayed(outcomes)(objects)])
    joblib.externals.loky.get_reusable_executor().shutdown()
    assert different(found, outcomes(objects)) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_copy_in_a_forked_worker_does_what_its_original_does():
    environment = os.environ | {"NUMBA_THREADING_LAYER": "workqueue"}
    done = subprocess.run([sys.executable, "-m", copies.__name__], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout == f"{2 * len(CASES)} []\n", done.stderr[-2000:]


def test_a_shallow_copy_of_an_optimizer_has_its_own_velocity():
    optimizer = SGD(Network(SMALL), lr=0.1, momentum=0.9)
    learn(optimizer.network, optimizer)
    other, before = copy.copy(optimizer), optimizer.velocity.copy()
    learn(optimizer.network, other)
    assert other.network is optimizer.network and np.array_equal(optimizer.velocity, before)
    assert not np.array_equal(other.velocity, before)


def test_a_network_and_its_optimizer_copied_together_stay_together():
    optimizer = SGD(Network(SMALL), lr=0.1)
    for network, other in (
        copy.deepcopy((optimizer.network, optimizer)),
        pickle.loads(pickle.dumps((optimizer.network, optimizer))),
    ):
        assert other.network is network and network is not optimizer.network


def test_a_plan_keeps_the_weights_that_it_was_made_of():
    state = Network(SMALL).state_dict()
    plan = Plan(SMALL, state)
    before = copies.logits(plan)
    for array in state.values():
        array[...] = 0
    assert copies.logits(plan) == before


def test_a_copy_keeps_what_a_user_has_put_on_the_network():
    net = Network(SMALL)
    net.classes, net.epoch, net.dropout_step = ["a", "b", "c"], 7, 41
    other = copy.deepcopy(net)
    assert (other.classes, other.epoch, other.dropout_step, other.seed) == (["a", "b", "c"], 7, 41, 0)


def test_a_copy_has_no_backward_pass_and_says_so_while_the_original_has_its_own():
    net = Network(SMALL)
    dlogits = np.ones_like(net.forward(X, training=True))
    other = copy.copy(net)
    with pytest.raises(OptionError, match=r"^backward of a copy, which has no forward pass of its own: call it after forward"):
        other.backward(dlogits)
    net.backward(dlogits)


def test_a_part_of_a_network_refuses_to_be_copied_without_it():
    net = Network(SMALL)
    net.forward(X, training=True)
    parts = [net.layers, *net.layers.values(), net._workspace, net.layers["stem"].buffers.forward, net.layers["stem"].x]
    for part in parts:
        for way in WAYS.values():
            with pytest.raises(OptionError, match="can't be copied or pickled alone: copy the whole network"):
                way(part)


def test_what_is_printed_of_an_object_says_what_it_is():
    net = Network(SMALL)
    assert repr(net) == "Network(shallow-06-0.125x: 12 x 12 pixels, 3 classes, 4962 parameters, float32)"
    assert repr(minisqx.ShallowSqueezeNext()).startswith("ShallowSqueezeNext(shallow-06-0.2x: 32 x 32 pixels, 10 classes")
    assert repr(SGD(net, lr=0.1)) == "SGD(shallow-06-0.125x, lr=0.1, momentum=0.0, nesterov=False, weight_decay=0.0)"
    objects = [*(case.make() for case in CASES.values()), net.layers, *net.layers.values()]
    assert [text for text in map(repr, objects) if " at 0x" in text] == []

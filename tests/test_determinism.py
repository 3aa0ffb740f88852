"""The same seed gives the same bits: on any number of threads, in any order of calls, through the memory of other batches."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import minisqx

# Batches that are cut into one chunk, into unequal ones, and into more than sixteen.
BATCHES = (1, 7, 37, 130)
TRAIN = f"""
import hashlib, json, numba, numpy as np, minisqx
from minisqx.machine.threads import use_threads
found = {{}}
for threads in (1, 2, 3, 4):
    use_threads(threads)
    net = minisqx.ShallowSqueezeNext(width=0.2, blocks=(1, 2, 1, 1), seed=3, dtype=DTYPE)
    optimizer = minisqx.SGD(net, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
    for batch in {BATCHES}:
        generator = np.random.default_rng(batch)
        x, labels = generator.normal(size=(batch, 3, 19, 21)), generator.integers(0, 10, batch)
        loss, dlogits = minisqx.cross_entropy(net.forward(x, training=True), labels)
        dx = net.backward(dlogits, input_gradient=True)
        optimizer.step()
        digest = hashlib.sha256(b"".join(a.tobytes() for a in (dx, net.flat_gradients, net.flat_parameters, net.flat_buffers)))
        found.setdefault(str(batch), []).append(digest.hexdigest())
    assert np.isfinite(net.flat_parameters).all()
print(json.dumps(found))
"""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_steps_have_the_same_bits_on_one_to_four_threads(dtype):
    done = subprocess.run(
        [sys.executable, "-c", TRAIN.replace("DTYPE", repr(dtype))],
        env=os.environ | {"NUMBA_NUM_THREADS": "4"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found) == [str(batch) for batch in BATCHES]
    for batch, digests in found.items():
        assert len(digests) == 4 and len(set(digests)) == 1, batch


FIFTY_STEPS = """
import hashlib, json, numba, numpy as np, minisqx
from minisqx.machine.threads import use_threads
generator = np.random.default_rng(0)
batches = [(generator.normal(size=(37, 3, 16, 16)), generator.integers(0, 10, 37)) for _ in range(5)]
found = []
for threads in (1, 2, 3, 4):
    use_threads(threads)
    net = minisqx.ShallowSqueezeNext(width=0.2, seed=3)
    optimizer = minisqx.SGD(net, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-4)
    for number in range(50):
        x, labels = batches[number % 5]
        loss, dlogits = minisqx.cross_entropy(net.forward(x, training=True), labels)
        net.backward(dlogits)
        optimizer.step()
    assert np.isfinite(net.flat_parameters).all()
    found.append(hashlib.sha256(net.flat_parameters.tobytes() + net.flat_buffers.tobytes()).hexdigest())
print(json.dumps([numba.threading_layer(), *found]))
"""


def test_fifty_steps_have_the_same_bits_on_every_threading_layer():
    layers, digests = [], set()
    for layer in ("omp", "workqueue", "tbb"):
        environment = os.environ | {"NUMBA_NUM_THREADS": "4", "NUMBA_THREADING_LAYER": layer}
        done = subprocess.run([sys.executable, "-c", FIFTY_STEPS], env=environment, capture_output=True, text=True, timeout=300)
        if done.returncode != 0 and "No threading layer could be loaded" in done.stderr:
            continue
        assert done.returncode == 0, done.stderr
        used, *found = json.loads(done.stdout)
        assert used == layer
        layers.append(layer)
        digests |= set(found)
    assert "workqueue" in layers and len(digests) == 1, layers


def step(net, batch: int) -> bytes:
    """The bits of everything that one training step makes."""
    generator = np.random.default_rng(batch)
    x, labels = generator.normal(size=(batch, 3, 12, 12)), generator.integers(0, 10, batch)
    _, dlogits = minisqx.cross_entropy(net.forward(x, training=True), labels)
    dx = net.backward(dlogits, input_gradient=True)
    return dx.tobytes() + net.flat_gradients.tobytes()


def test_a_step_does_not_depend_on_the_batches_before_it():
    """Layers keep their memory, three shapes of it; what lies there from before must not be seen."""

    def fresh():
        return minisqx.ShallowSqueezeNext(width=0.125, seed=1)

    used = fresh()
    for batch in (5, 33, 2, 17, 5, 64, 33, 5):
        other = fresh()
        other.dropout_step = used.dropout_step
        assert step(used, batch) == step(other, batch)


def test_seeds_make_weights_and_dropout():
    def bits(seed, **options):
        return minisqx.ShallowSqueezeNext(width=0.125, seed=seed, **options).flat_parameters.tobytes()

    assert bits(0) == bits(0) != bits(1)
    one, other = (minisqx.ShallowSqueezeNext(width=0.125, seed=seed) for seed in (0, 1))
    other.load_state_dict(one.state_dict())
    assert step(one, 4) != step(other, 4)


def test_dropout_is_drawn_anew_at_every_step_and_off_in_inference():
    net = minisqx.ShallowSqueezeNext(width=0.125, dropout=0.5)
    x = np.random.default_rng(0).normal(size=(4, 3, 12, 12))
    assert (net.forward(x, training=True) != net.forward(x, training=True)).any()
    assert net.dropout_step == 2
    assert np.array_equal(net.forward(x), net.forward(x))
    assert net.dropout_step == 2

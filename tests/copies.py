"""Objects that a user may copy, and what each computes, so that tests can compare a copy with its original."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import minisqx
from minisqx.checkpoint import Checkpoint
from minisqx.data.dataset import Dataset, Part
from minisqx.data.loader import Loader
from minisqx.errors import MinisqxError
from minisqx.inference.prediction import Prediction
from minisqx.kernels.layout import Layout
from minisqx.network import Network
from minisqx.spec.squeezenet import SqueezeNetSpec
from minisqx.spec.squeezenext import SqueezeNextSpec
from minisqx.training.evaluation import Evaluation
from minisqx.training.optim import SGD, cross_entropy
from minisqx.training.options import TrainingOptions
from minisqx.training.schedule import OneCycleSchedule, StepSchedule

SMALL = SqueezeNextSpec(width=0.125, num_classes=3, input_size=(12, 12))
IMAGES = np.random.default_rng(0).integers(0, 256, (9, 12, 12, 3), np.uint8)
LABELS = np.arange(9) % 3
X = np.random.default_rng(1).normal(size=(9, 3, 12, 12))


class Case(NamedTuple):
    """make: returns a new object. do: uses it; equal objects in equal states give equal results."""

    make: Callable[[], object]
    do: Callable[..., object]


def learn(network, optimizer=None) -> tuple:
    """One training step: its loss, and all bits of the resulting state."""
    optimizer = optimizer or SGD(network, lr=0.1)
    loss, dlogits = cross_entropy(network.forward(X, training=True), LABELS)
    network.backward(dlogits)
    before = network.flat_parameters.copy()
    optimizer.step()
    assert not np.array_equal(before, network.flat_parameters)
    named = {name: array.tobytes() for name, array in (network.parameters() | network.buffers()).items()}
    return loss, named, optimizer.velocity.tobytes(), network.forward(X).tobytes()


def optimizer() -> SGD:
    return SGD(Network(SMALL, seed=3), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)


def model() -> minisqx.Model:
    state = Network(SMALL, seed=5).state_dict()
    return minisqx.Model("small", SMALL, state, ("ant", "bee", "cow"), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), {"epoch": 3}, {})


def model_whose_network_has_changed() -> minisqx.Model:
    """Its network is changed after the first prediction, which must not change its predictions."""
    made = model()
    made.infer(IMAGES[0])
    made.network.flat_parameters[:] *= 0.5
    return made


def answers(model) -> tuple:
    bits = [prediction.probabilities.tobytes() for prediction in model.infer(list(IMAGES))]
    return bits, model.classes, model.metrics


def answers_of_both(model) -> tuple:
    return answers(model), model.network.forward(X).tobytes(), model.network.classes


def logits(plan) -> bytes:
    layout = plan.layout(len(X), 12, 12)
    return plan.run(layout.pack(X, layout.empty(3, plan.dtype)), layout).tobytes()


def loader() -> Loader:
    return Loader(IMAGES, LABELS, 4, mean=(0.5,) * 3, std=(0.2,) * 3, augment="crop,flip", seed=7)


def batches(loader) -> list:
    return [(batch.data.tobytes(), batch.labels.tolist(), batch.indices.tolist()) for batch in loader.epoch(1)]


def prediction() -> Prediction:
    return model().infer(IMAGES[0])


def checkpoint() -> Checkpoint:
    made = model()
    velocity = np.arange(SMALL.parameters, dtype=np.float32)
    return Checkpoint(SMALL, made.state, made.classes, made.mean, made.std, optimizer={"velocity": velocity})


CASES = {
    "model": Case(model, answers),
    "model whose network has changed": Case(model_whose_network_has_changed, answers_of_both),
    "network": Case(lambda: Network(SMALL, seed=1), learn),
    "network of fire modules": Case(lambda: Network(SqueezeNetSpec(num_classes=3, input_size=(32, 32))), lambda net: net.seed),
    "network in float64": Case(lambda: minisqx.ShallowSqueezeNext(0.125, dtype="float64"), lambda net: net.forward(X).tobytes()),
    "optimizer": Case(optimizer, lambda made: learn(made.network, made)),
    "plan": Case(lambda: Network(SMALL, seed=2).plan(), logits),
    "loader": Case(loader, batches),
    "batch": Case(lambda: next(loader().epoch(0)), lambda batch: Network(SMALL).forward(batch, training=True).tobytes()),
    "prediction": Case(prediction, lambda p: (p.probabilities.tobytes(), p.probabilities.flags.writeable, str(p))),
    "checkpoint": Case(checkpoint, lambda c: (c.sha256, c.spec, c.classes, c.mean, c.std)),
    "data set": Case(
        lambda: Dataset("d", ("a", "b", "c"), Part(IMAGES, LABELS), Part(IMAGES, LABELS)),
        lambda d: (d.name, d.classes, d.train.images.tobytes(), d.test.labels.tolist(), d.image_size),
    ),
    "evaluation": Case(
        lambda: Evaluation(("a", "b"), np.arange(2), np.arange(2), np.ones(2), 0.5), lambda e: (e.accuracy, e.class_accuracy)
    ),
    "descriptions": Case(
        lambda: [SMALL, SqueezeNetSpec()], lambda specs: [(spec, spec.units, spec.to_dict(), {spec: 1}[spec]) for spec in specs]
    ),
    "layout": Case(lambda: Layout.of_batch(9, 12, 12, "float32"), lambda layout: (layout, layout.stride, layout.chunks)),
    "schedules": Case(
        lambda: [StepSchedule(0.1, 30), OneCycleSchedule(0.1, 30)],
        lambda two: [one.lr(epoch) for one in two for epoch in range(30)],
    ),
    "options": Case(lambda: TrainingOptions(blocks=[1, 1, 2, 1], data="a"), lambda options: (options, options.command())),
    "errors": Case(
        lambda: [error("what was given") for error in MinisqxError.__subclasses__()],
        lambda errors: [(type(error), str(error), error.args, error.exit_code) for error in errors],
    ),
}


def prepared() -> dict[str, object]:
    """For every case a new object, and one that has been used once."""
    new, used = ({f"{state} {name}": case.make() for name, case in CASES.items()} for state in ("new", "used"))
    outcomes(used)
    return new | used


def outcomes(objects: dict[str, object]) -> dict[str, object]:
    """The result of each; also called in other processes."""
    return {name: CASES[name.split(maxsplit=1)[1]].do(made) for name, made in objects.items()}


def different(found: dict[str, object], expected: dict[str, object]) -> list[str]:
    return [name for name in expected if found[name] != expected[name]]


if __name__ == "__main__":
    # Forks need a separate process: not all of Numba's threading layers can train in a fork of a process that has trained.
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    objects = prepared()
    with ProcessPoolExecutor(1, get_context("fork")) as pool:
        found = pool.submit(outcomes, objects).result()
    print(len(found), different(found, outcomes(objects)))

"""Measuring a model's speed on this machine: latency of one image, throughput of batches, and the time of every layer.

A layer is a step of the plan's table (`kernels/inference.py`). It is timed in tables that repeat it many times, so that call and
clock don't count. Its input and weights are in the cache then, as they mostly are in the network.
"""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from minisqx.checkpoint import CIFAR10_MEAN, CIFAR10_STD
from minisqx.inference.model import Model
from minisqx.kernels import frozen
from minisqx.kernels.geometry import OUT_HEIGHT, OUT_WIDTH
from minisqx.machine.threads import threads
from minisqx.plan import Plan
from minisqx.spec import AveragePoolSpec, LinearSpec, NetworkSpec

BATCH = 128
WARM_UP_CALLS = 3
LAYER_SAMPLES = 15
LAYER_SECONDS = 0.001  # the shortest sample of a layer


@dataclass(frozen=True)
class LayerTime:
    """One step of the network for one image. shape: its output, (channels, height, width) or (classes,)."""

    name: str
    shape: tuple[int, ...]
    macs: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Speed:
    """The times of a model.

    tensor, image: seconds of each call for one image, sorted: a normalised tensor -> logits, and an array uint8 -> a prediction.
    batches: seconds of each call for `batch` normalised images. layers: None if they were not measured.
    """

    name: str
    spec: NetworkSpec
    dtype: str
    batch: int
    threads: int
    tensor: np.ndarray
    image: np.ndarray
    batches: np.ndarray
    layers: list[LayerTime] | None

    @property
    def images_per_second(self) -> float:
        return self.batch * len(self.batches) / self.batches.sum()


def untrained(spec: NetworkSpec) -> Model:
    """A model with initial weights."""
    from minisqx.network import Network

    return _described(Model(f"{spec.name}, untrained", spec, Network(spec).state_dict(), None, None, None, {}, {}))


def _described(model: Model) -> Model:
    """The model, with arbitrary classes and normalisation where it has none: they make no difference to the speed."""
    classes = model.classes or tuple(map(str, range(model.spec.num_classes)))
    return replace(model, classes=classes, mean=model.mean or CIFAR10_MEAN, std=model.std or CIFAR10_STD)


def measure(model: Model, seconds: float = 2.0, repeats: int | None = None, layers: bool = False) -> Speed:
    """Measures each call for `seconds`, or for `repeats` calls. layers: also the time of every layer."""
    model, generator = _described(model), np.random.default_rng(0)
    plan, size = model._plan, model.spec.input_size
    pixels = generator.integers(0, 256, (*size, 3), np.uint8)

    def forward(images: int) -> Callable[[], object]:
        x = generator.normal(size=(images, 3, *size)).astype(plan.dtype)
        return lambda: plan.run_images(x)

    return Speed(
        name=model.name,
        spec=model.spec,
        dtype=plan.dtype.name,
        batch=BATCH,
        threads=threads(),
        tensor=_times(forward(1), seconds, repeats),
        image=_times(lambda: model.infer(pixels), seconds, repeats),
        batches=_times(forward(BATCH), seconds, repeats),
        layers=_layers(plan, size) if layers else None,
    )


def _times(call: Callable[[], object], seconds: float, repeats: int | None) -> np.ndarray:
    """Seconds of each call, sorted; at least one call."""
    for _ in range(WARM_UP_CALLS):
        call()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while True:
        began = time.perf_counter()
        call()
        now = time.perf_counter()
        times.append(now - began)
        if len(times) == repeats or (repeats is None and now >= end):
            return np.sort(times)


def _layers(plan: Plan, size: tuple[int, int]) -> list[LayerTime]:
    """Every step of the plan for one image; after the last one, the average and the classifier."""
    table = plan._table(1, *size)
    steps = table.steps
    memory, x, features, scratch = table.buffers()
    x[:] = np.random.default_rng(0).normal(size=x.shape)
    logits = np.empty((1, plan.spec.num_classes), plan.dtype)

    def seconds(chosen: np.ndarray) -> float:
        def sample() -> float:
            began = time.perf_counter()
            table.kernel(logits, table.program._replace(steps=chosen), plan._classifier, 1, memory, features, scratch)
            return time.perf_counter() - began

        return statistics.median(sample() for _ in range(LAYER_SAMPLES))

    def seconds_of(step: np.ndarray) -> float:
        rounds = 16
        while True:
            # Every table ends with the network's last step, whose output the average reads.
            taken = seconds(np.stack([*[step] * rounds, steps[-1]])) - end
            if taken >= LAYER_SECONDS:
                return taken / rounds
            rounds *= 4

    seconds(steps)  # fills the memory with numbers that occur in the network
    end = seconds(steps[-1:])
    times = [seconds_of(step) for step in steps]
    shapes = [(int(step[frozen.ROWS]), *_map(step)) for step in steps]
    layers = [LayerTime(*layer) for layer in zip(table.names, shapes, map(_macs, steps), times)]
    macs = sum(layer.macs for layer in plan.spec.layers if isinstance(layer, LinearSpec))
    name = ", ".join(unit.name for unit in plan.spec.units if isinstance(unit, (AveragePoolSpec, LinearSpec)))
    return [*layers, LayerTime(name, (plan.spec.num_classes,), macs, max(end - times[-1], 0.0))]


def _map(step: np.ndarray) -> tuple[int, int]:
    geometry = step[frozen.GEOMETRY :]
    return int(geometry[OUT_HEIGHT]), int(geometry[OUT_WIDTH])


def _macs(step: np.ndarray) -> int:
    if step[frozen.KIND] not in (frozen.CONVOLUTION, frozen.MAPS_CONVOLUTION):
        return 0
    taps = step[frozen.GEOMETRY] * step[frozen.GEOMETRY + 1]
    return int(step[frozen.ROWS] * step[frozen.IN_ROWS] * taps) * math.prod(_map(step))

"""Measuring a model's speed on this machine: latency of one image, throughput of batches, and the time of every layer.

A layer is a step of the plan's table (`kernels/inference.py`). Its time comes from tables that hold it many times over, so that
neither the call nor the clock counts; its input and its weights are in the cache then, as they mostly are in the network.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from minisqx.checkpoint import CIFAR10_MEAN, CIFAR10_STD
from minisqx.inference.model import Model
from minisqx.kernels import frozen
from minisqx.kernels.geometry import OUT_HEIGHT, OUT_WIDTH
from minisqx.machine.threads import threads
from minisqx.plan import Plan
from minisqx.spec import AveragePoolSpec, BottleneckSpec, LinearSpec, MaxPoolSpec, NetworkSpec

BATCH = 128
WARM_UP_CALLS = 3
LAYER_SAMPLES = 15
LAYER_SECONDS = 0.001  # a sample of one layer takes at least as long


@dataclass(frozen=True)
class LayerTime:
    """One step of the network for one image. shape: its output, (channels, height, width) or (classes,)."""

    name: str
    shape: tuple[int, ...]
    macs: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Speed:
    """What was measured.

    tensor, image: seconds of each call, sorted: a normalised tensor -> logits, and an array uint8 -> a prediction; one image.
    batches: seconds of each call with `batch` images. layers: None if they were not wanted.
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
    """A model with the weights that training would start with."""
    from minisqx.network import Network

    return _described(Model(f"{spec.name}, untrained", spec, Network(spec).state_dict(), None, None, None, {}, {}))


def _described(model: Model) -> Model:
    """The model with any classes and normalisation, if it has none: no speed depends on them."""
    classes = model.classes or tuple(map(str, range(model.spec.num_classes)))
    return replace(model, classes=classes, mean=model.mean or CIFAR10_MEAN, std=model.std or CIFAR10_STD)


def measure(model: Model, seconds: float = 2.0, repeats: int | None = None, layers: bool = False) -> Speed:
    """Measures each way to call the model for `seconds`, or, if `repeats` is given, so many times."""
    model, generator = _described(model), np.random.default_rng(0)
    plan, size = model._plan, model.spec.input_size
    pixels = generator.integers(0, 256, (*size, 3), np.uint8)

    def forward(images: int) -> Callable[[], object]:
        x = generator.normal(size=(images, 3, *size)).astype(plan.dtype)
        layout = plan.layout(images, *size)
        packed = layout.empty(3, plan.dtype)
        return lambda: plan.run(layout.pack(x, packed), layout)

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
    """Sorted seconds of calls; at least one."""
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
    """Every step of the plan for one image, and what follows the last."""
    program = plan._program(1, *size)
    steps = program.steps
    memory, x, features, scratch = program.take_buffers()
    x[:] = np.random.default_rng(0).normal(size=x.shape)
    logits = np.empty((1, plan.spec.num_classes), plan.dtype)

    def seconds(table: np.ndarray) -> float:
        def sample() -> float:
            began = time.perf_counter()
            frozen.run(logits, program.tables._replace(steps=table), plan._classifier, 1, memory, features, scratch)
            return time.perf_counter() - began

        return statistics.median(sample() for _ in range(LAYER_SAMPLES))

    def seconds_of(step: np.ndarray) -> float:
        rounds = 16
        while True:
            # Every table ends with the network's last step, since the average that follows reads what that one wrote.
            taken = seconds(np.stack([*[step] * rounds, steps[-1]])) - end
            if taken >= LAYER_SECONDS:
                return taken / rounds
            rounds *= 4

    seconds(steps)  # now every place in memory holds a number
    end = seconds(steps[-1:])
    times = [seconds_of(step) for step in steps]
    shapes = [(int(step[frozen.ROWS]), *_map(step)) for step in steps]
    layers = [LayerTime(*layer) for layer in zip(_names(plan, steps), shapes, map(_macs, steps), times)]
    macs = sum(layer.macs for layer in plan.spec.layers if isinstance(layer, LinearSpec))
    name = ", ".join(unit.name for unit in plan.spec.units if isinstance(unit, (AveragePoolSpec, LinearSpec)))
    return [*layers, LayerTime(name, (plan.spec.num_classes,), macs, max(end - times[-1], 0.0))]


def _names(plan: Plan, steps: np.ndarray) -> Iterator[str]:
    """A name for each step: of the layers that it computes, of the pool, or of the bottleneck whose sum it is."""
    layers = {place: name for name, place in plan._places.items()}
    channels = {convolution.name: convolution.out_channels for group in plan.spec.groups for convolution in group}
    others = iter([unit for unit in plan.spec.units if isinstance(unit, (BottleneckSpec, MaxPoolSpec))])
    for step in steps:
        if step[frozen.KIND] != frozen.CONVOLUTION:
            unit = next(others)
            yield f"{unit.name}.sum" if isinstance(unit, BottleneckSpec) else unit.name
            continue
        name = layers[int(step[frozen.WEIGHT_AT])]
        yield name if step[frozen.ROWS] == channels[name] else f"{name}, shortcut"


def _map(step: np.ndarray) -> tuple[int, int]:
    geometry = step[frozen.GEOMETRY :]
    return int(geometry[OUT_HEIGHT]), int(geometry[OUT_WIDTH])


def _macs(step: np.ndarray) -> int:
    if step[frozen.KIND] != frozen.CONVOLUTION:
        return 0
    taps = step[frozen.GEOMETRY] * step[frozen.GEOMETRY + 1]
    return int(step[frozen.ROWS] * step[frozen.IN_ROWS] * taps) * math.prod(_map(step))

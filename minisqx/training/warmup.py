"""Compiles kernels in advance, by running a small network on one or two images."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from minisqx.kernels.compiler import cache
from minisqx.machine.folders import folder_size
from minisqx.spec import NetworkSpec
from minisqx.spec.squeezenext import SqueezeNextSpec

# Stages that a second process compiles.
BACKWARD = {
    *(f"convolution.{stage}" for stage in ("start_backward", "pass_back", "add_gradients", "finish_backward", "write_gradient")),
    *("residual.pass_back", "residual.add_sums", "pooling.spread", "pooling.add_sums", "linear.backward"),
}


def warm_up(for_all_users: bool = False) -> Iterator[str]:
    """Compiles the kernels that `infer` and `train` call in float32. Yields a line for each, and one with the cache folder.

    for_all_users: stores the code in the system cache. Raises OptionError if this process may not write there.
    """
    if for_all_users:
        cache.fill_system_folder()
    cache.before_compiling(None)
    spec = SqueezeNextSpec()
    for name, run in (("inference", compile_inference), ("training", compile_training)):
        before, began = _compiled(), time.perf_counter()
        run(spec)
        count, seconds = _compiled() - before, time.perf_counter() - began
        done = f"{count} kernels compiled" if count else "nothing was left to compile"
        yield f"{name} (float32): {seconds:.1f} s, {done if cache.folder() else 'compiled, but not kept'}"
    if folder := cache.folder():
        yield f"compiled code: {folder_size(folder)}"


def _compiled() -> int:
    """The number of kernels in the cache."""
    folder = cache.folder()
    return len(list(Path(folder).glob("*.nbc"))) if folder else 0


def compile_inference(spec: NetworkSpec) -> None:
    """Runs everything that `infer` calls, on an image that must be resized; the weights don't matter."""
    from minisqx.inference.model import Model

    shapes = spec.parameter_shapes | spec.buffer_shapes
    state = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    classes = tuple(map(str, range(spec.num_classes)))
    Model("warmup", spec, state, classes, mean=(0.5,) * 3, std=(0.5,) * 3, metrics={}, provenance={}).infer(
        np.zeros((1, 1, 3), np.uint8)
    )


def compile_training(spec: NetworkSpec) -> None:
    """Runs everything that training calls on two images: likeness, augmentation, inference, forward, loss, backward, a step."""
    from minisqx.data.dataset import Part
    from minisqx.data.likeness import likeness_lines
    from minisqx.data.loader import Loader
    from minisqx.inference.prediction import softmax
    from minisqx.network import Network
    from minisqx.training.optim import SGD, cross_entropy

    network = Network(spec)
    images, labels = np.zeros((2, *spec.input_size, 3), np.uint8), np.zeros(2, np.int64)
    loader = Loader(
        images, labels, 2, mean=(0.5,) * 3, std=(0.5,) * 3, augment="crop,flip", shuffle=True, seed=0, dtype="float32"
    )  # fmt: skip
    list(likeness_lines({"train": Part(images, labels), "test": Part(images, labels)}))
    for batch in loader.epoch(0):
        softmax(network.forward(batch, training=False))
        network.backward(cross_entropy(network.forward(batch, training=True), batch.labels)[1])
        SGD(network, lr=0.0).step()


def compile_backward(dtype: str, folder: str) -> None:
    """Compiles the stages of the backward passes, about half of what training needs, and runs none.

    For a second process (`kernels/compiler/second_process.py`). folder: that of the first process's compiled kernels; nothing is
    done if this process has another one.
    """
    from minisqx.kernels.compiler import tasks
    from minisqx.network import Network

    if folder != str(cache.folder()):
        return
    tasks.only_compile(BACKWARD)
    network = Network(SqueezeNextSpec(), dtype=dtype)
    network.forward(np.zeros((2, 3, *network.spec.input_size), dtype), training=True)
    network.backward(np.zeros((2, network.spec.num_classes), dtype))

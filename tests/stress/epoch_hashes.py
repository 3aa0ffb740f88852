"""The weights after one epoch have the same bits on 1, 2, 3 and 4 threads and on every threading layer, recipe by recipe.

python -m tests.stress.epoch_hashes --count 7

--count: use only the first recipes. Prints the table of docs/reliability.md: a hash of weights, running statistics and momentum
after an epoch of the embedded shapes. Hashes may differ on another CPU model or with another Numba.
"""

import argparse
import platform
import shlex
import sys
import tempfile
from contextlib import suppress
from importlib import import_module, metadata
from pathlib import Path

import h5py

from minisqx.data.shapes import draw_shapes
from minisqx.kernels.compiler.identity import cpu_name
from minisqx.kernels.tiles.simd import vector_registers
from minisqx.training.options import TrainingOptions, add_arguments, given_options
from minisqx.training.reproducible import THREADS, train_in_process

# Numba's threading layers -> their modules.
LAYERS = {"omp": "omppool", "workqueue": "workqueue", "tbb": "tbbpool"}
RECIPES = (
    "",
    "--width 0.2 --epochs 10 --schedule one-cycle --lr 0.3",
    "--width 0.5 --blocks 1,1,4,1",
    "--model shallow-14-0.5x --augment none",
    "--block-order conv-bn-act --activation relu",
    "--model squeezenet-v1.1 --lr 0.02",
    "--model squeezenext-23-1x-v5",
)


def options_of(recipe: str, data: str = "shapes") -> TrainingOptions:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return TrainingOptions(**given_options(parser.parse_args([*shlex.split(recipe), "--data", data])))


def present_layers() -> list[str]:
    """Numba's threading layers that are installed here."""
    found = []
    for layer, module in LAYERS.items():
        with suppress(ImportError):
            import_module(f"numba.np.ufunc.{module}")
            found.append(layer)
    return found


def places(layers: list[str]) -> list[tuple[str, int]]:
    """The (threading layer, threads) of each training: one layer with every number of threads, the others with three threads."""
    first, *others = layers
    return [*((first, threads) for threads in THREADS), *((layer, 3) for layer in others)]


def hashes(options: TrainingOptions, places: list[tuple[str, int]], batches: int | None = None) -> set[str]:
    """The distinct hashes of the same training in all these places."""
    found = set()
    for layer, threads in places:
        with tempfile.TemporaryDirectory() as folder:
            result = train_in_process(options, threads, batches, Path(folder) / "run", {"NUMBA_THREADING_LAYER": layer})
        assert result.layer == layer and result.together == result.alone
        found.add(result.weights)
    return found


def write(dataset, path: Path) -> None:
    """Writes a data set as an HDF5 file that minisqx reads."""
    with h5py.File(path, "w") as file:
        file["classes"] = [name.encode() for name in dataset.classes]
        file["images"], file["labels"] = dataset.train.images, dataset.train.labels
        file["test_images"], file["test_labels"] = dataset.test.images, dataset.test.labels


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=len(RECIPES))
    recipes, where, differ = RECIPES[: parser.parse_args().count], places(present_layers()), 0
    print("| options beside `--data shapes` | network | SHA-256 after an epoch |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        # Drawn once, not in every child process.
        data = Path(folder) / "shapes.h5"
        write(draw_shapes(), data)
        for recipe in recipes:
            options = options_of(recipe, str(data))
            found = hashes(options, where)
            differ += len(found) > 1
            shown = ", ".join(f"`{digest[:16]}`" for digest in sorted(found))
            print(f"| {f'`{recipe}`' if recipe else 'none'} | {options.network().name} | {shown} |", flush=True)
    told = ", ".join(f"{layer} {threads}" for layer, threads in where)
    print(f"\n{len(recipes)} recipes, each trained {len(where)} times (threading layer and threads: {told}):", end=" ")
    print(f"{len(recipes) - differ} with one hash, {differ} with several")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("numpy", "numba", "llvmlite"))
    print(f"CPU {cpu_name()}, vectors of {vector_registers()[0] * 8} bits; Python {platform.python_version()}, {versions}")
    return int(differ > 0)


if __name__ == "__main__":
    sys.exit(main())

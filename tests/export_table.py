"""Prints how far the logits of every exported network are from ours, in each format, as a Markdown table.

python -m tests.export_table                     all networks: a quarter of an hour, most of it compilers
python -m tests.export_table shallow-06-0.2x odd
python -m tests.export_table --columns PyTorch   only the columns whose names contain this
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import minisqx
from minisqx.inference.model import Model
from tests.c_programs import COMPILERS, EXACT, compiled, outputs
from tests.exported_models import NETWORKS, images_for, logits_of, model_of
from tests.js_modules import module_logits
from tests.onnx_runtimes import CONVERTED, RUNTIMES, normalised
from tests.torch_modules import module_logits as torch_logits


def from_c(compiler: str) -> Callable[[Model, np.ndarray, Path], np.ndarray]:
    def logits(model: Model, images: np.ndarray, folder: Path) -> np.ndarray:
        if not (folder / "net.c").exists():
            minisqx.export(model, folder / "net.c")
        return outputs(compiled(folder, compiler, *EXACT), compiler, images, model.spec.num_classes)[0]

    return logits


def from_safetensors(model: Model, images: np.ndarray, folder: Path) -> np.ndarray:
    pytest.importorskip("safetensors")
    (path,) = minisqx.export(model, folder / "net.safetensors")
    return logits_of(minisqx.from_safetensors(path), images)


def from_torch(model: Model, images: np.ndarray, folder: Path) -> np.ndarray:
    pytest.importorskip("torch")
    return logits_of(minisqx.from_torch(model.network.to_torch_state_dict()), images)


def from_page(model: Model, images: np.ndarray, folder: Path) -> np.ndarray:
    """A page has the same script as a module; tests/test_formats_page.py runs it in a browser."""
    minisqx.export(model, folder / "net.mjs")
    return module_logits(folder, images)


def from_onnx(runtime: Callable[[Path, np.ndarray], np.ndarray]) -> Callable[[Model, np.ndarray, Path], np.ndarray]:
    def logits(model: Model, images: np.ndarray, folder: Path) -> np.ndarray:
        pytest.importorskip("onnx")
        minisqx.export(model, folder / "net.onnx")
        return runtime(folder / "net.onnx", normalised(model, images))

    return logits


# Column -> the logits float32 (N, classes) that an export gives for images uint8 (N, H, W, 3); files go to a folder.
COLUMNS: dict[str, Callable[[Model, np.ndarray, Path], np.ndarray]] = {
    "PyTorch and back": from_torch,
    "in PyTorch": torch_logits,
    "safetensors": from_safetensors,
    **{f"ONNX, {name}": from_onnx(runtime) for name, runtime in (RUNTIMES | CONVERTED).items()},
    **{f"C, {name}": from_c(name) for name in COMPILERS},
    "page": from_page,
}


def rows(names: list[str], columns: str) -> Iterator[str]:
    chosen = {name: logits for name, logits in COLUMNS.items() if columns in name}
    yield "| network | largest logit | " + " | ".join(chosen) + " |"
    yield "|---" * (2 + len(chosen)) + "|"
    for name in names:
        model = model_of(name)
        images = images_for(model)
        ours = logits_of(model, images)
        cells = [name, f"{np.abs(ours).max():.3g}"]
        with tempfile.TemporaryDirectory() as folder:
            for logits in chosen.values():
                try:
                    cells.append(f"{np.abs(logits(model, images, Path(folder)) - ours).max():.1g}")
                except pytest.skip.Exception as missing:
                    cells.append(f"({missing.msg})")
        yield "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"one or more of {', '.join(NETWORKS)} (default: all)")
    parser.add_argument("--columns", default="", metavar="TEXT", help="only columns whose names contain this (default: all)")
    options = parser.parse_args()
    for row in rows(options.networks or list(NETWORKS), options.columns):
        print(row, flush=True)


if __name__ == "__main__":
    main()

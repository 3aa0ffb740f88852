"""Exported PyTorch modules, imported and run."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import minisqx
from minisqx.inference.model import Model


def imported(path: Path) -> ModuleType:
    """An exported file as a module; skips the test without PyTorch."""
    pytest.importorskip("torch", reason="there is no torch: pip install 'minisqx[torch]'")
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def module_logits(model: Model, images: np.ndarray, folder: Path) -> np.ndarray:
    """Logits (N, classes) by folder/net.py, which is exported first, of images uint8 (N, H, W, 3)."""
    torch = pytest.importorskip("torch", reason="there is no torch: pip install 'minisqx[torch]'")
    minisqx.export(model, folder / "net.py")
    module = imported(folder / "net.py")
    with torch.inference_mode():
        return module.load()(module.normalised(torch.as_tensor(images))).numpy()

"""Defines markers for groups of tests, and selects those that run without the JIT."""

import sys
from collections import Counter

import numba
import pytest

# `NUMBA_DISABLE_JIT=1 python -m pytest` runs every n-th test of these files, with n chosen by measured time, since kernels are a
# thousand times slower in plain Python. n is prime, so that it reaches all values of all parameters.
WITHOUT_JIT = {
    "test_augmentation.py": 1,
    "test_data_likeness.py": 1,
    "test_plain.py": 1,
    "test_data_loader.py": 1,
    "test_kernels_activation.py": 1,
    "test_kernels_batch_norm.py": 1,
    "test_kernels_channels_last.py": 5,
    "test_kernels_classifier.py": 1,
    "test_kernels_convolution.py": 4,
    "test_kernels_dropout.py": 1,
    "test_kernels_im2col.py": 3,
    "test_kernels_inference.py": 4,
    "test_kernels_layout.py": 1,
    "test_kernels_max_pool.py": 1,
    "test_kernels_product.py": 1,
    "test_kernels_residual.py": 2,
    "test_kernels_resize.py": 1,
    "test_kernels_sampling.py": 1,
    "test_kernels_windows.py": 1,
    "test_layer_gradients.py": 15,
    "test_tasks.py": 1,
}


@pytest.fixture(autouse=True)
def no_reports(monkeypatch):
    """A report takes longer than a training of these tests."""
    if trainer := sys.modules.get("minisqx.training.trainer"):
        monkeypatch.setattr(trainer.Reporter, "update", lambda *given: None)


def pytest_configure(config):
    config.addinivalue_line("markers", "other_cpu: compiles kernels for another CPU, ten seconds each the first time")
    config.addinivalue_line("markers", "compiled: only for compiled kernels, or takes minutes without the JIT")


def pytest_ignore_collect(collection_path):
    if numba.config.DISABLE_JIT and collection_path.suffix == ".py" and collection_path.name not in WITHOUT_JIT:
        return True
    return None


def pytest_collection_modifyitems(config, items):
    if numba.config.DISABLE_JIT:
        counts, chosen = Counter(), []
        for item in items:
            every, count = WITHOUT_JIT[item.path.name], counts[item.path.name]
            counts[item.path.name] += 1
            if count % every == 0 and not item.get_closest_marker("compiled"):
                chosen.append(item)
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen

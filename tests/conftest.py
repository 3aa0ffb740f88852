"""Names the groups of tests that can be left out, and those that run without the JIT."""

import numba
import pytest

# What `NUMBA_DISABLE_JIT=1 python -m pytest` runs: kernels as plain Python are a thousand times slower, and nothing else changes.
WITHOUT_JIT = ("test_plain.py", "test_kernels_*.py", "test_layer_gradients.py", "test_data_loader.py")


def pytest_configure(config):
    config.addinivalue_line("markers", "other_cpu: compiles kernels for another CPU, ten seconds each the first time")
    config.addinivalue_line("markers", "compiled: holds for compiled kernels alone, or takes minutes without the JIT")


def pytest_ignore_collect(collection_path):
    if numba.config.DISABLE_JIT and collection_path.suffix == ".py":
        return None if any(collection_path.match(pattern) for pattern in WITHOUT_JIT) else True
    return None


def pytest_collection_modifyitems(items):
    if numba.config.DISABLE_JIT:
        for item in items:
            if item.get_closest_marker("compiled"):
                item.add_marker(pytest.mark.skip(reason="for compiled kernels"))

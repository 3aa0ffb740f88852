"""What a training needs is known before it is taken, and so is what there is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minisqx.data.dataset import check_bytes
from minisqx.errors import DataError, OptionError
from minisqx.kernels.geometry import Taps
from minisqx.layers import Activation, Gradient
from minisqx.machine import limits
from minisqx.network import Network
from minisqx.spec import DropoutSpec, ParameterFreeSpec, zoo
from minisqx.training import memory, train
from minisqx.training.options import TrainingOptions
from tests.stress.memory import MAX_RATIO, measured
from tests.test_training import SMALL, write_data


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_machine_says_what_is_free(tmp_path):
    write(tmp_path / "meminfo", "MemTotal:       24105000 kB\nMemAvailable:    1000 kB\nHugePages_Total:       0\n")
    assert [found for found, _ in limits._machine(tmp_path / "meminfo")] == [1000 << 10]
    assert not list(limits._machine(tmp_path / "missing"))


def test_a_control_group_of_version_2_leaves_its_limit_less_what_is_used(tmp_path):
    write(tmp_path / "membership", "0::/slice/box\n")
    write(tmp_path / "root/slice/memory.max", "max\n")
    write(tmp_path / "root/slice/memory.current", "5000\n")
    write(tmp_path / "root/slice/box/memory.max", "9000\n")
    write(tmp_path / "root/slice/box/memory.current", "4000\n")
    write(tmp_path / "root/slice/box/memory.stat", "anon 1\ninactive_file 1500\n")
    assert [found for found, _ in limits._groups(membership=tmp_path / "membership", root=tmp_path / "root")] == [6500]


def test_a_control_group_of_version_1_is_read_unless_it_has_no_limit(tmp_path):
    write(tmp_path / "membership", "4:memory:/box\n3:cpu:/\n")
    write(tmp_path / "root/memory/memory.limit_in_bytes", "9223372036854771712\n")
    write(tmp_path / "root/memory/memory.usage_in_bytes", "100\n")
    write(tmp_path / "root/memory/box/memory.limit_in_bytes", "8000\n")
    write(tmp_path / "root/memory/box/memory.usage_in_bytes", "9000\n")
    assert [found for found, _ in limits._groups(membership=tmp_path / "membership", root=tmp_path / "root")] == [0]


def test_the_smallest_limit_counts(monkeypatch):
    for name, size in (("_machine", 700), ("_groups", 500), ("_address_space", 600)):
        monkeypatch.setattr(limits, name, lambda size=size, name=name: iter([(size, name)]))
    assert limits.available() == (500, "_groups")
    for name in ("_machine", "_groups", "_address_space"):
        monkeypatch.setattr(limits, name, lambda: iter(()))
    assert limits.available() is None


def test_a_limit_of_the_address_space_is_known():
    pytest.importorskip("resource")
    code = """if True:
        import json, resource
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, resource.getrlimit(resource.RLIMIT_AS)[1]))
        from minisqx.machine.limits import available
        print(json.dumps(available()))
    """
    free, why = json.loads(subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout)
    assert 500 << 20 < free < 1 << 30 and "ulimit -v" in why


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    return str(write_data(tmp_path_factory.mktemp("data") / "colours.h5", images=300, side=32))


def test_a_batch_that_does_not_fit_is_refused_with_one_that_does(data, tmp_path, monkeypatch):
    options = SMALL | {"epochs": 1, "width": 0.5, "data": data, "validation": 0}
    spec = TrainingOptions(**options).network(3, (32, 32))
    room = memory.training_bytes(spec, 64, 300, 20)
    monkeypatch.setattr(memory, "available", lambda: (room, "free on this machine"))
    with pytest.raises(OptionError) as refused:
        train(TrainingOptions(**options | {"batch_size": 256, "out": tmp_path / "run"}), say=lambda line: None)
    line = str(refused.value)
    assert line.startswith("batch size 256 with images of 32 x 32 pixels: ") and "\n" not in line
    assert f"{limits.megabytes(room)} are free on this machine; --batch-size 64 fits" in line
    assert not (tmp_path / "run").exists()
    memory.check_training(spec, 64, 300, 20, 256)
    monkeypatch.setattr(memory, "available", lambda: (1000, "free on this machine"))
    with pytest.raises(OptionError, match="no batch size fits, smaller images"):
        memory.check_training(spec, 64, 300, 20, 256)
    monkeypatch.setattr(memory, "available", lambda: None)
    memory.check_training(spec, 65536, 10**6, 20, 256)


def test_images_that_do_not_fit_are_refused_before_they_are_read(data, monkeypatch, tmp_path):
    from minisqx.data import dataset

    monkeypatch.setattr(dataset, "available", lambda: (2 * 300 * 32 * 32 * 3 - 1, "free on this machine"))
    with pytest.raises(DataError, match="the images take 2 MB of memory while they are read and divided, and 1 MB are free on"):
        train(TrainingOptions(**SMALL, data=data, out=tmp_path / "run"), say=lambda line: None)
    check_bytes("folder", 299, (32, 32))
    with pytest.raises(DataError, match="folder"):
        check_bytes("folder", 300, (32, 32))


@pytest.mark.parametrize("options", [{"width": 0.3}, {"model": "squeezenet-v1.1"}, {"width": 0.3, "block_order": "conv-bn-act"}])
def test_more_images_more_pixels_and_more_channels_need_more(options):
    def needed(batch=64, side=64, **more) -> int:
        return memory.training_bytes(TrainingOptions(**options | more).network(10, (side, side)), batch, 1000, 100)

    assert needed() < needed(batch=128) < needed(batch=256)
    assert needed() < needed(side=96) < needed(side=128)
    if "width" in options:
        assert needed() < needed(width=0.5) < needed(width=1.0)


def kept_arrays(kept) -> dict[int, np.ndarray]:
    """The tensors among the buffers of a layer, each once; the tables of max pooling are counted elsewhere."""
    match kept:
        case Activation():
            return kept_arrays(kept.data)
        case Gradient():
            return kept_arrays(kept.stored)
        case Taps():
            return {}
        case tuple():
            return {address: array for each in kept for address, array in kept_arrays(each).items()}
    return {kept.ctypes.data: kept}


def kept_bytes(kept) -> int:
    return sum(array.nbytes for array in kept_arrays(kept).values())


@pytest.mark.parametrize("name", ["squeezenet-v1.1", "shallow-06-0.2x"])
def test_layers_without_parameters_keep_the_tensors_that_are_counted(name):
    net = Network(zoo.network(name, num_classes=3))
    net.forward(np.zeros((3, 3, 32, 32), np.float32), training=True)
    units = [unit for unit in net.spec.units if isinstance(unit, ParameterFreeSpec)]
    assert len(units) == {"squeezenet-v1.1": 5, "shallow-06-0.2x": 2}[name]
    for unit in units:
        layer = net.layers[unit.name]
        layout = layer.layout if isinstance(unit, DropoutSpec) else layer.x.layout
        assert sum(memory._unit(unit, layout)) == kept_bytes(layer.buffers_for(layout)), unit


def test_the_estimate_is_what_a_process_takes_and_a_little_more():
    """`python -m tests.stress.memory` at its smallest."""
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("the system has no peak of memory that can be reset")
    found = measured({"batch_size": 64, "width": 0.5}, 96)
    assert found["peak"] - found["before"] > 200e6
    assert 1 <= (found["before"] + found["estimate"]) / found["peak"] <= MAX_RATIO
    assert np.isfinite(found["peak"])

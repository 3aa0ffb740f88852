"""What `tests/stress` counts and compares between CPUs, and what is said of a CPU that is not an x86-64."""

from collections import Counter

import numpy as np
import pytest

from minisqx.cli import info as system
from tests.stress import aarch64, cpus

RASPBERRY_PI = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\nprocessor\t: 1\n\nModel\t\t: Raspberry Pi 4 Model B\n"


@pytest.mark.parametrize(
    "cpuinfo, model",
    [
        ("processor\t: 0\nmodel name\t: AMD EPYC 9B14\n", "AMD EPYC 9B14"),
        (RASPBERRY_PI, "Raspberry Pi 4 Model B"),
        ("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n", "ARM implementer 0x41, part 0xd0c"),
    ],
)
def test_the_cpu_is_named_as_well_as_linux_knows_it(tmp_path, cpuinfo, model):
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert system._cpu_model(tmp_path / "cpuinfo") == model


def test_without_proc_the_cpu_has_some_name(tmp_path):
    assert system._cpu_model(tmp_path / "cpuinfo")


LOGITS = np.array([[0.0, 4.0], [3.0, -1.0]])
RESULTS = {"CPU": np.array("this one"), "images": np.arange(6, dtype=np.uint8), "float64: logits": LOGITS}


def compared(**changes):
    changes = {name.replace("_", ": "): array for name, array in changes.items()}
    return cpus.compare(RESULTS, {"other": RESULTS | changes})


def test_equal_results_are_called_equal():
    rows, wrong = compared()
    assert rows == [["images", "equal bits"], ["float64: logits", "equal bits"], ["float64: same class", "2 of 2"]]
    assert not wrong


def test_rounding_is_told_from_what_is_more():
    rows, wrong = compared(float64_logits=LOGITS + 2e-13)
    assert rows[1] == ["float64: logits", "5.0e-14"] and not wrong
    rows, wrong = compared(float64_logits=LOGITS + 8e-13)
    assert rows[1] == ["float64: logits", "2.0e-13"] and len(wrong) == 1


def test_other_images_other_classes_and_nan_are_faults():
    assert "other, images: differs" in compared(images=RESULTS["images"] // 2)[1][0]
    assert "other, float64: logits: only 0 of 2 images" in compared(float64_logits=LOGITS[:, ::-1])[1][-1]
    assert "differs by inf" in compared(float64_logits=np.where(LOGITS == 3, np.nan, LOGITS))[1][0]


def test_a_cpus_results_are_all_compared():
    found = cpus.results(images=3, batch=2, steps=2)
    kinds = ["logits", "initial weights", "first gradients", "weights at the end", "loss at the end"]
    assert cpus.LIMITS.keys() - {"images"} < set(kinds)
    assert set(found) == {"CPU", "images", *(f"{dtype}: {kind}" for dtype in cpus.DTYPES for kind in kinds)}
    assert (found["float32: first gradients"] != found["float32: first gradients"][0]).any()
    assert cpus.compare(found, {"again": cpus.results(images=3, batch=2, steps=2)})[1] == []
    control = cpus.results(images=3, batch=2, steps=2, nudge=True)
    rows = {row[0]: row[1] for row in cpus.compare(found, {"control": control})[0]}
    assert rows["float64: initial weights"] == rows["float64: logits"] == cpus.EQUAL != rows["float64: first gradients"]
    far = cpus.difference(found["float64: logits"], found["float32: logits"])
    assert 1e-9 < far < cpus.LIMITS["logits"]["float32"]


def test_outcomes_are_counted_also_where_pytest_was_stopped():
    output = (
        "tests/test_a.py::test_one[PASSED-x] PASSED   [ 10%]\ntests/test_a.py::test_two FAILED  [ 20%]\n"
        "tests/test_a.py::test_three SKIPPED (why)  [ 30%]\nE   tests/test_a.py said PASSED\ntests/test_a.py::test_four "
    )
    assert aarch64.count(output) == Counter(passed=1, failed=1, skipped=1)


def test_every_file_of_numeric_tests_is_run_on_arm():
    """Files that need no kernels, or are of commands, data and files, are left out by hand."""
    kernels = {path.stem.removeprefix("test_") for path in (aarch64.TOP / "tests").glob("test_kernels_*.py")}
    assert kernels < set(aarch64.TESTS)
    assert all((aarch64.TOP / f"tests/test_{name}.py").exists() for name in aarch64.TESTS)

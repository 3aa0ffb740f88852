"""The list of seeded faults fits the code as it is; whether tests catch them is for `python -m tests.seeded_faults` to say."""

from pathlib import Path

import pytest

from tests.faults import FAULTS

TESTS = Path(__file__).parent


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_has_its_place_and_its_tests(fault):
    assert (TESTS.parent / fault.file).read_text().count(fault.old) == 1
    for test in fault.tests:
        file, _, function = test.partition("::")
        assert f"def {function.partition('[')[0]}" in (TESTS / file).read_text()


def test_there_are_at_least_25_faults_of_different_names():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 25

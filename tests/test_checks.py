"""What CI checks beside the tests: that it tells what it found from what it couldn't ask."""

import pytest

from tests import check_dependencies


def test_a_known_vulnerability_fails_and_is_named():
    fault = {"id": "PYSEC-1", "fix_versions": ["2.1"]}
    report = {
        "dependencies": [{"name": "good", "version": "1", "vulns": []}, {"name": "bad", "version": "2.0", "vulns": [fault]}]
    }
    passed, lines = check_dependencies.verdict(report)
    assert not passed
    assert lines == ["bad 2.0: PYSEC-1, fixed in 2.1", "2 packages audited, 1 known vulnerabilities"]


def test_a_package_that_the_service_does_not_know_is_not_taken_for_a_good_one():
    report = {"dependencies": [{"name": "good", "version": "1", "vulns": []}, {"name": "local", "skip_reason": "not found"}]}
    passed, lines = check_dependencies.verdict(report)
    assert passed and lines[0].startswith("1 packages audited")
    assert lines[1] == "skipped: the service doesn't know 1 of 2 packages: local"


@pytest.mark.parametrize(
    "script, line",
    [
        ("import time; time.sleep(60)", "skipped: no answer from the service of known vulnerabilities within 1 s"),
        ("import sys; sys.exit('no network')", "skipped: the service of known vulnerabilities can't be used (no network)"),
    ],
    ids=["silent", "unreachable"],
)
def test_a_service_that_does_not_answer_is_one_line(script, line, monkeypatch, tmp_path):
    (tmp_path / "pip_audit.py").write_text(script)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(check_dependencies, "SECONDS", 1 if "sleep" in script else 60)
    assert check_dependencies.audit(tmp_path / "requirements.txt") == (True, [line])

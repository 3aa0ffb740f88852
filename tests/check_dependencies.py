"""The dependency audit: `python -m tests.check_dependencies [requirements.txt]`, by default of all installed packages.

Checks for conflicts between the installed packages (`pip check`), then for known vulnerabilities (pip-audit), with a web service:
if it doesn't answer within two minutes, or doesn't know a package, a line says that the check was skipped. pip-audit itself would
report no vulnerabilities for packages that it couldn't check.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

SECONDS = 120


def verdict(report: dict) -> tuple[bool, list[str]]:
    """Whether pip-audit found no vulnerability, and lines with the details."""
    packages = report["dependencies"]
    found = [
        f"{package['name']} {package['version']}: {fault['id']}, fixed in {', '.join(fault['fix_versions']) or 'no version yet'}"
        for package in packages
        for fault in package.get("vulns", ())
    ]
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    lines = [*found, f"{len(packages) - len(unknown)} packages audited, {len(found)} known vulnerabilities"]
    if unknown:
        lines.append(f"skipped: the service doesn't know {len(unknown)} of {len(packages)} packages: {', '.join(unknown)}")
    return not found, lines


def audit(requirements: Path) -> tuple[bool, list[str]]:
    """The `verdict` on a file of pinned requirements; if pip-audit itself fails, the check counts as skipped."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "audit.json"
        command = [
            sys.executable,
            "-m",
            "pip_audit",
            "--disable-pip",
            "--no-deps",
            "--requirement",
            requirements,
            "--timeout",
            "10",
        ]
        command += ["--progress-spinner", "off", "--format", "json", "--output", output]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
            return verdict(json.loads(output.read_text(encoding="utf-8")))
        except subprocess.TimeoutExpired:
            return True, [f"skipped: no answer from the service of known vulnerabilities within {SECONDS} s"]
        except FileNotFoundError:
            why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            return True, [f"skipped: the service of known vulnerabilities can't be used ({why})"]


def main(arguments: list[str]) -> int:
    if subprocess.run([sys.executable, "-m", "pip", "check"]).returncode:
        return 1
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(arguments[0] if arguments else f"{folder}/requirements.txt")
        if not arguments:
            freeze = [sys.executable, "-m", "pip", "freeze", "--exclude-editable"]
            requirements.write_text(subprocess.run(freeze, capture_output=True, text=True, check=True).stdout, encoding="utf-8")
        passed, lines = audit(requirements)
    print(*lines, sep="\n")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

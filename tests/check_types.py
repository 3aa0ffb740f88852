"""Checks the types of the public package: `python -m tests.check_types`; the settings are in pyproject.toml.

mypy looks for subpackages in the package's folder, but `kernels/` and `data/` are beside it: it gets a folder of links to all.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "minisqx"
        package.mkdir()
        for source in (*(ROOT / "minisqx").iterdir(), ROOT / "kernels", ROOT / "data"):
            if source.name != "pyinstaller":  # imports PyInstaller, which is not a dependency
                (package / source.name).symlink_to(source)
        command = [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", "--cache-dir", ROOT / ".mypy_cache"]
        return subprocess.run(command, cwd=folder).returncode


if __name__ == "__main__":
    sys.exit(main())

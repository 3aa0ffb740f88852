"""The type checker over the public package: `python -m tests.check_types`; what it is told is in pyproject.toml.

mypy looks for a package's parts in its folder, and `kernels/` and `data/` lie beside it: it is shown a folder with all of them.
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
            if source.name != "pyinstaller":  # it imports PyInstaller, which alone calls it
                (package / source.name).symlink_to(source)
        command = [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", "--cache-dir", ROOT / ".mypy_cache"]
        return subprocess.run(command, cwd=folder).returncode


if __name__ == "__main__":
    sys.exit(main())

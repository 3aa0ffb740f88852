"""Where files of minisqx lie that may be thrown away at any time."""

import os
import sys
from pathlib import Path


def cache_root() -> Path:
    """The user's cache folder for minisqx: `MINISQX_CACHE`, else the system's usual place."""
    chosen = os.environ.get("MINISQX_CACHE")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "minisqx"

"""The entry point that tells PyInstaller where its hook for minisqx is."""

from pathlib import Path


def hook_folders() -> list[str]:
    return [str(Path(__file__).parent)]

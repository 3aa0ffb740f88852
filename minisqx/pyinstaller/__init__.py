"""Tells PyInstaller where the hook lies that says what a frozen program with minisqx needs; nothing to import."""

from pathlib import Path


def hook_folders() -> list[str]:
    return [str(Path(__file__).parent)]

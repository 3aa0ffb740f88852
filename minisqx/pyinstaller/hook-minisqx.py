"""PyInstaller follows import statements: our public names are loaded on first use, and the weights are files."""

from PyInstaller.utils.hooks import collect_data_files, collect_submodules

datas = collect_data_files("minisqx")
hiddenimports = collect_submodules("minisqx")

"""PyInstaller follows import statements only: it misses our public names, which are loaded on first use, and the weights."""

from PyInstaller.utils.hooks import collect_data_files, collect_submodules

datas = collect_data_files("minisqx")
# A program that uses the classifier for scikit-learn imports it; all others are better off without scikit-learn.
hiddenimports = collect_submodules("minisqx", filter=lambda name: name != "minisqx.sklearn")

"""Packages of minisqx: `kernels/` and `data/` lie at the top of the repository and are installed inside `minisqx`."""

from setuptools import setup

setup(
    packages=["minisqx", "minisqx.kernels", "minisqx.data"],
    package_dir={"minisqx.kernels": "kernels", "minisqx.data": "data"},
    package_data={"minisqx": ["py.typed"], "minisqx.data": ["measured.json", "weights/*.h5"]},
)

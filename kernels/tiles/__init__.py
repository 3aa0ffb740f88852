"""Kernels' innermost loops, generated as vector code, each beside its meaning in plain Python. Second reading."""

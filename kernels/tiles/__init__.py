"""The innermost loops of the kernels, generated as vector code, each beside its meaning in NumPy. For a second reading."""

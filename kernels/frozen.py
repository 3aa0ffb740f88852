"""A frozen network as a table of steps, which `inference.run` runs.

Columns of a step: KIND; for all steps OUT_AT, OUT_STRIDE, ROWS, IN_AT, IN_STRIDE, IN_ROWS, and the `Geometry`. A convolution and
a max pool have the offset TABLE_AT of their `Taps` in `inside` and `index`, whose rows are OUT_STRIDE long. A convolution has the
ACTIVATION of its first ACTIVATED rows, and the offset WEIGHT_AT of its weight (in_rows * taps, rows), bias, scale and shift, one
after the other. A sum has its ACTIVATION, OTHER_AT and OTHER_STRIDE; if OTHER_SAMPLED, it reads only the samples of the other
tensor, whose maps are IN_HEIGHT x IN_WIDTH of the geometry.

It needs no Numba, and imports neither the kernel nor what that calls.
"""

from minisqx.kernels.compiler.entry import Entry

CONVOLUTION, SUM, MAX_POOL = range(3)
KIND, OUT_AT, OUT_STRIDE, ROWS, IN_AT, IN_STRIDE, IN_ROWS, ACTIVATION, ACTIVATED, WEIGHT_AT, TABLE_AT = range(11)
OTHER_AT, OTHER_STRIDE, OTHER_SAMPLED, GEOMETRY = range(11, 15)
COLUMNS = GEOMETRY + 12

# `inference.run`, which imports Numba only where it must be compiled.
run = Entry("minisqx.kernels.inference", "run")

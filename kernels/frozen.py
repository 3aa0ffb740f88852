"""A frozen network as a table of steps, which `inference.run` runs, or `inference.run_on_maps` if it has steps on `Maps`.

Columns of a step: KIND; for all steps OUT_AT, OUT_STRIDE, ROWS, IN_AT, IN_STRIDE, IN_ROWS, and the `Geometry`. A convolution and
a max pool have the offset TABLE_AT of their `Taps` in `inside` and `index`, whose rows are OUT_STRIDE long. A convolution has the
ACTIVATION of its first ACTIVATED rows, and the offset WEIGHT_AT of its weight (in_rows * taps, rows), bias, scale and shift, one
after the other. A sum has its ACTIVATION, OTHER_AT and OTHER_STRIDE; if OTHER_SAMPLED, it reads only the samples of the other
tensor, whose maps are IN_HEIGHT x IN_WIDTH of the geometry.

The kinds that begin with MAPS read `structures.Maps` and write them, but for MAPS_TO_ROWS, which writes rows. Then IN_AT and
OUT_AT are places of the first pixel, IN_STRIDE and OUT_STRIDE distances from pixel to pixel, IN_ROW and OUT_ROW from row to row,
and IN_CHANNEL from channel to channel of the input. A convolution writes zeros for OUT_BORDER pixels beside each row.

It needs no Numba, and imports neither the kernel nor what that calls.
"""

from minisqx.kernels.compiler.entry import Entry

CONVOLUTION, SUM, MAX_POOL = range(3)
MAPS_CONVOLUTION, MAPS_MAX_POOL, MAPS_TO_ROWS = range(16, 19)
KIND, OUT_AT, OUT_STRIDE, ROWS, IN_AT, IN_STRIDE, IN_ROWS, ACTIVATION, ACTIVATED, WEIGHT_AT, TABLE_AT = range(11)
OTHER_AT, OTHER_STRIDE, OTHER_SAMPLED, IN_ROW, IN_CHANNEL, OUT_ROW, OUT_BORDER, GEOMETRY = range(11, 19)
COLUMNS = GEOMETRY + 12

# They import Numba only where they must be compiled.
run = Entry("minisqx.kernels.inference", "run")
run_on_maps = Entry("minisqx.kernels.inference", "run_on_maps")

"""Network descriptions: a sequence of units with their names, shapes, parameters and multiply-adds, and no arrays.

`summary`, `paper` and `draw` need nothing else; `network` builds layers from a description, and `plan` inference steps. `units`
has the building blocks, `squeezenext` and `squeezenet` the two families, `zoo` the networks by name.
"""

from minisqx.spec.network import NetworkSpec as NetworkSpec
from minisqx.spec.units import BLOCK_ORDERS as BLOCK_ORDERS
from minisqx.spec.units import WITHOUT_NORM as WITHOUT_NORM
from minisqx.spec.units import AveragePoolSpec as AveragePoolSpec
from minisqx.spec.units import BottleneckSpec as BottleneckSpec
from minisqx.spec.units import ConvolutionSpec as ConvolutionSpec
from minisqx.spec.units import DropoutSpec as DropoutSpec
from minisqx.spec.units import FireSpec as FireSpec
from minisqx.spec.units import LinearSpec as LinearSpec
from minisqx.spec.units import MaxPoolSpec as MaxPoolSpec
from minisqx.spec.units import ParameterFreeSpec as ParameterFreeSpec
from minisqx.spec.units import Size as Size
from minisqx.spec.units import Unit as Unit

"""The layers, with hand-written `forward` and `backward`.

To read them in order: `layer`, the interface; `linear`, the simplest layer; `tensors`, what layers pass to each other;
`workspace`, what they share; `basic_block`, where most of the work is done; `bottleneck` and `fire`, which are made of basic
blocks; `pools` and `dropout`.

Two computations are deferred to the neighbouring layer, which has the data in cache (docs/design.md gives the reasons):

- The scale and shift of a batch norm. A basic block returns its stored tensor together with them, as an `Activation`; the next
  layer applies them as it reads.
- The gradient of a layer's input. `backward` returns a description of it, a `Gradient`: usually the product of a weight and a
  stored dz. The previous layer computes the product.

Arrays are allocated once per batch shape. So for batches of the same shape a layer returns the same `Activation` and `Gradient`
objects every time, and repeats the same calls with the same arguments (`BoundCall`). A network collects the calls of all its
layers and runs them in a row (`Workspace.one_program`).
"""

from minisqx.layers.basic_block import BasicBlock as BasicBlock
from minisqx.layers.basic_block import Concatenation as Concatenation
from minisqx.layers.bottleneck import Bottleneck as Bottleneck
from minisqx.layers.bottleneck import ResidualSum as ResidualSum
from minisqx.layers.dropout import Dropout as Dropout
from minisqx.layers.fire import Fire as Fire
from minisqx.layers.layer import Layer as Layer
from minisqx.layers.layer import ParameterFreeLayer as ParameterFreeLayer
from minisqx.layers.linear import Linear as Linear
from minisqx.layers.pools import AveragePool as AveragePool
from minisqx.layers.pools import MaxPool as MaxPool
from minisqx.layers.tensors import Activation as Activation
from minisqx.layers.tensors import Gradient as Gradient
from minisqx.layers.workspace import PerLayout as PerLayout
from minisqx.layers.workspace import Workspace as Workspace
from minisqx.layers.workspace import cut_of as cut_of
from minisqx.layers.workspace import materialise as materialise
from minisqx.spec import AveragePoolSpec, DropoutSpec, MaxPoolSpec, ParameterFreeSpec

# The layer of each unit without parameters.
PARAMETER_FREE: dict[type[ParameterFreeSpec], type[ParameterFreeLayer]] = {
    MaxPoolSpec: MaxPool,
    DropoutSpec: Dropout,
    AveragePoolSpec: AveragePool,
}

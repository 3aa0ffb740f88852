"""The layers: each has a `forward` and a `backward` written by hand, and remembers what backward needs.

Two things are deferred, because the neighbour can do them while the numbers are in cache anyway (see docs/design.md):

- A basic block returns its stored tensor with the scale and shift of its batch norm (`Activation`); the reader applies them.
- A layer's backward returns a description of its input's gradient (`Gradient`), usually "the product of this weight and
  that dz"; the layer before forms it.

A layer's arrays stay where they are from batch to batch, and so do its neighbours': for batches of one shape it returns the same
`Activation` and `Gradient` every time, and makes the same call (`BoundCall`), whose arguments are put together once.

`layer` declares what a layer is; `tensors` what passes between two of them; `workspace` what they share. Start with `linear`.
"""

from minisqx.layers.basic_block import BasicBlock as BasicBlock
from minisqx.layers.basic_block import Concatenation as Concatenation
from minisqx.layers.bottleneck import Bottleneck as Bottleneck
from minisqx.layers.bottleneck import ResidualSum as ResidualSum
from minisqx.layers.dropout import Dropout as Dropout
from minisqx.layers.fire import Fire as Fire
from minisqx.layers.layer import Layer as Layer
from minisqx.layers.linear import Linear as Linear
from minisqx.layers.pools import AveragePool as AveragePool
from minisqx.layers.pools import MaxPool as MaxPool
from minisqx.layers.tensors import Activation as Activation
from minisqx.layers.tensors import Gradient as Gradient
from minisqx.layers.workspace import Workspace as Workspace
from minisqx.layers.workspace import cut_of as cut_of
from minisqx.layers.workspace import materialise as materialise

"""Checkpoints: a network's weights, and everything needed to use it or to resume its training, in one file.

`model_file` has the format and `Checkpoint`; `container` has the HDF5 structures around it. `weights` also reads the files of
others.
"""

from minisqx.checkpoint.model_file import CIFAR10_MEAN as CIFAR10_MEAN
from minisqx.checkpoint.model_file import CIFAR10_STD as CIFAR10_STD
from minisqx.checkpoint.model_file import Checkpoint as Checkpoint
from minisqx.checkpoint.model_file import load_checkpoint as load_checkpoint
from minisqx.checkpoint.model_file import save_checkpoint as save_checkpoint
from minisqx.checkpoint.weights import load_weights as load_weights

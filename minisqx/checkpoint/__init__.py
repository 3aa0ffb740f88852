"""Checkpoints: a network with its weights, and all that is needed to use it or to go on training it, in one file."""

from minisqx.checkpoint.model_file import CIFAR10_MEAN as CIFAR10_MEAN
from minisqx.checkpoint.model_file import CIFAR10_STD as CIFAR10_STD
from minisqx.checkpoint.model_file import Checkpoint as Checkpoint
from minisqx.checkpoint.model_file import load_checkpoint as load_checkpoint
from minisqx.checkpoint.model_file import save_checkpoint as save_checkpoint

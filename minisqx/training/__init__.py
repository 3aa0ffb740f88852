"""Training: options, data, the loop, its state on disk, and what watches over it. `run` starts and resumes runs."""

from minisqx.training.options import TrainingOptions as TrainingOptions
from minisqx.training.run import TrainingResult as TrainingResult
from minisqx.training.run import resume as resume
from minisqx.training.run import train as train

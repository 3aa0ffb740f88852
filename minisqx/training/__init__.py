"""Training. `run` starts and resumes runs, and `trainer` has the loop.

The loop uses `options`, `data`, `optim` (loss and SGD), `schedule` (learning rate), `run_folder` and `run_state` (files of a
run), `memory` (how much a run needs), `diagnosis` (NaN, divergence), `progress` and `curves` (output). `evaluation`,
`reproducible` and `warmup` belong to commands of their own.
"""

from minisqx.training.options import TrainingOptions as TrainingOptions
from minisqx.training.run import TrainingResult as TrainingResult
from minisqx.training.run import resume as resume
from minisqx.training.run import train as train

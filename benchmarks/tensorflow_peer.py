"""TensorFlow as the other peer in training: the twin and the update, by its fused operation, in one `tf.function`.

Without XLA, with which a step takes 1.5 to 2.2 times as long on a CPU.
"""

from dataclasses import replace

import numpy as np
import tensorflow as tf

from benchmarks.tensorflow_twin import TensorFlowTwin, to_minisqx
from benchmarks.turns import Steps
from minisqx.spec import NetworkSpec

LR, MOMENTUM, WEIGHT_DECAY = 0.01, 0.9, 1e-4


class TensorFlowPeer(Steps):
    """The twin in training with one batch, x (N, 3, H, W) float32 and labels (N,), stored channels last."""

    def __init__(self, spec: NetworkSpec, state: dict[str, np.ndarray], x: np.ndarray, labels: np.ndarray, threads: int) -> None:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        self.spec, self.state = spec, state
        self.x = tf.constant(np.ascontiguousarray(x.transpose(0, 2, 3, 1)))
        self.labels = tf.constant(labels)
        self.twin = TensorFlowTwin(spec, state)
        self.velocities = {name: tf.Variable(tf.zeros_like(value)) for name, value in self.twin.parameters.items()}
        self.run = tf.function(self._step, autograph=False)

    def step(self) -> None:
        self.run(self.x, self.labels).numpy()

    def _step(self, x: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        loss, gradients = _loss_and_gradients(self.twin, x, labels)
        for name, value in self.twin.parameters.items():
            gradient = gradients[name] + WEIGHT_DECAY * value
            tf.raw_ops.ResourceApplyKerasMomentum(
                var=value.handle,
                accum=self.velocities[name].handle,
                lr=LR,
                grad=gradient,
                momentum=MOMENTUM,
                use_nesterov=True,
            )
        return loss

    def outcome(self) -> tuple[float, dict[str, np.ndarray]]:
        """Loss and gradients of the first step without dropout."""
        twin = TensorFlowTwin(replace(self.spec, dropout=0.0), self.state)
        run = tf.function(lambda x, labels: _loss_and_gradients(twin, x, labels), autograph=False)
        loss, gradients = run(self.x, self.labels)
        return float(loss), {name: to_minisqx(value.numpy()) for name, value in gradients.items()}


def _loss_and_gradients(twin: TensorFlowTwin, x: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    with tf.GradientTape() as tape:
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, twin(x, training=True))
        loss = tf.reduce_mean(each)
    return loss, tape.gradient(loss, twin.parameters)

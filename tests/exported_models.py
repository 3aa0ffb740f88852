"""The models that every exporter must write: all named networks, and one where nothing is a multiple of anything."""

import numpy as np

from minisqx.inference.model import Model
from minisqx.network import Network
from minisqx.spec import NetworkSpec, zoo
from minisqx.spec.squeezenext import SqueezeNextSpec

ODD = "odd"  # 43 classes, 48 x 64 pixels, odd widths
NETWORKS = (*zoo.names(), ODD)
MEAN, STD = (0.49, 0.48, 0.45), (0.20, 0.21, 0.22)


def spec_of(name: str) -> NetworkSpec:
    if name == ODD:
        return SqueezeNextSpec(width=0.27, blocks=(1, 2, 1, 1), num_classes=43, input_size=(48, 64))
    return zoo.network(name)


def model_of(name: str | NetworkSpec, classes=None, dtype="float32") -> Model:
    """With running statistics, gammas and betas that change every value, as training leaves them."""
    spec = spec_of(name) if isinstance(name, str) else name
    network, random = Network(spec, seed=3, dtype=dtype), np.random.default_rng(5)
    for key, array in (network.parameters() | network.buffers()).items():
        match key.rpartition(".")[2]:
            case "bias" | "beta" | "running_mean":
                array[...] = random.normal(0, 0.1, array.shape)
            case "gamma":
                array[...] = random.uniform(0.5, 1.1, array.shape)
            case "running_var":  # a convolution of new weights doubles the variance
                array[...] = random.uniform(1.5, 2.5, array.shape)
    names = tuple(classes or (f"class {number}" for number in range(spec.num_classes)))
    return Model(f"{spec.name} of a test", spec, network.state_dict(), names, MEAN, STD, {}, {})


def images_for(model: Model, count: int = 4) -> np.ndarray:
    """uint8 (count, H, W, 3): noise, and one image each of black and white."""
    images = np.random.default_rng(1).integers(0, 256, (count, *model.spec.input_size, 3), np.uint8)
    images[-2], images[-1] = 0, 255
    return images


def logits_of(model: Model, images: np.ndarray) -> np.ndarray:
    return model._plan.run_pixels(images, model._values)

"""The names that public PyTorch code gives the tensors of a network.

SqueezeNext and Shallow SqueezeNext: conv1 and bn1 for the stem, stage1.0.conv1, stage1.0.bn1, stage2.0.shortcut.0, ..., conv2 and
bn2 for the head, linear; as the authors of both papers and others name them for CIFAR-10. SqueezeNet: features.0,
features.3.squeeze, features.3.expand1x1, ..., classifier.1, as in torchvision. A network of another family keeps our names.
"""

from minisqx.spec import FireSpec, NetworkSpec
from minisqx.spec.squeezenet import SqueezeNetSpec
from minisqx.spec.squeezenext import SqueezeNextSpec

ENDS = {"stem": ("conv1", "bn1"), "head": ("conv2", "bn2"), "classifier": ("linear", "")}
# Our name of a tensor of a batch norm -> PyTorch's.
NORM = {"gamma": "weight", "beta": "bias", "running_mean": "running_mean", "running_var": "running_var"}
# The number of batches that a batch norm has seen. PyTorch needs it only where a batch norm has no momentum.
COUNTER = "num_batches_tracked"


def torch_names(spec: NetworkSpec) -> dict[str, str]:
    """Our name -> PyTorch's, of every parameter and running statistic, in the order of a module's state dict."""
    match spec:
        case SqueezeNextSpec():
            modules = {layer.name: _squeezenext(layer.name) for layer in spec.layers}
        case SqueezeNetSpec():
            modules = _squeezenet(spec)
        case _:
            return {name: name for name in (*spec.parameter_shapes, *spec.buffer_shapes)}
    names = {}
    for layer in spec.layers:
        module, norm = modules[layer.name]
        for part in (*layer.parameter_shapes, *layer.buffer_shapes):
            names[f"{layer.name}.{part}"] = f"{norm}.{NORM[part]}" if part in NORM else f"{module}.{part}"
    return names


def _squeezenext(layer: str) -> tuple[str, str]:
    """The modules of a layer's weights and of its batch norm. Public code counts a stage's blocks from 0."""
    if layer in ENDS:
        return ENDS[layer]
    stage, block, part = layer.split(".")
    bottleneck = f"{stage}.{int(block.removeprefix('block')) - 1}"
    if part == "shortcut":
        return f"{bottleneck}.shortcut.0", f"{bottleneck}.shortcut.1"
    return f"{bottleneck}.{part}", f"{bottleneck}.{part.replace('conv', 'bn')}"


def _squeezenet(spec: SqueezeNetSpec) -> dict[str, tuple[str, str]]:
    """The stem is features.0, its activation features.1, and then each fire module and pool has a number."""
    modules = {"stem": ("features.0", ""), "classifier": ("classifier.1", "")}
    for number, unit in enumerate(spec.units[1:], start=2):
        if isinstance(unit, FireSpec):
            for layer, name in zip(unit.layers, ("squeeze", "expand1x1", "expand3x3")):
                modules[layer.name] = f"features.{number}.{name}", ""
    return modules

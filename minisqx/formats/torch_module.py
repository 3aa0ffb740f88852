"""A model as a Python file that imports only torch: `net.py`, which loads the weights from `net.pt` beside it.

The code of a family is in `squeezenext.py.txt` or `squeezenet.py.txt`, between `module_head.py.txt` and `module_tail.py.txt`. Its
modules have the names of `checkpoint/public_names.py`.
"""

import keyword
from collections.abc import Iterable, Iterator
from importlib.resources import files
from string import Template

from minisqx.errors import OptionError
from minisqx.inference.model import Model
from minisqx.spec import BottleneckSpec, ConvolutionSpec, FireSpec, MaxPoolSpec
from minisqx.spec.squeezenet import SqueezeNetSpec
from minisqx.spec.squeezenext import SqueezeNextSpec

FUNCTIONS = ("elu", "relu")  # activations that torch.nn.functional has by this name, with our meaning
LINE = 120  # characters of a line of class names


def module_source(model: Model, name: str) -> str:
    """The text of name.py. Raises OptionError for a name that Python can't import, and for a network of another family."""
    if not name.isidentifier() or keyword.iskeyword(name) or name == "torch":
        raise OptionError(f"{name + '.py'!r}: expected a name that Python can import, of letters, digits and _, and not torch")
    model.check_described()
    for array in model.state.values():
        model.check_finite(array)
    spec = model.spec
    match spec:
        case SqueezeNextSpec() if spec.activation in FUNCTIONS:
            template, parts = "squeezenext", _squeezenext(spec)
        case SqueezeNetSpec():
            template, parts = "squeezenet", _squeezenet(spec)
        case _:
            raise OptionError(f"{spec.name}: its layers can't be written for PyTorch; export it to another format, such as onnx")
    height, width = spec.input_size
    head = _filled(
        "module_head",
        name=spec.name,
        module=name,
        height=height,
        width=width,
        mean=model.mean,
        std=model.std,
        temperature=model.temperature,
        classes="\n".join(_lines(map(repr, model.classes or ()))),
    )
    tail = _filled("module_tail", dtype=next(iter(model.state.values())).dtype.name)
    return _filled(template, head=head, tail=tail, dropout=spec.dropout, **parts) + "\n"


def _filled(template: str, **parts: object) -> str:
    text = files("minisqx.formats").joinpath(f"{template}.py.txt").read_text(encoding="utf-8")
    return Template(text).substitute(parts).removesuffix("\n")


def _lines(names: Iterable[str]) -> Iterator[str]:
    """The entries of a list, as many on a line as fit."""
    line = ""
    for name in names:
        if line and len(line) + len(name) > LINE:
            yield line
            line = ""
        line += f"{' ' if line else '    '}{name},"
    yield line


def _squeezenext(spec: SqueezeNextSpec) -> dict[str, object]:
    blocks = {
        "conv-act-bn": f"norm(functional.{spec.activation}(convolution(x)))",
        "conv-bn-act": f"functional.{spec.activation}(norm(convolution(x)))",
    }
    _, _, third, fourth, _ = spec.bottlenecks[0].main
    return {
        "stages": _stages(spec),
        "basic_block": blocks[spec.block_order],
        "activation": spec.activation,
        "shortcut": "basic_block(*self.shortcut, x)" if spec.shortcut_activation else "self.shortcut(x)",
        **{"kernel3": third.kernel, "padding3": third.padding, "kernel4": fourth.kernel, "padding4": fourth.padding},
        **{"stem": spec.stem.out_channels, "stem_padding": spec.stem_padding},
        **{"last": spec.head.in_channels, "features": spec.head.out_channels},
    }


def _stages(spec: SqueezeNextSpec) -> str:
    """A list of each stage's list of bottlenecks, a line each."""
    blocks, lines = iter(spec.bottlenecks), ["["]
    for count in spec.blocks:
        lines += ["    [", *(f"        {_sizes(next(blocks))}," for _ in range(count)), "    ],"]
    return "\n".join([*lines, "]"])


def _sizes(block: BottleneckSpec) -> tuple[int, ...]:
    first, second, *_, last = block.main
    return first.in_channels, first.out_channels, second.out_channels, last.out_channels, first.stride[0]


def _squeezenet(spec: SqueezeNetSpec) -> dict[str, object]:
    stem, *units = spec.units
    assert isinstance(stem, ConvolutionSpec)
    lines, last = [], stem.out_channels
    for unit in units:
        match unit:
            case MaxPoolSpec():
                lines.append(f"nn.MaxPool2d({unit.kernel}, {unit.stride}, ceil_mode=True),")
            case FireSpec():
                lines.append(f"Fire({last}, {unit.squeeze.out_channels}, {unit.expand1.out_channels}),")
                last = unit.output_shape[0]
    features = "\n".join("            " + line for line in lines)
    return {"stem": stem.out_channels, "kernel": stem.kernel[0], "features": features, "last": last}

"""A model as C99: `net.c` and `net.h`, without allocation and without any library.

The code is `engine.c`, the same for every network: a function for each kind of layer. Written before it are the constants and the
table of layers. Files and functions have the name of the file that the user chose: net.c has `net_infer`.
"""

import re
from collections.abc import Iterable
from importlib.resources import files

import numpy as np

from minisqx.errors import OptionError
from minisqx.formats.program import Convolution, MaxPool, Place, Program, Step, Sum

PIXELS_AT_ONCE = 256  # of a map: four rows of the input of so many pixels stay in the first-level cache
ROWS_AT_ONCE = 4  # as in engine.c
LINE = 110  # characters of a line of numbers


def c_files(program: Program, name: str, static: bool) -> dict[str, str]:
    """File name -> text. name: of both files without their endings, and of the functions. static: the memory is in net.c."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise OptionError(
            f"{name + '.c'!r}: expected letters, digits and _ before .c, the first a letter, since functions get this name"
        )
    texts = _Writer(program, static)
    renamed = {ending: _renamed(text, name) for ending, text in (("c", texts.source()), ("h", texts.header()))}
    return {f"{name}.{ending}": text for ending, text in renamed.items()}


def _renamed(text: str, name: str) -> str:
    """The text for files with this name instead of net."""
    return re.sub(r"\bnet(?=[_.])", name, re.sub(r"\bNET(?=_)", name.upper(), text))


class _Writer:
    """The two texts, with the name net."""

    def __init__(self, program: Program, static: bool):
        self.program, self.static = program, static
        maps = [step.y.size for step in program.steps]
        self.block = max(max(w for _, w in maps), min(PIXELS_AT_ONCE, max(h * w for h, w in maps)))
        self.rows_at = program.memory
        self.features_at = self.rows_at + ROWS_AT_ONCE * self.block
        self.features = 0 if program.weight is None else len(program.weight)
        self.memory = self.features_at + self.features

    def source(self) -> str:
        constants = [
            f"#define ROWS_AT {self.rows_at} /* in the memory, four rows of a convolution's input */",
            f"#define BLOCK {self.block} /* pixels of a map that are computed together, in whole rows */",
            f"#define FEATURES_AT {self.features_at} /* in the memory, the averages */",
            f"#define FEATURES {self.features} /* of the fully connected layer; 0: there is none */",
        ]
        memory = "static net_memory memory;\n" if self.static else ""
        return "\n".join(
            [
                self._comment(),
                '#include "net.h"\n\n#include <limits.h>\n',
                *constants,
                "",
                _names("net_classes", "NET_CLASSES", self.program.classes),
                "/* The input for each value of each colour: (value / 255 - mean) / standard deviation. */",
                _array("input_values", self.program.values),
                *self._weights(),
                self._table(),
                files("minisqx.formats").joinpath("engine.c").read_text(encoding="utf-8"),
                f"{memory}{self._signature('logits')}\n{{\n    run(rgb, logits, {self._memory()});\n}}\n",
                f"{self._signature('probabilities', 'infer')}\n{{\n    run(rgb, probabilities, {self._memory()});",
                "    softmax(probabilities);\n}\n",
            ]
        )

    def header(self) -> str:
        height, width = self.program.network.input_size
        given = (
            ""
            if self.static
            else "\n   memory: written; what it held before doesn't matter. Threads that run at once need one each."
        )
        shared = " The memory belongs to net.c, so two threads must not call at once." if self.static else ""
        return f"""{self._comment()}
#ifndef NET_H
#define NET_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

#define NET_HEIGHT {height}
#define NET_WIDTH {width}
#define NET_CLASSES {len(self.program.classes)}

typedef struct {{
    float values[{self.memory}];
}} net_memory;

/* The names of the classes, in UTF-8. */
extern const char *const net_classes[NET_CLASSES];

/* The probability of each class.{shared}
   rgb: NET_HEIGHT rows of NET_WIDTH pixels, each its red, green and blue, as stored in an image (sRGB, 0 to 255).{given} */
{self._signature("probabilities", "infer")};

/* The same before the softmax. */
{self._signature("logits")};

#ifdef __cplusplus
}}
#endif

#endif
"""

    def _signature(self, out: str, name: str = "logits") -> str:
        memory = "" if self.static else ", net_memory *memory"
        return f"void net_{name}(const uint8_t *rgb, float *{out}{memory})"

    def _memory(self) -> str:
        return "memory.values" if self.static else "memory->values"

    def _comment(self) -> str:
        program = self.program
        flash = 4 * (program.values.size + sum(array.size for array in program.constants))
        where, written = (
            ("in net.c", "") if self.static else ("in the net_memory that the caller gives", ", no global is written")
        )
        return f"""/* {_plain(program.network.name)}, written by `minisqx export` from {_plain(program.name)}.

   flash: {flash:,} bytes of constants, and the code
   RAM: {4 * self.memory:,} bytes {where}, and less than 1 KB of stack
   multiply-adds: {program.macs:,} per image
   SHA-256 of the constants: {program.sha256}

   C99 and no library; nothing is allocated{written}. Sums have a fixed order: results have the same bits with any
   compiler and on any machine, unless the compiler fuses multiplications with additions (-ffp-contract=off forbids it) or
   reorders them (-ffast-math). Loops run over pixels, so that a compiler makes vectors of them: use -O3. */
"""

    def _weights(self) -> Iterable[str]:
        for step in self.program.steps:
            if isinstance(step, Convolution):
                for part in ("weight", "bias", "scale", "shift"):
                    if (array := getattr(step, part)) is not None:
                        yield _array(f"{_identifier(step)}_{part}", array)
        if self.program.weight is not None and self.program.bias is not None:
            yield _array("classifier_weight", self.program.weight)
            yield _array("classifier_bias", self.program.bias)

    def _table(self) -> str:
        rows = "\n".join(f"    {{{_row(step)}}}, /* {step.name} */" for step in self.program.steps)
        return f"""{LAYER}
static const layer layers[] = {{
{rows}
}};
"""


LAYER = """enum kind { CONVOLUTION, SUM, MAX_POOL };
enum activation { NONE, ELU, RELU };

/* A tensor is (channels, height, width), contiguous, and begins at a place in the memory. A convolution has its activation on the
   first `activated` channels; scale and shift, its batch norm, are 0 where there is none. A sum reads x and the other tensor, and
   in_height and in_width are the other's. */
typedef struct {
    enum kind kind;
    int in_at, in_channels, in_height, in_width;
    int out_at, out_channels, out_height, out_width;
    int kernel_height, kernel_width, stride_height, stride_width, padding_height, padding_width;
    enum activation activation;
    int activated, other_at;
    const float *weight, *bias, *scale, *shift;
} layer;
"""


def _row(step: Step) -> str:
    match step:
        case Convolution():
            name = _identifier(step)
            arrays = [
                f"{name}_{part}" if getattr(step, part) is not None else "0" for part in ("weight", "bias", "scale", "shift")
            ]
            sides = (*step.kernel, *step.stride, *step.padding)
            entries = ["CONVOLUTION", *_place(step.x), *_place(step.y), *sides, _activation(step), step.activated, 0, *arrays]
        case Sum():
            x = (step.x.at, step.x.channels, *step.other.size)
            sides = (1, 1, 1, 1, 0, 0)
            entries = ["SUM", *x, *_place(step.y), *sides, _activation(step), step.y.channels, step.other.at, 0, 0, 0, 0]
        case MaxPool():
            sides = (*step.kernel, *step.stride, 0, 0)
            entries = ["MAX_POOL", *_place(step.x), *_place(step.y), *sides, "NONE", 0, 0, 0, 0, 0, 0]
        case _:
            raise OptionError(f"{step.name}: C has no such step; expected a convolution, a sum or a max pool")
    return ", ".join(map(str, entries))


def _place(place: Place) -> tuple[int, int, int, int]:
    return place.at, place.channels, *place.size


def _activation(step: Convolution | Sum) -> str:
    return (step.activation or "none").upper()


def _identifier(step: Step) -> str:
    """The layer's name as a name in C; a step of several layers has that of the first."""
    return step.name.partition(",")[0].replace(".", "_")


def _array(name: str, array: np.ndarray) -> str:
    sizes = "".join(f"[{size}]" for size in array.shape) if name == "input_values" else f"[{array.size}]"
    if name == "input_values":
        rows = ",\n".join(f"    {{\n{_numbers(row, 8)}\n    }}" for row in array)
    else:
        rows = _numbers(array.ravel(), 4)
    return f"static const float {name}{sizes} = {{\n{rows}\n}};\n"


def _numbers(values: np.ndarray, indent: int) -> str:
    """Lines of numbers that a compiler reads as exactly these: nine digits identify a float32."""
    lines, line = [], " " * indent
    for value in values.tolist():
        text = f"{value:.9g}"
        text += "f, " if "." in text or "e" in text else ".0f, "
        if len(line) + len(text) > LINE:
            lines.append(line.rstrip())
            line = " " * indent
        line += text
    return "\n".join([*lines, line.rstrip(" ,")])


def _names(name: str, count: str, names: Iterable[str]) -> str:
    rows = ",\n".join(f"    {_string(each)}" for each in names)
    return f"const char *const {name}[{count}] = {{\n{rows}\n}};\n"


def _string(text: str) -> str:
    """A string literal in ASCII: a compiler may read its source in any encoding, and ?? begins a trigraph."""
    safe = {ord(each) for each in " !#$%&'()*+,-./:;<=>@[]^_`{|}~"}
    pieces = (chr(byte) if chr(byte).isalnum() and byte < 128 or byte in safe else f"\\{byte:03o}" for byte in text.encode())
    return '"' + "".join(pieces) + '"'


def _plain(text: str) -> str:
    """Text for a comment, which it must not end."""
    return "".join(each if each.isalnum() and each.isascii() or each in "-_. ()" else "?" for each in text)

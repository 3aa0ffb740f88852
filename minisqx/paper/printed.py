"""The rows of the paper's Tables I to VI as printed, their titles, and our remarks and notes on them.

Source: Duggal and El-Sharkawy, "Shallow SqueezeNext: An Efficient & Shallow DNN".
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A line of `_ROWS`."""

    model: str
    option: str
    accuracy: str
    size: str
    seconds: str
    network: str
    remark: str
    named: str


# Remarks on rows whose accuracy is a copy of another row's.
COPIES = ("both copied", "accuracy copied")
TITLES = {
    "I": "Table I: results comparison with SqueezeNet and SqueezeNext, CIFAR-10",
    "II": "Table II: Shallow SqueezeNext with different resolution multipliers",
    "III": "Table III: Shallow SqueezeNext with different width multipliers",
    "IV": "Table IV: Shallow SqueezeNext with different dropout probabilities",
    "V": "Table V: Shallow SqueezeNext, further results",
}
OPTIONS = {"II": "resolution", "III": "width", "IV": "dropout p", "V": "width, resolution"}

# As printed: model | option | accuracy | size | seconds; ours: matching network of the zoo | key of the remark | the network that
# the row's name describes, if that is another.
_ROWS = {
    "I": """
        SqueezeNet-v1.0        | | 79.59 | 3.013 | 4  | squeezenet-v1.0      | |
        SqueezeNet-v1.1        | | 77.55 | 2.961 | 4  | squeezenet-v1.1      | |
        SqueezeNext-23-1x-v1   | | 87.15 | 2.586 | 19 | squeezenext-23-1x-v1 | |
        SqueezeNext-23-1x-v5   | | 87.96 | 2.586 | 19 | squeezenext-23-1x-v5 | size copied |
        SqueezeNext-23-2x-v1   | | 90.48 | 9.525 | 22 | squeezenext-23-2x-v1 | same accuracy |
        SqueezeNext-23-2x-v5   | | 90.48 | 9.525 | 28 | squeezenext-23-2x-v5 | both copied |
        Shallow SqueezeNext-v1 | | 82.44 | 0.370 | 7  | shallow-06-0.5x      | no name |
        Shallow SqueezeNext-v1 | | 82.86 | 1.24  | 8  |                      | no name, no size |
    """,
    "II": """
        Shallow SqueezeNext-06-2x-v1 | 1111 | 89.35 | 4.21   | 21 | shallow-06-2x   | small file |
        Shallow SqueezeNext-06-2x-v1 | 1111 | 89.35 | 4.21   | 21 | shallow-06-2x   | printed twice |
        Shallow SqueezeNext-08-1x-v1 | 1221 | 77.48 | 2.96   | 4  |                 | copy of SqueezeNet | 1x 1,2,2,1
        Shallow SqueezeNext-10-1x-v1 | 1331 | 87.63 | 2.5863 | 23 |                 | copy of SqueezeNext | 1x 1,3,3,1
        Shallow SqueezeNext-12-1x-v1 | 1441 | 87.63 | 2.5863 | 23 |                 | copy of SqueezeNext | 1x 1,4,4,1
        Shallow SqueezeNext-14-1x-v1 | 1551 | 82.44 | 0.370  | 7  | shallow-06-0.5x | as the first | 1x 1,5,5,1
        Shallow SqueezeNext-16-1x-v1 | 1661 | 82.86 | 1.24   | 8  |                 | as the second | 1x 1,6,6,1
    """,
    "III": """
        Shallow SqueezeNext-06-0.125x-v1 | 0.125x | 66.40 | 0.115 | 7  | shallow-06-0.125x | |
        Shallow SqueezeNext-06-0.2x-v1   | 0.2x   | 72.16 | 0.141 | 8  | shallow-06-0.2x   | |
        Shallow SqueezeNext-06-0.2x-v1   | 0.2x   | 82.47 | 0.296 | 13 | shallow-14-0.2x   | second 0.2x | 0.2x 1,1,1,1
        Shallow SqueezeNext-06-0.3x-v1   | 0.3x   | 77.87 | 0.196 | 8  | shallow-06-0.3x   | |
        Shallow SqueezeNext-12-0.4x-v1   | 0.4x   | 87.27 | 0.485 | 13 | shallow-12-0.4x   | |
        Shallow SqueezeNext-14-0.5x-v1   | 0.5x   | 88.96 | 0.772 | 15 | shallow-14-0.5x   | |
        Shallow SqueezeNext-06-0.6x-v1   | 0.6x   | 84.63 | 0.48  | 10 | shallow-06-0.6x   | |
        Shallow SqueezeNext-07-0.7x-v1   | 0.7x   | 88.10 | 0.704 | 12 | shallow-07-0.7x   | |
        Shallow SqueezeNext-06-0.8x-v1   | 0.8x   | 87.71 | 0.774 | 12 | shallow-06-0.8x   | |
        Shallow SqueezeNext-06-0.9x-v1   | 0.9x   | 86.25 | 0.950 | 12 | shallow-06-0.9x   | |
        Shallow SqueezeNext-12-1.0x-v1   | 1.0x   | 88.28 | 0.557 | 19 |                   | no size |
        Shallow SqueezeNext-06-1.5x-v1   | 1.5x   | 82.44 | 2.44  | 17 | shallow-06-1.5x   | accuracy copied |
        Shallow SqueezeNext-06-2.0x-v1   | 2.0x   | 89.35 | 4.20  | 21 | shallow-06-2x     | 4.20 or 4.21 |
    """,
    "IV": """
        Shallow SqueezeNext-06-0.1x-v1 | 0.1 | 80.82 | 0.273 | 4 | shallow-06-0.4x | dropout |
        Shallow SqueezeNext-06-0.2x-v1 | 0.2 | 81.44 | 0.273 | 4 | shallow-06-0.4x | as above |
        Shallow SqueezeNext-06-0.3x-v1 | 0.3 | 81.87 | 0.273 | 4 | shallow-06-0.4x | as above |
        Shallow SqueezeNext-06-0.4x-v1 | 0.4 | 81.86 | 0.273 | 4 | shallow-06-0.4x | as above |
        Shallow SqueezeNext-06-0.5x-v1 | 0.5 | 81.70 | 0.273 | 4 | shallow-06-0.4x | as above |
    """,
    "V": """
        Shallow SqueezeNext-14-1 5x-v1   | 1 5x, 1281   | 91.41 | 8.72   | 22 | shallow-14-2x     | 1.5x | 1.5x 1,2,8,1
        Shallow SqueezeNext-21-0.2x-v1   | 0.2x, 22141  | 90.27 | 1.814  | 27 | shallow-21-0.7x   | 0.2x | 0.2x 2,2,14,1
        Shallow SqueezeNext-06-0.575x-v1 | 0 575x, 1111 | 81.80 | 0.449  | 6  | shallow-06-0.575x | |
        Shallow SqueezeNext-06-0.4x-v1   | 0.4x, 1111   | 81.97 | 0.2717 | 9  | shallow-06-0.4x   | |
        Shallow SqueezeNext-09-0 5x-v1   | 0.5x. 1141   | 87.73 | 0.531  | 11 | shallow-09-0.5x   | |
    """,
}
REMARKS = {
    "": "",
    "size copied": "The size is a copy of v1's: v5, blocks [2,4,14,1], has more parameters.",
    "same accuracy": "v5 below has the same accuracy: one of the two is a copy.",
    "both copied": "Accuracy and size are copies of v1's: v5, blocks [2,4,14,1], has more parameters.",
    "no name": "The paper names neither width nor blocks; by its size this is probably 0.5x [1,1,1,1].",
    "no name, no size": "The paper names neither width nor blocks; no network of its widths and blocks has this size.",
    "small file": "The rule that fits the other rows gives a larger file.",
    "printed twice": "Printed twice. The rule that fits the other rows gives a larger file.",
    "copy of SqueezeNet": "Accuracy, size and seconds are nearly those of SqueezeNet-v1.1 in Table I: a copy of that row.",
    "copy of SqueezeNext": "Accuracy and size are nearly those of SqueezeNext-23-1x-v1 in Table I: a copy of that row.",
    "as the first": "The same figures as the first shallow row of Table I; by its size probably 0.5x [1,1,1,1].",
    "as the second": "The same figures as the second shallow row of Table I, which matches no network.",
    "second 0.2x": "The name of the row above, with other figures; by its size probably 0.2x [1,2,8,1].",
    "no size": "No network of the paper's widths and blocks has this size; any 10 blocks at 1.0x take over 1.2 MB.",
    "accuracy copied": "The accuracy is a copy of 82.44 % in Tables I and II: it is below that of 0.6x.",
    "4.20 or 4.21": "Table II prints 4.21 MB. The rule that fits the other rows gives a larger file.",
    "dropout": "The name has the dropout probability where all others have the width; by its size this is 0.4x [1,1,1,1]."
    " Table V prints 0.2717 MB and 9 seconds for the same network.",
    "as above": "Name and size as in the first row.",
    "1.5x": 'The name says 1.5x (printed as "1 5x"); by its size this is 2x.',
    "0.2x": "The name says 0.2x; by its size this is 0.7x [2,2,14,1].",
}
FURTHER_NOTES = {
    "III": "The paper's text names three sizes as its best: 0.370 MB (abstract), 0.115 MB (section V) and 196 KB (conclusion),"
    " which are the rows 0.5x (Table I), 0.125x and 0.3x.",
}

TWO_LINES = (
    "First line of a row: the paper's figures. Second line: our network that matches them. Multiply-adds are for one image of"
    " 32 x 32 pixels; the state is all parameters and running statistics in float32 (1 KB = 1,000 bytes)."
)
SIZES = (
    "Our size MB estimates a file as in the paper, the state and what PyTorch adds to it, by a rule fitted to the rows"
    " (1 MB = 1,000,000 bytes). A minisqx checkpoint is the state and a small index."
)
EPOCHS = (
    "The paper trains for 200 epochs, according to its text. Ours is the accuracy on the test images after the last of our"
    " epochs; our recipes were chosen on validation images."
)
SPEED = "Seconds per epoch cover training and test; the paper's are from an RTX 2080 Ti."

LAYER_COLUMNS = ("input", "padding", "stride", "filter", "output", "times", "parameters")
# Number or name; input, padding, stride, filter, output, repeat, parameters: as printed.
_LAYERS = """
1 32x32x3 0x0 1 3x3 30x30x64 1 1792
2 30x30x64 0x0 1 1x1 30x30x16 1 1040
3 30x30x16 0x0 1 1x1 30x30x8 1 136
4 30x30x8 0x1 1 1x3 30x30x16 1 400
5 30x30x16 1x0 1 3x1 30x30x16 1 784
6 30x30x16 0x0 1 1x1 30x30x32 1 544
32 30x30x32 0x0 2 1x1 30x30x32 1 1056
33 15x15x32 0x0 1 1x1 15x15x16 1 528
34 15x15x16 0x1 1 1x3 15x15x32 1 1568
35 15x15x32 1x0 1 3x1 15x15x32 1 3104
36 15x15x32 0x0 1 1x1 15x15x64 1 2112
37 15x15x64 0x0 1 1x1 15x15x32 1 2080
38 15x15x32 0x0 1 1x1 15x15x16 1 528
39 15x15x16 1x0 1 3x1 15x15x32 1 1568
40 15x15x32 0x1 1 1x3 15x15x32 1 3104
41 15x15x32 0x0 1 1x1 15x15x64 1 2112
62 15x15x64 0x0 2 1x1 15x15x64 1 4160
63 8x8x64 0x0 1 1x1 8x8x32 1 2080
64 8x8x32 1x0 1 3x1 8x8x64 1 6208
65 8x8x64 0x1 1 1x3 8x8x64 1 12352
66 8x8x64 0x0 1 1x1 8x8x128 1 8320
67 8x8x128 0x0 1 1x1 8x8x64 7 57792
68 8x8x64 0x0 1 1x1 8x8x32 7 14560
69 8x8x32 1x0 1 3x1 8x8x64 7 43456
70 8x8x64 0x1 1 1x3 8x8x64 7 86464
71 8x8x64 0x0 1 1x1 8x8x128 7 58240
102 8x8x128 0x0 2 1x1 8x8x128 1 16512
103 4x4x128 0x0 1 1x1 4x4x64 1 8256
104 4x4x64 0x1 1 1x3 4x4x128 1 24704
105 4x4x128 1x0 1 3x1 4x4x128 1 49280
106 4x4x256 0x0 1 1x1 4x4x256 1 65792
107 4x4x256 0x0 1 1x1 4x4x128 1 32896
dropout 4x4x256 - - - 4x4x256 1 -
pool 4x4x256 - - - 4x4x256 1 -
FC 1x1x128 0x0 1 1x1 1x1x10 1 1290
"""
_LATE_SIZE = "This layer has the stride of 2, as the next row's input shows."
_SWAPPED = "This filter and the next are swapped; in public code 1x3 comes before 3x1 in every block."
LAYER_REMARKS: dict[str, str] = {
    "32": _LATE_SIZE,
    "62": _LATE_SIZE,
    "102": _LATE_SIZE,
    **dict.fromkeys(("39", "64", "69"), _SWAPPED),
    "106": "Row 105 gives 128 channels, not 256.",
    "dropout": "The paper prints p = 0.5, finds 0.3 best in Table IV, and lists this after row 107 with row 107's input.",
    "pool": "Row 107 gives 128 channels and the classifier takes 1x1x128.",
}


def rows(number: str) -> list[Row]:
    """The rows of one of Tables I to V, in order."""
    return [Row(*map(str.strip, line.split("|"))) for line in _ROWS[number].strip().splitlines()]


def accuracies() -> dict[str, str]:
    """Network of the zoo -> the accuracy that the paper prints for it, in %, if that is not a copy of another network's."""
    found: dict[str, str] = {}
    # Table IV's rows differ in dropout and Table II repeats others, so the first mention elsewhere counts.
    for row in (row for number in ("I", "III", "V") for row in rows(number)):
        if row.network and row.remark not in COPIES:
            found.setdefault(row.network, row.accuracy)
    return found


def layers() -> dict[str, tuple[str, ...]]:
    """Table VI: the number or name of a row -> the cells of `LAYER_COLUMNS`."""
    return {name: tuple(cells) for name, *cells in map(str.split, _LAYERS.strip().splitlines())}

"""From an image's bytes to the input of a network, for inference: out[c, p] = values[c, pixels[p, c]].

`values[c, pixel]` is (pixel / 255 - mean[c]) / std[c], rounded once, as in `augment`.
"""

from minisqx.kernels.compiler.jit import entry


@entry
def look_up(out, pixels, values):
    """Writes columns 0 : P of out (3, P or more).

    pixels: uint8 (P * 3,), the colours of a pixel side by side. values: (3, 256), the dtype of out.
    """
    for p in range(pixels.size // 3):
        for channel in range(3):
            out[channel, p] = values[channel, pixels[3 * p + channel]]

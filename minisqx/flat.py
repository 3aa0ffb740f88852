"""One flat buffer for many tensors, cut into named views."""

import math

import numpy as np

# Names and shapes of the tensors in a flat buffer, one after the other; a section's tensors are also seen as one.
Sections = list[list[tuple[str, tuple[int, ...]]]]


def zeros(sections: Sections, dtype: np.dtype) -> np.ndarray:
    """A flat buffer for all tensors."""
    return np.zeros(sum(math.prod(shape) for section in sections for _, shape in section), dtype)


def cut(flat: np.ndarray, sections: Sections) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The tensors' views by name, and each section's whole view by the name of its first tensor."""
    views, wholes, at = {}, {}, 0
    for section in sections:
        start = at
        for name, shape in section:
            views[name] = flat[at : at + math.prod(shape)].reshape(shape)
            at += math.prod(shape)
        wholes[section[0][0]] = flat[start:at]
    return views, wholes

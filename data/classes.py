"""Matches class names from two sources, such as a model and a data set."""

import unicodedata
from collections import Counter
from collections.abc import Sequence

_MAX_SHOWN, _MAX_LETTERS = 5, 60


def composed(name: str) -> str:
    """Unicode's NFC, the same for names that look the same: in NFD an accent is a character of its own."""
    return unicodedata.normalize("NFC", name)


def _caseless(name: str) -> str:
    """The same for names that differ in case: Unicode's canonical caseless matching."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


def match_classes(names: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """Name -> the equivalent name in `known`; a name without one is absent.

    Equal names match first, then names that differ only in Unicode form, then names that differ in case, too. The last two match
    only if neither side has a second such name.
    """
    found = {name: name for name in set(names).intersection(known)}
    for key in (composed, _caseless):
        ours, theirs = Counter(map(key, names)), Counter(map(key, known))
        by_key = {key(name): name for name in known}
        for name in names:
            if name not in found and ours[key(name)] == theirs[key(name)] == 1:
                found[name] = by_key[key(name)]
    return found


def likeness_line(matched: dict[str, str], whose: str) -> str | None:
    """A message about names that were matched though they are not equal; None if all are."""
    pairs = [f"{_shown(name)} as {_shown(other)}" for name, other in matched.items() if name != other]
    if not pairs:
        return None
    return f"classes matched with {whose} though their names differ in case or Unicode form: {_joined(pairs)}"


def listed(names: Sequence[str]) -> str:
    """The first few names, and the number of the others."""
    return _joined([_shown(name) for name in names])


def _shown(name: str) -> str:
    return repr(name if len(name) <= _MAX_LETTERS else name[:_MAX_LETTERS] + "...")


def _joined(texts: list[str]) -> str:
    more = f" and {len(texts) - _MAX_SHOWN} more" if len(texts) > _MAX_SHOWN else ""
    return ", ".join(texts[:_MAX_SHOWN]) + more

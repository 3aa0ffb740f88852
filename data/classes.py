"""Class names that come from two places, such as a model and a data set: which of them are the same."""

import unicodedata
from collections import Counter
from collections.abc import Sequence

_SHOWN, _LETTERS = 5, 60


def composed(name: str) -> str:
    """Equal for names that look the same: an accent may be part of its letter (NFC) or a character of its own (NFD)."""
    return unicodedata.normalize("NFC", name)


def _caseless(name: str) -> str:
    """The same without regard to case: Unicode's canonical caseless match."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


def match_classes(names: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """Name -> the one of `known` that it is. A name without one is absent.

    An equal name comes first, then one that differs in its Unicode form alone, then in case, too. Such a likeness counts only if
    neither side has a second name that is alike.
    """
    found = {name: name for name in set(names).intersection(known)}
    for key in (composed, _caseless):
        ours, theirs = Counter(map(key, names)), Counter(map(key, known))
        alike = {key(name): name for name in known}
        for name in names:
            if name not in found and ours[key(name)] == theirs[key(name)] == 1:
                found[name] = alike[key(name)]
    return found


def likeness_line(matched: dict[str, str], whose: str) -> str | None:
    """What a person is told of names that were matched without being equal; None if all are."""
    pairs = [f"{_shown(name)} as {_shown(same)}" for name, same in matched.items() if name != same]
    if not pairs:
        return None
    return f"classes matched with {whose} though their names differ in case or Unicode form: {_joined(pairs)}"


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    return _joined([_shown(name) for name in names])


def _shown(name: str) -> str:
    return repr(name if len(name) <= _LETTERS else name[:_LETTERS] + "...")


def _joined(texts: list[str]) -> str:
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more

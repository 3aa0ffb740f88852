"""Links the object files of a kernel and of the functions that it calls into one image (`image.py`).

Object files are ELF for x86-64, as LLVM makes them for the memory of its own process ("large code model"): every reference to
another section or function is an absolute address of 64 bits, so linking means to lay the sections one after the other and to
write down where the addresses are. What can't be linked is refused: a kernel that calls Python, Numba's memory management or the
mathematical library stays Numba's.

Source: System V Application Binary Interface, chapter 4 (object files), and its supplement for AMD64.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from minisqx.kernels.compiler.image import ADDRESS, LIBRARY_FUNCTIONS, Image

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQq")
_ELF64_LITTLE_ENDIAN, _X86_64 = b"\x7fELF\x02\x01", 62
_PROGBITS, _SYMTAB, _RELA, _NOBITS = 1, 2, 4, 8
_ALLOCATED = 2
_FUNCTION = 2
_LOCAL = 0
_ABSOLUTE_64 = 1  # R_X86_64_64


class LinkError(ValueError):
    """Raised for an object file that can't become part of an image."""


class _Section(NamedTuple):
    name: str
    kind: int
    flags: int
    data: bytes
    link: int
    info: int
    align: int


class _Symbol(NamedTuple):
    name: str
    binding: int
    kind: int
    section: int
    value: int
    size: int


def _text(table: bytes, at: int) -> str:
    return table[at : table.index(b"\0", at)].decode()


def _sections(file: bytes) -> list[_Section]:
    magic, _, machine, _, _, _, at, *_, count, names = _HEADER.unpack_from(file.ljust(_HEADER.size))
    if not magic.startswith(_ELF64_LITTLE_ENDIAN) or machine != _X86_64:
        raise LinkError("not an object file for x86-64")
    rows = [_SECTION.unpack_from(file, at + number * _SECTION.size) for number in range(count)]
    contents = [b"" if kind == _NOBITS else file[offset : offset + size] for _, kind, _, _, offset, size, *_ in rows]
    return [
        _Section(_text(contents[names], name), kind, flags, content, link, info, align)
        for (name, kind, flags, _, _, _, link, info, align, _), content in zip(rows, contents)
    ]


def _symbols(sections: list[_Section]) -> list[_Symbol]:
    (table,) = (section for section in sections if section.kind == _SYMTAB)
    texts = sections[table.link].data
    return [
        _Symbol(_text(texts, name), info >> 4, info & 15, section, value, size)
        for name, info, _, section, value, size in _SYMBOL.iter_unpack(table.data)
    ]


class _Reference(NamedTuple):
    """An address that is to be written at `place` of the image: of the symbol `name`, or, if that is None, `target`."""

    place: int
    name: str | None
    target: int


class _Object:
    """An object file that is laid into the image from `code`'s end on."""

    def __init__(self, file: bytes, code: bytearray):
        self._sections = _sections(file)
        self._symbols = _symbols(self._sections)
        self._places: dict[int, int] = {}
        for number, section in enumerate(self._sections):
            # Nothing unwinds through a kernel, which raises nothing.
            if section.flags & _ALLOCATED and section.data and section.name != ".eh_frame":
                if section.kind != _PROGBITS:
                    raise LinkError(f"a section {section.name} of kind {section.kind}")
                code.extend(bytes(-len(code) % max(section.align, 1)))
                self._places[number] = len(code)
                code.extend(section.data)

    def defined(self) -> dict[str, int]:
        """The symbols that other object files may refer to, and their places."""
        found = (symbol for symbol in self._symbols if symbol.binding != _LOCAL and symbol.section in self._places)
        return {symbol.name: self._places[symbol.section] + symbol.value for symbol in found}

    def references(self) -> list[_Reference]:
        """All that its code refers to."""
        return [reference for section in self._sections for reference in self._references_in(section)]

    def unused(self) -> list[range]:
        """The places of functions that nothing refers to: LLVM leaves them when all their calls are gone."""
        called = {reference.target for reference in self.references() if reference.name is None}
        found = (symbol for symbol in self._symbols if symbol.kind == _FUNCTION and symbol.binding == _LOCAL)
        ranges = ((self._places[symbol.section] + symbol.value, symbol.size) for symbol in found)
        return [range(start, start + size) for start, size in ranges if start not in called]

    def _references_in(self, section: _Section) -> Iterator[_Reference]:
        if section.kind != _RELA or section.info not in self._places:
            return
        for offset, info, addend in _RELOCATION.iter_unpack(section.data):
            symbol, kind = self._symbols[info >> 32], info & 0xFFFFFFFF
            place = self._places[section.info] + offset
            if kind != _ABSOLUTE_64:
                raise LinkError(f"a relocation of kind {kind}")
            if symbol.section in self._places:
                yield _Reference(place, None, self._places[symbol.section] + symbol.value + addend)
            else:
                yield _Reference(place, symbol.name, addend)


def link(files: list[bytes], start: str, names: dict[str, str]) -> Image:
    """The image of object files that call each other, in which the function `start` is called.

    names: other names by which one of them calls a function, and the names under which they are defined. Raises LinkError.
    """
    code = bytearray()
    objects = [_Object(file, code) for file in files]
    defined = {name: place for each in objects for name, place in each.defined().items()}
    addresses, calls = [], []
    for file in objects:
        unused = file.unused()
        for place, name, target in file.references():
            if name is not None:
                name = names.get(name, name)
                if name in LIBRARY_FUNCTIONS and not target:
                    calls.append((name, place))
                    continue
                if name not in defined:
                    if any(place in function for function in unused):
                        continue
                    raise LinkError(f"it calls {name}")
                target += defined[name]
            ADDRESS.pack_into(code, place, target)
            addresses.append(place)
    return Image(bytes(code), tuple(addresses), tuple(calls), defined[start])


def undefined(file: bytes) -> set[str]:
    """The names of the symbols that an object file refers to and doesn't define."""
    return {symbol.name for symbol in _symbols(_sections(file)) if symbol.section == 0 and symbol.name}

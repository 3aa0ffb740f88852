"""The house: which module may import which, how many parameters a function may have, and how long a test's name may be."""

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import minisqx
import minisqx.data
import minisqx.kernels

DOCS = Path(__file__).parent.parent / "docs"
# In the repository the last two lie beside the first, in an installation inside.
PACKAGES = (minisqx, minisqx.kernels, minisqx.data)
MOST_PARAMETERS = 10
MOST_OF_A_NAME = 75
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def name_of(path: Path, package: str) -> str:
    parts = [package, *path.with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    name_of(path.relative_to(Path(str(package.__file__)).parent), package.__name__): path
    for package in PACKAGES
    for path in sorted(Path(str(package.__file__)).parent.rglob("*.py"))
}


def imported(node: ast.AST) -> Iterator[str]:
    """The modules of ours that a file imports, in functions too, but not what only a type checker sees."""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                for otherwise in child.orelse:
                    yield from imported(ast.Module([otherwise], []))
                continue
            case ast.Import():
                yield from (alias.name for alias in child.names if alias.name in MODULES)
            case ast.ImportFrom():
                assert child.level == 0, "expected absolute imports"
                for alias in child.names:
                    submodule = f"{child.module}.{alias.name}"
                    yield from (name for name in (submodule if submodule in MODULES else child.module,) if name in MODULES)
        yield from imported(child)


def graph_of_imports() -> dict[str, set[str]]:
    return {name: set(imported(ast.parse(path.read_text(encoding="utf-8")))) for name, path in MODULES.items()}


def levels() -> list[tuple[str, ...]]:
    """The rooms in the order of docs/design.md: each may import those of its own level and of all before."""
    text = (DOCS / "design.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^Imports go one way: (.*)$", text, re.MULTILINE)
    return [tuple(re.findall(r"`(\w+)`", level)) for level in line.split(" < ")]


def room_of(module: str) -> str:
    """ "" for `minisqx` itself, which holds no more than the version and loads all else on first use."""
    return module.split(".")[1] if "." in module else ""


def circle_in(graph: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def parameters_of(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> list[str]:
    given = function.args
    every = [*given.posonlyargs, *given.args, *filter(None, (given.vararg,)), *given.kwonlyargs, *filter(None, (given.kwarg,))]
    return [parameter.arg for parameter in every if parameter.arg not in ("self", "cls")]


def test_the_import_graph_has_no_circle():
    graph = graph_of_imports()
    assert len(graph) > 100 and sum(map(len, graph.values())) > 300
    assert circle_in(graph) == []


def test_rooms_are_imported_one_way_in_the_order_of_the_design_page():
    rank = {room: number for number, level in enumerate(levels()) for room in level}
    rank[""] = -1
    # Commands that only call the command line; the hook is run by PyInstaller, and imports nothing.
    rank |= dict.fromkeys(("__main__", "train", "pyinstaller"), len(rank))
    between: dict[str, set[str]] = {room: set() for room in rank}
    for module, imports in graph_of_imports().items():
        wrong = [name for name in imports if rank[room_of(name)] > rank[room_of(module)]]
        assert wrong == [], f"{module} imports {wrong}: docs/design.md says that imports go the other way"
        between[room_of(module)] |= {room_of(name) for name in imports} - {room_of(module)}
    assert circle_in(between) == []


def test_the_design_page_orders_every_room_once():
    ordered = [room for level in levels() for room in level]
    assert sorted(ordered) == sorted({room_of(module) for module in MODULES} - {"", "__main__", "train", "pyinstaller"})


def test_no_function_takes_more_than_ten_parameters():
    long = {}
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, FUNCTIONS) and len(parameters_of(node)) > MOST_PARAMETERS:
                long[f"{module}, line {node.lineno}"] = parameters_of(node)
    assert long == {}


def test_the_name_of_a_test_has_at_most_75_characters():
    names = [name for path in Path(__file__).parent.rglob("*.py") for name in re.findall(r"def (test_\w+)", path.read_text())]
    assert len(names) > 700 and [name for name in names if len(name) > MOST_OF_A_NAME] == []

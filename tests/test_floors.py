"""The floors of the house: a file imports only from its own floor or from floors below, and nothing in a circle."""

import ast
import graphlib
import pathlib
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = "smarttrim_jax"
# From the ground up; docs/architecture.md says what each is for.
FLOORS: tuple[tuple[str, ...], ...] = (
    (
        "compatibility",
        "compiled_programs",
        "configuration",
        "errors",
        "file_digests",
        "json_text",
        "memory",
        "nn",
        "options",
        "processes",
        "progress",
        "ranges",
        "registry",
        "sharding",
        "small_files",
        "tokens",
        "tree_paths",
        "version",
        "vqa_answers",
    ),
    ("trimming",),
    ("models", "pretrained", "execution", "generation", "objectives", "metrics", "data"),
    ("experiment",),
    ("tasks", "recipes"),
    ("evaluation",),
    ("training",),
    ("serving",),
    ("benchmarking", "ahead_of_time", "reporting"),
    ("command_line", "configs"),
    ("prepare", "train", "evaluate", "predict", "explain", "convert", "benchmark", "aot", "sweep", "sweeps"),
)
NAMESPACES = ("__init__", "inference")
"""Modules that only gather names for those who import the package."""


def modules() -> dict[str, pathlib.Path]:
    """The package's modules by dotted name."""
    found = {}
    for file in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


MODULES = modules()


def part(module: str) -> str:
    """The file or folder of the package that a module belongs to."""
    return [*module.split("."), "__init__"][1]


def floor(module: str) -> int:
    return next(number for number, parts in enumerate(FLOORS) if part(module) in parts)


def imports(module: str, *, when_loaded: bool = False) -> Iterator[str]:
    """The package's modules that a module imports; those alone that it needs to be loaded, if asked."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    later: set[ast.AST] = set()
    for node in ast.walk(tree):
        is_typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if when_loaded and (is_typing or isinstance(node, ast.FunctionDef)):
            later |= set(ast.walk(node))
    for node in ast.walk(tree):
        if node in later or not isinstance(node, ast.ImportFrom) or not str(node.module).startswith(PACKAGE):
            continue
        for name in node.names:
            inner = f"{node.module}.{name.name}"
            yield inner if inner in MODULES else str(node.module)


def test_every_file_stands_on_a_floor() -> None:
    parts = {part(module) for module in MODULES} - set(NAMESPACES)
    assert parts == {name for names in FLOORS for name in names}


@pytest.mark.parametrize("module", [module for module in MODULES if part(module) not in NAMESPACES])
def test_imports_run_downward_only(module: str) -> None:
    above = [name for name in imports(module) if part(name) not in NAMESPACES and floor(name) > floor(module)]
    assert not above, f"{module} imports {above} from a floor above its own"
    gathered = [name for name in imports(module) if part(name) in NAMESPACES and floor(module) < len(FLOORS) - 2]
    assert not gathered, f"{module} imports from {gathered}, which is for those outside"


def test_nothing_is_imported_in_a_circle() -> None:
    graph = {module: set(imports(module, when_loaded=True)) - {module} for module in MODULES}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_no_file_is_longer_than_one_sitting() -> None:
    long = {module: lines for module, file in MODULES.items() if (lines := file.read_text().count("\n")) > 450}
    assert not long

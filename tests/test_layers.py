"""Which part of the package may know which: the imports as they are, held to a short table."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parent.parent / "kalshi_fills"

ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "words": set(),
    "host": {"errors"},
    "pipeline": {"errors"},
    "exchange": {"errors", "pipeline"},
    "warehouse": {"errors", "words", "pipeline"},
    "reconcile": {"errors", "words", "pipeline", "exchange", "warehouse"},
    "sync": {"errors", "words", "pipeline", "exchange", "warehouse", "reconcile"},
    "migrate": {"errors", "words", "pipeline", "warehouse"},
    "truncate": {"errors", "words", "pipeline", "warehouse"},
    "diagnose": {"errors", "words", "pipeline", "exchange", "warehouse", "reconcile"},
    "report": {
        "errors", "words", "host", "pipeline", "warehouse", "reconcile", "sync", "migrate",
        "truncate", "diagnose",
    },
    "cli": {
        "errors", "host", "pipeline", "exchange", "warehouse", "reconcile", "sync", "migrate",
        "truncate", "diagnose", "report",
    },
    "practice": {"cli"},
}  # fmt: skip
"""Each part of the package, from the ground up, and the parts it may import besides itself."""

HOMES: dict[str, set[str]] = {
    "typer": {"cli"},
    "dotenv": {"cli"},
    "rich": {"report"},
    "jinja2": {"report"},
    "matplotlib": {"report"},
    "prometheus_client": {"report"},
    "requests": {"exchange"},
    "tenacity": {"exchange"},
    "token_bucket": {"exchange"},
    "cryptography": {"exchange"},
    "clickhouse_driver": {"warehouse"},
    "chdb": {"warehouse"},
    "filelock": {"host"},
}
"""Libraries that one part alone imports."""

IMPURE = {"logging", "os", "random", "socket", "subprocess", "sys", "threading", "time", "http"}
IMPURE |= {"urllib", "secrets", "uuid", "platformdirs"} | set(HOMES)
HEAVY = {"clickhouse_driver", "chdb", "jinja2", "matplotlib", "prometheus_client"}
MAX_LINES = 450
MAX_FLOORS = 9
EXCUSED: dict[str, int] = {}
"""Modules that are longer, and how long they may be."""


class Import(NamedTuple):
    """One imported module, by its full name."""

    name: str
    for_types: bool
    at_top: bool


def imports_of(tree: ast.AST, *, for_types: bool = False, top: bool = True) -> Iterator[Import]:
    """Yield every import, wherever it stands: at the top, in a function, or by name at run time."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for inner in node.body:
                yield from imports_of(ast.Module([inner], []), for_types=True, top=top)
            yield from imports_of(ast.Module(node.orelse, []), for_types=for_types, top=top)
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, for_types, top)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            for alias in node.names:
                module = PACKAGE.parent.joinpath(*node.module.split("."), f"{alias.name}.py")
                folder = PACKAGE.parent.joinpath(*node.module.split("."), alias.name)
                is_module = module.exists() or folder.is_dir()
                yield Import(
                    f"{node.module}.{alias.name}" if is_module else node.module, for_types, top
                )
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) in ("importlib.import_module", "import_module", "__import__")
            and node.args
        ):
            assert isinstance(node.args[0], ast.Constant), "a name that cannot be checked"
            yield Import(str(node.args[0].value), for_types, top)
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        yield from imports_of(node, for_types=for_types, top=top and not inside)


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    name_of(path): list(imports_of(ast.parse(path.read_text(encoding="utf-8"))))
    for path in sorted(PACKAGE.rglob("*.py"))
}


def part_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def own_imports(module: str, *, types_too: bool = False) -> set[str]:
    return {
        found.name
        for found in MODULES[module]
        if found.name.startswith("kalshi_fills.") and (types_too or not found.for_types)
    }


def test_every_part_has_its_row() -> None:
    there = {part_of(module) for module in MODULES} - {"", "__main__"}
    assert there == set(ALLOWED)
    assert len(there) <= 14


@pytest.mark.parametrize("part", ALLOWED)
def test_a_part_imports_what_its_row_says(part: str) -> None:
    for module in MODULES:
        if part_of(module) != part:
            continue
        for found in own_imports(module, types_too=True):
            known = part_of(found)
            assert known in ("", part, *ALLOWED[part]) or part == "practice", f"{module}: {found}"


def test_no_module_is_part_of_a_circle_and_no_floor_is_above_the_ninth() -> None:
    left = {module: own_imports(module) & set(MODULES) - {module} for module in MODULES}
    floors = 0
    while left:
        leaves = {module for module, needed in left.items() if not needed & left.keys()}
        assert leaves, f"a circle among {sorted(left)}"
        left = {module: needed for module, needed in left.items() if module not in leaves}
        floors += 1
    assert floors <= MAX_FLOORS


def test_a_library_has_one_home() -> None:
    for library, homes in HOMES.items():
        found = {
            part_of(module)
            for module, imports in MODULES.items()
            if any(entry.name.split(".")[0] == library for entry in imports)
        }
        assert found - {"practice"} == homes, library


def test_the_pipeline_reaches_for_nothing_outside() -> None:
    for module, imports in MODULES.items():
        if part_of(module) == "pipeline":
            assert not {entry.name.split(".")[0] for entry in imports} & IMPURE, module


def test_heavy_libraries_are_imported_where_they_are_used_only() -> None:
    for module, imports in MODULES.items():
        if part_of(module) != "practice":
            tops = {
                entry.name.split(".")[0]
                for entry in imports
                if entry.at_top and not entry.for_types
            }
            assert not tops & HEAVY, module


def test_nothing_outside_imports_the_practice_exchange() -> None:
    for module in MODULES:
        if part_of(module) != "practice":
            assert not any(part_of(found) == "practice" for found in own_imports(module)), module


def test_every_folder_says_what_belongs_there() -> None:
    for folder in PACKAGE.iterdir():
        if folder.is_dir() and folder.name != "__pycache__" and folder.name != "queries":
            text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
            assert text, folder.name
            assert text.endswith(".")


def test_no_module_is_longer_than_can_be_read() -> None:
    for path in PACKAGE.rglob("*.py"):
        if "practice" not in path.parts:
            lines = len(path.read_text(encoding="utf-8").splitlines())
            assert lines <= EXCUSED.get(name_of(path), MAX_LINES), f"{name_of(path)}: {lines} lines"


def test_no_private_name_is_imported_from_another_module() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kalshi_fills"):
                private = [
                    a.name for a in node.names if a.name.startswith("_") and a.name != "__version__"
                ]
                assert not private, f"{name_of(path)} imports {private}"

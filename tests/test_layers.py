"""Which module may know which: the imports as they are, held to a literal table."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parent.parent / "kalshi_fills"

ALLOWED: dict[str, set[str]] = {
    "__init__": set(),
    "__main__": {
        "cli",
        "process",
    },
    "account": {
        "errors",
        "exchange",
        "fills",
        "listing",
    },
    "alike": {
        "fills",
    },
    "attribution": {
        "evidence",
        "fills",
        "reconcile",
    },
    "backups": {
        "errors",
        "migrations",
        "ownership",
        "queries",
        "warehouse",
    },
    "cadence": set(),
    "causes": {
        "comparison",
        "evidence",
        "fills",
        "pipeline",
        "queries",
        "reconcile",
    },
    "claims": {
        "fills",
        "listing",
    },
    "cli": {
        "__init__",
        "diagnose",
        "errors",
        "evidence",
        "exchange",
        "listing",
        "locks",
        "logs",
        "migrations",
        "page",
        "printable",
        "process",
        "report",
        "settings",
        "standing",
        "store",
        "sync",
        "truncation",
        "trusted",
        "warehouse",
    },
    "comparison": {
        "account",
        "attribution",
        "errors",
        "evidence",
        "exchange",
        "fills",
        "listing",
        "pipeline",
        "reconcile",
        "store",
    },
    "contested": {
        "fills",
        "listing",
        "pipeline",
        "reconcile",
    },
    "diagnose": {
        "cadence",
        "causes",
        "comparison",
        "errors",
        "evidence",
        "exchange",
        "fills",
        "listing",
        "migrations",
        "pipeline",
        "queries",
        "reconcile",
        "store",
        "warehouse",
    },
    "errors": set(),
    "evidence": {
        "cadence",
        "fills",
        "listing",
        "migrations",
        "pipeline",
        "queries",
        "warehouse",
    },
    "exchange": {
        "__init__",
        "errors",
        "fetch",
        "fills",
        "listing",
        "signing",
        "wire",
    },
    "fetch": {
        "errors",
        "fills",
        "listing",
    },
    "fills": set(),
    "gathering": {
        "errors",
        "ownership",
        "queries",
        "replicas",
        "warehouse",
    },
    "grants": set(),
    "listing": {
        "fills",
    },
    "locks": {
        "errors",
        "printable",
        "trusted",
    },
    "logs": {
        "printable",
    },
    "migrations": {
        "__init__",
        "errors",
        "fills",
        "gathering",
        "grants",
        "ownership",
        "queries",
        "replicas",
        "store",
        "warehouse",
    },
    "open_breaks": {
        "listing",
    },
    "ownership": set(),
    "page": {
        "__init__",
        "errors",
        "plots",
        "queries",
        "settings",
    },
    "pipeline": {
        "alike",
        "errors",
        "fills",
    },
    "plots": set(),
    "printable": set(),
    "process": {
        "errors",
    },
    "profile": set(),
    "queries": set(),
    "reconcile": {
        "account",
        "evidence",
        "fills",
        "listing",
        "pipeline",
        "store",
    },
    "replicas": {
        "errors",
        "queries",
        "warehouse",
    },
    "report": {
        "fills",
        "pipeline",
        "printable",
        "queries",
    },
    "settings": {
        "errors",
        "printable",
        "queries",
        "signing",
        "trusted",
    },
    "sifting": {
        "backups",
        "errors",
        "fills",
        "gathering",
        "migrations",
        "ownership",
        "queries",
        "replicas",
        "warehouse",
    },
    "signing": {
        "errors",
    },
    "standing": {
        "errors",
    },
    "store": {
        "__init__",
        "errors",
        "fills",
        "grants",
        "pipeline",
        "queries",
        "standing",
        "warehouse",
    },
    "sync": {
        "claims",
        "contested",
        "errors",
        "exchange",
        "fills",
        "listing",
        "open_breaks",
        "pipeline",
        "reconcile",
        "replicas",
        "standing",
        "store",
    },
    "truncation": {
        "backups",
        "errors",
        "gathering",
        "grants",
        "migrations",
        "ownership",
        "queries",
        "replicas",
        "sifting",
        "standing",
        "store",
        "warehouse",
    },
    "trusted": set(),
    "warehouse": {
        "errors",
        "profile",
        "queries",
    },
    "wire": set(),
}
"""What each module imports of its own package, `__init__` standing for the version."""

FOR_TYPES_ONLY: dict[str, set[str]] = {
    "page": {"diagnose"},
    "plots": {"diagnose"},
    "report": {"diagnose", "evidence", "migrations", "reconcile", "sync", "truncation"},
}
"""What a module may import under TYPE_CHECKING besides."""

HOMES: dict[str, str] = {
    "typer": "cli",
    "rich": "report",
    "requests": "exchange",
    "tenacity": "exchange",
    "throttled": "exchange",
    "clickhouse_driver": "warehouse",
    "chdb": "warehouse",
    "cryptography": "signing",
    "dotenv": "settings",
    "filelock": "locks",
    "jinja2": "page",
    "matplotlib": "plots",
}
"""Libraries that one module alone imports."""

PURE = {"alike", "cadence", "claims", "errors", "fills", "grants", "listing", "open_breaks"}
PURE |= {"ownership", "pipeline", "profile", "queries", "standing"}
IMPURE_LIBRARIES = {"logging", "os", "random", "socket", "subprocess", "sys", "threading", "time"}
IMPURE_LIBRARIES |= {"http", "urllib", "secrets", "uuid", "platformdirs"} | set(HOMES)


class Import(NamedTuple):
    """One imported module, by its full name."""

    name: str
    for_types: bool


def imports_of(tree: ast.AST, *, for_types: bool = False) -> Iterator[Import]:
    """Every import, wherever it stands: at the top, in a function, or by name at run time."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for inner in node.body:
                yield from imports_of(ast.Module([inner], []), for_types=True)
            yield from imports_of(ast.Module(node.orelse, []), for_types=for_types)
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, for_types)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            if node.module == "kalshi_fills":
                for alias in node.names:
                    inner_name = "__init__" if alias.name.startswith("__") else alias.name
                    yield Import(f"kalshi_fills.{inner_name}", for_types)
            else:
                yield Import(node.module, for_types)
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) in ("importlib.import_module", "import_module", "__import__")
            and node.args
        ):
            assert isinstance(node.args[0], ast.Constant), "a name that cannot be checked"
            yield Import(str(node.args[0].value), for_types)
        yield from imports_of(node, for_types=for_types)


def modules() -> dict[str, list[Import]]:
    return {
        path.stem: list(imports_of(ast.parse(path.read_text(encoding="utf-8"))))
        for path in PACKAGE.glob("*.py")
    }


MODULES = modules()


def own(module: str, *, for_types: bool) -> set[str]:
    return {
        found.name.split(".")[1] if "." in found.name else "__init__"
        for found in MODULES[module]
        if found.name.split(".")[0] == "kalshi_fills" and found.for_types == for_types
    }


def test_every_module_has_its_line_in_the_table() -> None:
    assert set(MODULES) == set(ALLOWED)


@pytest.mark.parametrize("module", sorted(ALLOWED))
def test_a_module_imports_what_the_table_says(module: str) -> None:
    assert own(module, for_types=False) == ALLOWED[module]
    assert own(module, for_types=True) == FOR_TYPES_ONLY.get(module, set())


def test_the_table_has_no_circle() -> None:
    left = {module: set(allowed) for module, allowed in ALLOWED.items()}
    while left:
        leaves = {module for module, allowed in left.items() if not allowed & left.keys()}
        assert leaves, f"a circle among {sorted(left)}"
        left = {module: allowed for module, allowed in left.items() if module not in leaves}


def test_a_library_has_one_home() -> None:
    found = {
        library: {
            module
            for module, imports in MODULES.items()
            if any(entry.name.split(".")[0] == library for entry in imports)
        }
        for library in HOMES
    }
    assert found == {library: {home} for library, home in HOMES.items()}


@pytest.mark.parametrize("module", sorted(PURE))
def test_a_pure_module_reaches_for_nothing_outside(module: str) -> None:
    roots = {entry.name.split(".")[0] for entry in MODULES[module]}
    assert not roots & IMPURE_LIBRARIES


def test_nothing_outside_imports_the_practice_exchange() -> None:
    assert all(
        "practice" not in own(module, for_types=flag) for module in MODULES for flag in (0, 1)
    )


def test_heavy_libraries_are_imported_where_they_are_used_only() -> None:
    """Starting the tool must not pay for engines and clients a command does not need."""
    for module, libraries in {
        "warehouse": {"clickhouse_driver", "chdb"},
        "page": {"jinja2"},
        "plots": {"matplotlib"},
        "cli": {"kalshi_fills.exchange", "kalshi_fills.warehouse", "kalshi_fills.sync"},
    }.items():
        tree = ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))
        top = ast.Module(
            [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], []
        )
        for entry in imports_of(top):
            assert entry.name not in libraries
            assert entry.name.split(".")[0] not in libraries


def test_an_import_is_found_wherever_it_stands() -> None:
    code = """
import a.b
from kalshi_fills import __version__, cli
if TYPE_CHECKING:
    from kalshi_fills.sync import X
else:
    import h
def f():
    with x:
        import c as d
    return importlib.import_module("e.f")
class G:
    def g(self):
        try:
            from i.j import k
        except ImportError:
            import l
"""
    assert list(imports_of(ast.parse(code))) == [
        ("a.b", False),
        ("kalshi_fills.__init__", False),
        ("kalshi_fills.cli", False),
        ("kalshi_fills.sync", True),
        ("h", False),
        ("c", False),
        ("e.f", False),
        ("i.j", False),
        ("l", False),
    ]

"""A folder of the embedded engine that somebody else prepared runs nothing in this process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.commandline import ROOT

pytest.importorskip("chdb", reason="the embedded engine is not installed")

_SCRIPT = """#!/bin/sh
touch {folder}/ran_$1
echo hi
cat > /dev/null
"""
_FUNCTION = """<functions><function><type>executable</type><name>evil</name>
<return_type>String</return_type><argument><type>String</type></argument>
<format>TabSeparated</format><command>evil.sh function</command></function></functions>"""
_DICTIONARY = """<dictionaries><dictionary><name>evil</name><source><executable>
<command>sh -c 'touch {folder}/ran_dictionary; cat'</command><format>TabSeparated</format>
</executable></source><layout><flat/></layout><lifetime>0</lifetime>
<structure><id><name>id</name></id><attribute><name>v</name><type>String</type><null_value/>
</attribute></structure></dictionary></dictionaries>"""
_CONFIG = """<clickhouse><user_scripts_path>{folder}/chdb/user_scripts</user_scripts_path>
<user_defined_executable_functions_config>{folder}/f.xml</user_defined_executable_functions_config>
<dictionaries_config>{folder}/d.xml</dictionaries_config>
<dictionaries_lazy_load>0</dictionaries_lazy_load></clickhouse>"""
_USE = """
import sys
from pathlib import Path
from kalshi_fills.errors import KalshiFillsError
from kalshi_fills.warehouse.embedded import open_embedded
warehouse = open_embedded(Path(sys.argv[1]))
for sql in sys.argv[2:]:
    try:
        print(warehouse.rows(sql))
    except KalshiFillsError as error:
        print("refused:", error.message)
warehouse.close()
"""


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """Prepare a working folder and a folder of the engine that would run a script."""
    folder = tmp_path / "chdb"
    (folder / "user_scripts").mkdir(parents=True)
    script = folder / "user_scripts" / "evil.sh"
    script.write_text(_SCRIPT.format(folder=tmp_path))
    script.chmod(0o755)
    (tmp_path / "f.xml").write_text(_FUNCTION)
    (tmp_path / "d.xml").write_text(_DICTIONARY.format(folder=tmp_path))
    for place in (tmp_path, folder):
        (place / "config.xml").write_text(_CONFIG.format(folder=tmp_path))
        (place / "evil_function.xml").write_text(_FUNCTION)
        (place / "evil_dictionary.xml").write_text(_DICTIONARY.format(folder=tmp_path))
    return tmp_path


def use(planted: Path, *statements: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _USE, str(planted / "chdb"), *statements],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=planted,
        capture_output=True,
        text=True,
        timeout=600,
    )


def ran(planted: Path) -> list[str]:
    return sorted(path.name for path in planted.glob("ran_*"))


def test_no_script_function_or_configuration_of_a_planted_folder_runs(planted: Path) -> None:
    done = use(
        planted,
        "SELECT 1",
        "SELECT evil('a')",
        "SELECT * FROM executable('evil.sh table_function', TSV, 'x String')",
        "SELECT dictGet('evil', 'v', toUInt64(1))",
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "[(1,)]"
    assert done.stdout.count("refused:") == 3
    assert ran(planted) == []


@pytest.mark.parametrize(
    "what",
    [
        "TABLE p.t (x String) ENGINE = Executable('evil.sh engine', 'TSV')",
        "DICTIONARY p.t (id UInt64, v String) PRIMARY KEY id SOURCE(EXECUTABLE(COMMAND "
        "'touch FOLDER/ran_definition; cat' FORMAT TSV)) LAYOUT(FLAT()) LIFETIME(0)",
        "VIEW p.t AS SELECT * FROM executable('evil.sh view', TSV, 'x String')",
    ],
    ids=["table", "dictionary", "view"],
)
def test_a_folder_with_a_table_or_dictionary_that_runs_a_program_is_refused(
    planted: Path, what: str
) -> None:
    code = (
        "from chdb.session import Session; import sys\n"
        "s = Session(sys.argv[1]); s.query('CREATE DATABASE p'); s.query(sys.argv[2]); s.close()\n"
    )
    made = "CREATE " + what.replace("FOLDER", str(planted))
    subprocess.run(
        [sys.executable, "-c", code, str(planted / "chdb"), made], check=True, cwd=planted.parent
    )
    for path in planted.glob("ran_*"):
        path.unlink()

    done = use(planted, "SELECT * FROM p.t")

    assert "runs a program" in done.stderr
    assert ran(planted) == []


def test_the_private_folder_goes_when_the_engine_is_closed(planted: Path) -> None:
    own = planted / "tmp"
    own.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", _USE, str(planted / "chdb"), "SELECT 1"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(own)},
        cwd=planted,
        capture_output=True,
        text=True,
        timeout=600,
    )

    assert done.stdout == "[(1,)]\n"
    assert list(own.glob("kalshi-fills-*")) == []


@pytest.mark.parametrize("name", ["a b", "per%cent", "and&more", "ä", "plus+", "hash#", "eq=1"])
def test_a_folder_of_any_name_is_the_one_that_is_opened(planted: Path, name: str) -> None:
    folder = planted / name
    code = _USE.replace("sys.argv[1]", repr(str(folder)))
    done = subprocess.run(
        [sys.executable, "-c", code, "x", "SELECT 1"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=planted.parent,
        capture_output=True,
        text=True,
        timeout=600,
    )

    assert done.stdout == "[(1,)]\n", done.stderr
    assert list(folder.iterdir())

"""The embedded engine's folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from support.values import assert_one_sentence

from kalshi_fills.errors import LockedError, WarehouseError
from kalshi_fills.warehouse.client import Warehouse
from kalshi_fills.warehouse.embedded import open_embedded

pytestmark = pytest.mark.both_engines

HOLD = """
import sys
from pathlib import Path
from kalshi_fills.warehouse.embedded import open_embedded
held = open_embedded(Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.read()
held.close()
"""

WITHOUT_ARROW = """
import sys
from kalshi_fills.warehouse.embedded import load_engine, open_embedded
from pathlib import Path
load_engine()
assert not {"numpy", "pandas", "pyarrow"} & sys.modules.keys()
warehouse = open_embedded(Path(sys.argv[1]))
import pyarrow
print(list(warehouse.rows("SELECT 1")), pyarrow.array([1])[0])
warehouse.close()
"""

COUNT = """
import sys
from pathlib import Path
from kalshi_fills.errors import WarehouseError
from kalshi_fills.warehouse.embedded import open_embedded
try:
    warehouse = open_embedded(Path(sys.argv[1]))
except WarehouseError as error:
    print(error.message, error.hint, sep="\\n")
else:
    warehouse.command("CREATE DATABASE IF NOT EXISTS d")
    warehouse.command("CREATE TABLE IF NOT EXISTS d.t (v Int8) ENGINE = MergeTree ORDER BY v")
    warehouse.command("INSERT INTO d.t SELECT 1 WHERE (SELECT count() FROM d.t) = 0")
    print(warehouse.rows("SELECT count() FROM d.t"))
    warehouse.close()
"""

INSERT = """
import os, sys
from pathlib import Path
from kalshi_fills.errors import WarehouseError
from kalshi_fills.warehouse.embedded import open_embedded
folder = Path(sys.argv[1])
warehouse = open_embedded(folder)
warehouse.command("CREATE TABLE t (v String) ENGINE = MergeTree ORDER BY v")
planted = folder / "kalshi-fills-block.tsv"
if len(sys.argv) > 2:
    planted.symlink_to(sys.argv[2])
try:
    statement = "INSERT INTO t SELECT concat(line, payload) FROM block"
    warehouse.insert_lines(["a", "b\\t"], ["1", "2"], statement)
    print(warehouse.rows("SELECT v FROM t ORDER BY v"), planted.exists())
except WarehouseError as error:
    print(error.message.rpartition(": ")[2])
warehouse.close()
"""


def inserting(*words: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", INSERT, *words],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, **environment},
    )
    assert done.stderr == ""
    return done.stdout


def test_a_folder_that_another_process_has_open_is_refused_naming_it(
    tmp_path: Path, embedded: Warehouse
) -> None:
    folder = tmp_path / "held"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "open\n"

        with pytest.raises(LockedError) as caught:
            open_embedded(folder)

        holder.stdin.close()
    assert caught.value.exit_code == 75
    assert str(holder.pid) in caught.value.message
    assert str(folder) in caught.value.message


def test_a_folder_is_free_again_when_its_process_was_killed(
    tmp_path: Path, embedded: Warehouse
) -> None:
    folder = tmp_path / "held"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        holder.kill()
        holder.wait()

    again = subprocess.run(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )

    assert (again.returncode, again.stdout) == (0, "open\n")


@pytest.mark.parametrize("below", ["", "/below/it"])
def test_a_file_where_the_folder_should_be_is_refused(
    tmp_path: Path, embedded: Warehouse, below: str
) -> None:
    path = tmp_path / "file"
    path.write_text("not a folder")

    with pytest.raises(WarehouseError) as caught:
        open_embedded(Path(f"{path}{below}"))

    assert str(path) in caught.value.message
    assert_one_sentence(caught.value)
    assert path.read_text() == "not a folder"


def test_a_copy_that_lost_its_links_is_refused_with_what_mends_it(tmp_path: Path) -> None:
    def run(folder: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", COUNT, str(folder)]
        return subprocess.run(command, capture_output=True, text=True, check=True)

    folder, kept, lost = (tmp_path / name for name in ("folder", "kept", "lost"))
    run(folder)
    shutil.copytree(folder, kept, symlinks=True)
    shutil.copytree(folder, lost)

    assert run(kept).stdout == "[(1,)]\n"
    refused = run(lost)
    message, hint = refused.stdout.splitlines()
    assert message.startswith(f"the folder {lost} is a copy that lost its symbolic links")
    assert refused.stderr == ""
    assert f"remove {lost / 'metadata' / 'd'}," in hint
    shutil.rmtree(lost / "metadata" / "d")
    assert run(lost).stdout == "[(1,)]\n"


@pytest.mark.parametrize("name", ["with space", "ümlaut-日本", "per%cent&amp#hash", "it's"])
def test_a_folder_may_have_any_usual_name(tmp_path: Path, embedded: Warehouse, name: str) -> None:
    folder = tmp_path / name
    done = subprocess.run(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "open\n", "")
    assert any(folder.iterdir())


@pytest.mark.parametrize("sign", ["", "\t", "\n", "\r", "\\", "\0", "\\N", "é"])
def test_texts_are_inserted_as_they_are_whatever_signs_they_hold(
    embedded: Warehouse, sign: str
) -> None:
    rows = [("a", f"x{sign}y"), (f"{sign}", "b"), ("c", "d")]
    embedded.command("CREATE OR REPLACE TABLE texts (one String, other String) ENGINE = Memory")
    embedded.insert("texts", ["one", "other"], rows)
    assert sorted(embedded.rows("SELECT one, other FROM texts")) == sorted(rows)
    assert list(embedded.rows("SELECT one FROM texts WHERE one = 'nobody'")) == []
    embedded.command("DROP TABLE texts")


def test_a_long_answer_comes_whole_and_in_order(embedded: Warehouse) -> None:
    found = embedded.rows(
        "SELECT number, nullIf(toDecimal64(number, 2), 3) AS half FROM numbers(20001) ORDER BY 1"
    )
    assert list(found) == [
        (number, None if number == 3 else Decimal(number)) for number in range(20_001)
    ]


@pytest.mark.parametrize("name", ["plain", "{a,b}", "*", "[z]", "it's"])
def test_what_is_inserted_goes_through_a_file_of_the_folder_that_is_gone_afterwards(
    tmp_path: Path, embedded: Warehouse, name: str
) -> None:
    (tmp_path / "temporary{a}").mkdir()
    printed = inserting(str(tmp_path / name), TMPDIR=str(tmp_path / "temporary{a}"))

    assert printed == "[('a1',), ('b\\t2',)] False\n"


def test_a_file_that_a_killed_run_left_is_removed_by_the_next(
    tmp_path: Path, embedded: Warehouse
) -> None:
    left = tmp_path / "folder" / "kalshi-fills-block.tsv"
    left.parent.mkdir()
    left.write_text("half a li")

    subprocess.run(
        [sys.executable, "-c", HOLD, str(left.parent)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=600,
        check=True,
    )

    assert not left.exists()


def test_a_link_in_the_place_of_that_file_is_not_followed(
    tmp_path: Path, embedded: Warehouse
) -> None:
    other = tmp_path / "other"
    other.write_text("precious")

    assert inserting(str(tmp_path / "folder"), str(other)) == "Too many levels of symbolic links\n"
    assert other.read_text() == "precious"


def test_the_engine_brings_no_library_that_is_not_used_and_hides_none(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_ARROW, tmp_path / "engine"],
        capture_output=True,
        text=True,
        timeout=600,
    )

    assert (done.stdout, done.stderr) == ("[(1,)] 1\n", "")

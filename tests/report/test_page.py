"""The page: everything a diagnosis found, and nothing that runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from support.commandline import KEY_ID, ROOT
from support.pages import HOUR, NOW, TABLES, Page, answers, diagnosis, page_of, query

from kalshi_fills import __version__
from kalshi_fills.diagnose.causes import Cause
from kalshi_fills.diagnose.checks import Check
from kalshi_fills.diagnose.run import diagnose
from kalshi_fills.errors import Mistakes, SettingsError
from kalshi_fills.exchange.endpoints import Exchange
from kalshi_fills.exchange.signing import Signer
from kalshi_fills.pipeline.window import Window
from kalshi_fills.practice.account import incident_rows, the_incident
from kalshi_fills.reconcile.breaks import Break
from kalshi_fills.report.page import render, require_page, write_page
from kalshi_fills.warehouse.statements import Tables

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7*7 }}$\\frac{1}$&amp;"


LEGACY = """CREATE TABLE {name} (ts DateTime64(3,'UTC'), engine_instance_id String,
engine_version String, market_ticker String, exchange_order_id String, client_order_id String,
side LowCardinality(String), price Float64, price_cents UInt16, size Float64, fee Float64,
decision_id UUID, raw_json String) ENGINE = MergeTree ORDER BY (market_ticker, ts)"""


def test_times_options_and_names_are_not_broken_over_two_lines() -> None:
    found = Break("mismatch", "fill", "fill-1", "order-1", "KXT", "yes_price_dollars", "1", "2")
    page = page_of(diagnosis(breaks=[found]))
    kept = {one.words for one in page.all("span", class_="unbroken")}
    assert {"yes_price_dollars", "--since", "2026-11-01", "2026-11-02 12:30"} <= kept
    assert "kalshi-fills sync --since 2026-11-01" in page.words


def test_the_head_tells_verdict_window_and_version() -> None:
    page = page_of(diagnosis())

    head = page.one("header").words
    assert "kalshi.mm_fills" in head
    assert "fail 2 of 5 checks fail" in head
    assert "2026-11-01 12:30:15 to 2026-11-02 12:30:15 UTC" in head
    assert "asked, 1,234 requests" in head
    assert f"2026-11-02 12:30:15 UTC, in 2.2 s, by kalshi-fills {__version__}" in head
    assert "Next kalshi-fills migrate" in head
    assert page.one("title").text == "FAIL kalshi.mm_fills 2026-11-02 12:30 UTC"


def test_every_check_is_a_row_with_all_it_says() -> None:
    found = diagnosis()

    table = page_of(found).one("table", class_="checks")

    rows = list(table.all("tr"))[1:]
    assert len(rows) == len(found.checks)
    for row, check in zip(rows, found.checks, strict=True):
        told = [cell.words for cell in row.inner]
        assert told == [*check[:5], check.next or "-"]


def test_every_cause_is_told_with_its_evidence_and_the_next_command_the_worst_first() -> None:
    found = diagnosis()

    listed = page_of(found).one("ol", class_="causes")

    items = [item for item in listed.inner if item.tag == "li"]
    assert [item.one("h3").words.split()[0] for item in items] == [one.name for one in found.causes]
    for item, cause in zip(items, found.causes, strict=True):
        assert cause.explanation in item.words
        assert [line.words for line in item.all("li")] == cause.evidence
        assert [one.text for one in item.all("code")] == [cause.next]


def test_a_failure_without_a_known_cause_says_so() -> None:
    found = diagnosis(causes=[])

    page = page_of(found)

    assert f"None known. {found.root_cause.explanation}" in page.words


def test_breaks_notes_and_queries_are_there() -> None:
    found = diagnosis()

    page = page_of(found)

    rows = [[cell.words for cell in row.inner] for row in page.all("tr")]
    assert ["missing", "10 on 2026", "-", "-", "KXT", "fill-1 order-1"] in rows
    assert ["mismatch (position)", "1.00", "1.01", "position_fp", "KXU", "- -"] in rows
    for note in found.notes:
        assert note in page.words
    summaries = [one.words for one in page.all("summary")]
    for one in found.queries:
        assert any(told.startswith(one.title) for told in summaries)


def test_of_many_breaks_200_are_shown_and_the_rest_is_counted() -> None:
    many = [
        Break("missing", "fill", f"fill-{n}", "o", "KXT", None, "1", None) for n in range(10_000)
    ]

    page = page_of(diagnosis(breaks=many, more_breaks=True))

    assert "fill-199" in page.text
    assert "fill-200" not in page.text
    assert "More than 10,000 disagreements" in page.words
    assert "9,800 more, and those beyond them, are not shown here" in page.words


def test_of_a_query_50_rows_are_shown_and_the_rest_is_counted() -> None:
    long = query("schema", "column", *((f"column-{n}-",) for n in range(70)))

    page = page_of(diagnosis(queries=[long]))

    assert "column-49-" in page.text
    assert "column-50-" not in page.text
    assert "20 more rows: kalshi-fills diagnose --query schema" in page.words


def test_a_hostile_text_is_text() -> None:
    found = diagnosis(
        checks=[Check(*([HOSTILE] * 6))],
        causes=[Cause(HOSTILE, HOSTILE, [HOSTILE], f"kalshi-fills {HOSTILE}")],
        breaks=[Break(*([HOSTILE] * 8))],
        notes=[HOSTILE],
        queries=[query(HOSTILE, "a b", (HOSTILE, HOSTILE)), *answers(order=HOSTILE)],
    )

    page = Page(render(found, Tables(HOSTILE, HOSTILE), NOW)).root

    assert not list(page.all("script"))
    assert not list(page.all("img"))
    assert page.text.count(HOSTILE) > 20
    for element in page.all():
        assert not [name for name in element.attributes if name.startswith("on")]


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("letter", "told"),
    [("\x00", "\\x00"), ("\u202e", "\\u202e"), ("\x1b", "\\x1b"), ("\ud800", "\\ud800")],
)
def test_a_letter_that_cannot_be_seen_is_spelled_out(letter: str, told: str) -> None:
    found = diagnosis(notes=[f"KX{letter}T"], queries=answers(order=f"o{letter}1"))

    html = render(found, Tables(f"k{letter}"), NOW)

    assert letter not in html
    assert f"KX{told}T" in html
    html.encode()


def test_an_emoji_in_an_order_id_needs_no_font() -> None:
    page = page_of(diagnosis(queries=answers(order="🙂" * 40)))

    assert "🙂" * 40 in page.text


def test_the_page_asks_for_nothing_and_runs_nothing() -> None:
    html = render(diagnosis(), TABLES, NOW)
    page = Page(html).root

    assert "http:" not in html
    assert "https:" not in html
    assert "@import" not in html
    assert set(re.findall(r"url\((.)", html)) <= {"#"}
    tags = {element.tag for element in page.all()}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    for element in page.all():
        assert "src" not in element.attributes
        assert (element.attributes.get("href") or "#").startswith("#")
    policy = page.one("meta", **{"http-equiv": "Content-Security-Policy"}).attributes["content"]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def test_ids_are_unique_and_what_refers_to_one_finds_it() -> None:
    page = page_of(diagnosis())

    ids = [element.attributes["id"] for element in page.all() if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    used = {
        name
        for element in page.all()
        for attribute in ("aria-labelledby", "aria-describedby")
        for name in (element.attributes.get(attribute) or "").split()
    }
    used |= {
        element.attributes["href"].removeprefix("#")
        for element in page.all()
        if element.tag == "use"
    }
    used |= set(re.findall(r"url\(#([^)]+)\)", render(diagnosis(), TABLES, NOW)))
    assert used <= set(ids)


# Page again


def test_the_same_diagnosis_gives_the_same_page(monkeypatch: pytest.MonkeyPatch) -> None:
    first = render(diagnosis(), TABLES, NOW)
    import matplotlib

    monkeypatch.setitem(matplotlib.rcParams, "axes.facecolor", "red")
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 30.0)

    assert render(diagnosis(), TABLES, NOW) == first
    assert matplotlib.rcParams["font.size"] == 30.0


def test_no_window_of_plots_is_opened() -> None:
    code = (
        "import sys; from kalshi_fills.report.page import render\n"
        "sys.path[:0] = ['tests', 'tests/report']\n"
        "import test_page; render(test_page.diagnosis(), test_page.TABLES, test_page.NOW)\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )

    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def _legacy(warehouse, database: str, now: datetime, count: int) -> None:
    rows = incident_rows(now, count)
    warehouse.command(f"CREATE DATABASE {database}")
    warehouse.command(LEGACY.format(name=f"{database}.mm_fills"))
    warehouse.insert(f"{database}.mm_fills", list(rows[0]), [tuple(row.values()) for row in rows])


def test_the_incident_on_a_page(warehouse, tables, serve, api_key, now) -> None:
    _legacy(warehouse, tables.database, now, 4774)
    exchange = Exchange(serve(the_incident(now)).url, Signer(KEY_ID, api_key.key), rate_share=1.0)
    found = diagnose(warehouse, tables, exchange, Window(now - 24 * HOUR, now), now)
    exchange.close()

    page = Page(render(found, tables, now)).root

    assert "fail 5 of 6 checks fail" in page.one("header").words
    for check in found.checks:
        assert check.name in page.words
        assert check.observed in page.words
    for cause in found.causes:
        assert cause.name in page.words
    for one in found.breaks:
        assert one.order_id in page.text
    assert "5 fills of the exchange, 4,774 rows of the table" in page.words
    assert "4,416 of 4,774 rows (92.5%) have an impossible price" in page.words
    assert len(list(page.all("svg"))) == 8
    for answered in found.queries:
        assert answered.title in page.words


def test_no_table_on_a_page(warehouse, tables, now) -> None:
    found = diagnose(warehouse, tables, None, Window(None, now), now)

    page = Page(render(found, tables, now)).root

    assert f"no table {tables.database}.mm_fills" in page.words
    assert "everything to" in page.one("header").words
    assert page.words.count("There is no data: ") == 4


def test_diagnose_writes_the_page_beside_its_answer(cli, tmp_path) -> None:
    pytest.importorskip("chdb", reason="the embedded engine is not installed")
    file = tmp_path / "page.html"

    done = cli(
        *("diagnose", "--offline", "--report", str(file), "--format", "json"),
        url=f"chdb://{tmp_path}/chdb",
    )

    assert done.code == 3, done.err
    assert done.json["verdict"] == "fail"
    page = Page(file.read_text(encoding="utf-8")).root
    assert "schema_never_migrated" in page.words
    assert str(tmp_path) not in page.text
    assert KEY_ID not in page.text


def test_where_matplotlib_finds_nothing_as_it_likes_it_the_page_is_written(
    tmp_path: Path,
) -> None:
    file = tmp_path / "page.html"
    code = (
        "import sys; sys.path[:0] = ['tests', 'tests/report']\n"
        "from test_page import NOW, TABLES, diagnosis, write_page\n"
        "write_page(diagnosis(), TABLES, NOW, sys.argv[1])"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, str(file)],
        env=os.environ | {"MPLCONFIGDIR": "/proc/nowhere", "MPLBACKEND": "nonsense"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert file.read_text(encoding="utf-8") == render(diagnosis(), TABLES, NOW)


def test_without_the_extra_diagnose_says_what_to_install_before_it_begins(cli, tmp_path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['matplotlib'] = None\n")

    done = cli(
        *("diagnose", "--offline", "--report", "page.html"),
        url="clickhouse://nobody@127.0.0.1:1/kalshi",
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}"},
    )

    assert done.code == 2
    assert done.err == (
        "error: --report needs matplotlib, which is not installed\n"
        "hint: pip install 'kalshi-fills[report]'\n"
    )
    assert not (tmp_path / "page.html").exists()


def _mistakes(path: str) -> str:
    mistakes = Mistakes()
    require_page(path, mistakes)
    try:
        mistakes.raise_if_any()
    except SettingsError as error:
        return error.message
    return ""


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (".", "is a folder"),
        ("", "is a folder"),
        ("nowhere/page.html", "there is no folder"),
        ("file/page.html", "there is no folder"),
        ("/dev/null", "is no ordinary file"),
        ("a" * 300, "File name too long"),
        ("page.html", ""),
        ("file", ""),
    ],
)
def test_a_path_that_cannot_be_written_is_a_mistake(
    path: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("an earlier page")

    found = _mistakes(path)

    assert told in found
    assert bool(told) == bool(found)


@pytest.mark.parametrize("forbidden", ["the folder", "the file"])
def test_what_may_not_be_written_is_a_mistake(
    forbidden: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "page.html"
    file.write_text("an earlier page")
    closed = tmp_path if forbidden == "the folder" else file
    # Root, as whom tests may run, may write everywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != closed.resolve())

    assert "may not be written" in _mistakes(str(file))


def test_a_page_replaces_the_earlier_one_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text("an earlier page")
    link = tmp_path / "latest.html"
    link.symlink_to(file)

    write_page(diagnosis(), TABLES, NOW, str(link))

    assert file.read_text(encoding="utf-8") == render(diagnosis(), TABLES, NOW)
    assert link.is_symlink()
    assert sorted(tmp_path.iterdir()) == [link, file]
    assert file.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_full_disk_leaves_the_earlier_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "page.html"
    file.write_text("an earlier page")

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SettingsError, match=r"cannot write .*page\.html: No space left"):
        write_page(diagnosis(), TABLES, NOW, str(file))

    assert file.read_text() == "an earlier page"
    assert list(tmp_path.iterdir()) == [file]


def test_a_killed_run_leaves_the_earlier_page(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text("an earlier page")
    code = (
        "import os, signal, sys; sys.path[:0] = ['tests', 'tests/report']; import test_page\n"
        "os.fsync = lambda number: os.kill(os.getpid(), signal.SIGKILL)\n"
        "test_page.write_page(test_page.diagnosis(), test_page.TABLES, test_page.NOW, sys.argv[1])"
    )

    done = subprocess.run([sys.executable, "-c", code, str(file)], cwd=ROOT)

    assert done.returncode == -9
    assert file.read_text() == "an earlier page"

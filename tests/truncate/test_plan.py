"""What a removal means for the counts and the watermark; no engine is needed for that."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from kalshi_fills.truncate.names import backup_suffix, created_at, is_legacy, stamp_of
from kalshi_fills.truncate.plan import BEFORE, GARBAGE, Removed, TruncationReport
from kalshi_fills.truncate.removal import REPAIRED, REPEAT, VerdictCount

MARK = datetime(2026, 11, 22, 12, tzinfo=UTC)
EARLIER = MARK - timedelta(days=3, microseconds=1)


def verdict(reason: str, rows: int = 2, from_exchange: int = 2) -> VerdictCount:
    return VerdictCount(reason, rows, EARLIER, from_exchange)


@pytest.mark.parametrize(
    ("what", "verdicts", "watermark"),
    [
        (BEFORE, [verdict("older")], EARLIER.replace(microsecond=0)),
        (BEFORE, [verdict("older", from_exchange=1)], None),
        (BEFORE, [], MARK),
        (GARBAGE, [verdict("size_empty", from_exchange=0), verdict(REPEAT)], MARK),
        (GARBAGE, [verdict("size_empty", from_exchange=1)], None),
        (GARBAGE, [verdict(REPAIRED)], MARK),
    ],
)
def test_the_watermark_goes_back_to_what_only_the_exchange_can_bring_back(
    what: str, verdicts: list[VerdictCount], watermark: datetime | None
) -> None:
    report = TruncationReport(what, watermark_before=MARK)
    report.take(verdicts)
    assert report.watermark == watermark


def test_a_repaired_fill_is_not_removed() -> None:
    report = TruncationReport(GARBAGE, rows_before=9)
    report.take([verdict(REPAIRED, 3), verdict(REPEAT, 2), verdict("price_out_of_range", 1)])
    assert report.removed == [Removed(REPEAT, 2), Removed("price_out_of_range", 1)]
    assert (report.rows_removed, report.rows_repaired, report.rows_left) == (3, 3, 6)
    assert report.has_work


def test_names_of_backups_are_read_back() -> None:
    suffix = backup_suffix(stamp_of(MARK))
    assert suffix == "_backup_20261122T120000Z"
    assert created_at(suffix) == MARK
    for other in ("_backup_20261399T120000Z", "_backup_", f"{suffix}_old", "_legacy_" + suffix[8:]):
        assert created_at(other) is None
    assert is_legacy("_legacy_20261122T120000Z")
    assert is_legacy("_legacy_20261122T120000Z_unfinished")
    assert not is_legacy(suffix)

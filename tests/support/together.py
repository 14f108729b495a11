"""Items read as a page, held against each of them read by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from kalshi_fills.pipeline.batch import FLAGS, TERMS, Batch, make_shared
from kalshi_fills.pipeline.content import digest, key_hash
from kalshi_fills.pipeline.fills import Fill, Rejected, Stage
from kalshi_fills.pipeline.page import PageOutcome, read_page
from kalshi_fills.pipeline.parse import read_item
from kalshi_fills.pipeline.stages import Counts
from support.payloads import NOW


class Row(NamedTuple):
    """All that is known of one fill."""

    fill: Fill
    digest: int
    key_hash: int


def row_of(fill: Fill) -> Row:
    """Return what the reference makes of a fill."""
    return Row(fill, digest(fill.content), key_hash(*fill.key))


def rows_of(batch: Batch) -> list[Row]:
    """Return what the columns of a batch hold."""
    assert {len(column) for column in batch.columns} == {len(batch)}
    rows = list(map(Row, batch.fills(), batch.digest, batch.key_hash))
    for place, (fill, *_) in enumerate(rows):
        assert {type(text) for text in (*fill.content, *fill[1:])} == {str}
        for shared, names in ((batch.terms[place], TERMS), (batch.flags[place], FLAGS)):
            known = fill.content._asdict()
            assert shared == make_shared.__wrapped__(names, *(known[name] for name in names))
    return rows


def counts_of(outcomes: Iterable[Fill | Rejected]) -> Counts:
    """Return the counts of items that were read one by one."""
    fell = Counter(one.stage if isinstance(one, Rejected) else None for one in outcomes)
    n_api = fell.total()
    n_raw = n_api - fell[Stage.RAW]
    n_real = n_raw - fell[Stage.REAL]
    n_valid = n_real - fell[Stage.VALID]
    return Counts(
        n_api=n_api,
        n_raw=n_raw,
        n_real=n_real,
        n_valid=n_valid,
        n_gated=fell[None],
        n_rejected=n_api - fell[None],
    )


def read_together(items: list[str], source: str = "live") -> PageOutcome:
    """Return the outcome of a page, after each item was found to be what it is by itself."""
    counts = Counts()
    outcome = read_page(items, source, NOW, counts)
    alone = [read_item(text, source, NOW) for text in items]
    fills = Counter(row_of(one) for one in alone if isinstance(one, Fill))
    refused = Counter(one for one in alone if isinstance(one, Rejected))
    rows, rejected = Counter(rows_of(outcome.batch)), Counter(outcome.rejected)
    assert (rows - fills, fills - rows) == (Counter(), Counter())
    assert (rejected - refused, refused - rejected) == (Counter(), Counter())
    assert counts == counts_of(alone)
    return outcome

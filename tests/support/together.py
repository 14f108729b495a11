"""Items read as a page, held against each of them read by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from operator import attrgetter
from typing import NamedTuple

from kalshi_fills.pipeline.batch import FLAGS, TERMS, Batch
from kalshi_fills.pipeline.content import Content, content, digest, key_hash
from kalshi_fills.pipeline.fills import Fill, Rejected, Stage
from kalshi_fills.pipeline.page import PageOutcome, read_page
from kalshi_fills.pipeline.parse import read_item
from kalshi_fills.pipeline.stages import Counts
from support.payloads import NOW


class Row(NamedTuple):
    """All that is known of one fill."""

    fill: Fill
    types: tuple[type, ...]
    """Of its fields: True equals 1, and is another value."""
    executed_at: str
    content: Content
    digest: int
    key_hash: int


def row_of(fill: Fill) -> Row:
    """Return what the reference makes of a fill."""
    texts = content(fill)
    return Row(
        fill,
        tuple(map(type, fill)),
        repr(fill.executed_at),
        texts,
        digest(texts),
        key_hash(fill.key),
    )


def rows_of(batch: Batch) -> list[Row]:
    """Return what the columns of a batch hold."""
    columns = batch.columns
    assert {len(column) for column in columns} == {len(batch)}
    rows = []
    for place, fill in enumerate(batch.fills()):
        texts = Content(
            batch.ts[place],
            batch.fill_id[place],
            batch.exchange_order_id[place],
            batch.market_ticker[place],
            *attrgetter(*TERMS)(batch.terms[place].content),
            batch.size[place],
            batch.fee_dollars[place],
            *attrgetter(*FLAGS)(batch.flags[place].content),
        )
        types = tuple(map(type, fill))
        hashes = batch.digest[place], batch.key_hash[place]
        rows.append(Row(fill, types, repr(fill.executed_at), texts, *hashes))
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

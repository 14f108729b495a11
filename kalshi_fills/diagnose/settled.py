"""The check of settled markets, and the causes that their fills give evidence for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Final

from kalshi_fills.diagnose.causes import Cause
from kalshi_fills.diagnose.checks import FAIL, PASS, SKIP, SYNC, Check
from kalshi_fills.diagnose.removal import quoted, start_over_or_delete
from kalshi_fills.words import many, one_or_more

if TYPE_CHECKING:
    from kalshi_fills.pipeline.fills import FillKey
    from kalshi_fills.reconcile.settled import Evidence, SettledMarkets
    from kalshi_fills.warehouse.statements import Tables

SETTLED: Final = "settled_markets_match"

_EXPECTED: Final = "all fills of a settled market add up to its settlement: contracts, and fees"


def check_settled(settled: SettledMarkets, tables: Tables) -> Check:
    """Check that the fills of each settled market are those that the exchange settled."""
    observed = "; ".join(_counts(settled))
    if settled.differing:
        causes = list(settled_causes(settled, tables))
        these = one_or_more(settled.differing, "this market", "these markets")
        return Check(
            SETTLED,
            FAIL,
            observed,
            _EXPECTED,
            f"The table does not hold exactly the fills that the exchange settled in {these}, "
            "however old they are.",
            causes[0].next if causes else "",
        )
    if settled.skipped:
        return Check(
            SETTLED, SKIP, "nothing compared", _EXPECTED, f"{_sentence(settled.skipped)}.", ""
        )
    source = "the exchange's list" if settled.from_exchange else "what sync stored of it"
    return Check(
        SETTLED,
        PASS,
        observed,
        _EXPECTED,
        f"Every fill of these markets is there, by {source}.",
        "",
    )


def settled_causes(settled: SettledMarkets, tables: Tables) -> Iterator[Cause]:
    """Yield the causes there is evidence for, the worst first."""
    evidence = settled.evidence
    repeated = _keys(one.repeated for one in evidence)
    foreign = [key for key in _keys(one.foreign for one in evidence) if key not in repeated]
    if foreign:
        yield Cause(
            "non_fills_written_as_fills",
            "Something writes rows that are no fills into the table: orders, quotes, or whatever "
            "the endpoint returned.",
            [f"{_rows(foreign)} of settled markets that the exchange did not settle"],
            start_over_or_delete(tables, [*repeated, *foreign]),
        )
    if repeated:
        yield Cause(
            "same_fills_inserted_again",
            "Fills were inserted again under another id, which no sort key can tell from fills of "
            "their own: the exchange settled each once.",
            [f"{_rows(repeated)}, such as {quoted(repeated[0].fill_id)}"],
            start_over_or_delete(tables, [*repeated, *foreign]),
        )
    missing = [one for one in evidence if _lacks_fills(one)]
    if missing:
        known = sum(one.missing for one in missing)
        count = f"{many(known, 'fill')} of " if known else "fills of "
        yield Cause(
            "fills_missing",
            "Fills that a finished sync should have stored are missing: they were removed, or the "
            "exchange listed them late.",
            [f"{count}settled markets: {_names(missing)}"],
            _sync_of(missing),
        )
    altered = [one for one in evidence if one.altered]
    if altered:
        rows = _keys(one.altered for one in altered)
        yield Cause(
            "rows_altered",
            "Fills in the table have another content than at the exchange: somebody changed rows. "
            "A sync of the range corrects them.",
            [f"{_rows(rows)} of settled markets: {_names(altered)}"],
            _sync_of(altered),
        )
    withdrawn = _keys(one.withdrawn for one in evidence)
    if withdrawn:
        yield Cause(
            "exchange_withdrew_fills",
            "The exchange neither lists nor settled fills that a sync stored: busted trades.",
            [f"{_rows(withdrawn)} of settled markets"],
            start_over_or_delete(tables, withdrawn),
        )


def _lacks_fills(one: Evidence) -> bool:
    explained = one.altered or one.foreign or one.withdrawn or one.not_of_fills
    return bool(one.missing) or (one.lacks_contracts and not explained)


def _counts(settled: SettledMarkets) -> Iterator[str]:
    agreeing, differing = settled.agreeing, settled.differing
    if agreeing or not differing:
        yield f"{many(agreeing, 'settled market')} {one_or_more(agreeing, 'agrees', 'agree')}"
    if differing:
        ticker = settled.breaks[0].market_ticker
        count = f"{differing:,}" if agreeing else many(differing, "settled market")
        yield f"{count} {one_or_more(differing, 'differs:', 'differ, such as')} {ticker}"
    if settled.explained:
        differ = one_or_more(settled.explained, "differs", "differ")
        yield f"{settled.explained:,} {differ} by fills that are named"
    if settled.pending:
        yield f"{settled.pending:,} pending"


def _sync_of(evidence: list[Evidence]) -> str:
    """Return the sync that reads all fills of these markets again."""
    firsts: list[datetime] = [one.first_fill for one in evidence if one.first_fill is not None]
    if len(firsts) < len(evidence) or not firsts:
        return f"{SYNC} --full"
    return f"{SYNC} --since {min(firsts):%Y-%m-%d}"


def _names(evidence: list[Evidence]) -> str:
    names = [one.market.ticker for one in evidence]
    return ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")


def _keys(parts: Iterator[tuple[FillKey, ...]]) -> list[FillKey]:
    return list(dict.fromkeys(key for part in parts for key in part))


def _rows(keys: list[FillKey]) -> str:
    return many(len(keys), "row")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]

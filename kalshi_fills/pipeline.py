"""The stages of one pass, in memory: items in, fills and refusals out, nothing lost.

    api -> raw -> real -> valid -> gated -> inserted

    n_api = n_inserted + n_known + n_duplicate + n_rejected
    n_inserted = n_new + n_corrected

Pure: no HTTP, no SQL, no clock. What a pass must remember of every fill is a few bytes (`Seen`),
so that memory does not grow with the account. "The same content" is decided here, on a list of
texts that the table computes alike (`queries/sync/content_texts.sql`).
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Final, NamedTuple

import xxhash

from kalshi_fills.alike import read_items
from kalshi_fills.errors import CountsError
from kalshi_fills.fills import (
    EXPECTED_KEYS,
    KNOWN_KEYS,
    STAGE_OF,
    Fill,
    FillKey,
    JsonValue,
    Reason,
    Rejected,
    Stage,
    book_side,
    side_price_dollars,
)

CONTENT_FIELDS: Final = (
    "ts",
    "fill_id",
    "exchange_order_id",
    "market_ticker",
    "side",
    "action",
    "outcome_side",
    "book_side",
    "price_cents",
    "yes_price_dollars",
    "no_price_dollars",
    "size",
    "fee_dollars",
    "is_taker",
    "subaccount_number",
    "exchange_index",
    "direction_inferred",
)
"""The columns whose equality makes two rows the same fill with the same content, in order."""

_TIME: Final = CONTENT_FIELDS.index("ts")
_INFERRED: Final = CONTENT_FIELDS.index("direction_inferred")
_WHOLE_SECOND: Final = ".000000"
_SECOND_LETTERS: Final = len("2026-11-20 14:31:09")
_HOUR: Final = timedelta(hours=1)
_MASK_64: Final = (1 << 64) - 1

Content = tuple[str, ...]
"""A fill's content as texts, one for each of CONTENT_FIELDS; empty where not known."""


@dataclass(slots=True)
class Counts:
    """How many items reached which stage; see the module for the identity."""

    n_api: int = 0
    n_raw: int = 0
    n_real: int = 0
    n_valid: int = 0
    n_gated: int = 0
    n_new: int = 0
    n_corrected: int = 0
    n_known: int = 0
    n_duplicate: int = 0
    n_rejected: int = 0

    @property
    def n_inserted(self) -> int:
        """Rows written, as new or as a correction."""
        return self.n_new + self.n_corrected

    def as_dict(self) -> dict[str, int]:
        """Give every count by name, `n_inserted` last."""
        own = {entry.name: int(getattr(self, entry.name)) for entry in fields(self)}
        return {**own, "n_inserted": self.n_inserted}

    def rates(self) -> dict[str, str]:
        """Give the pass rates as operators grep for them, such as `100.0%`."""
        return {
            "predicate_pass_rate": percent(self.n_real, self.n_api),
            "validation_pass_rate": percent(self.n_valid, self.n_real),
            "gate_pass_rate": percent(self.n_gated, self.n_valid),
        }

    def check(self) -> None:
        """Hold the identity.

        Raises:
            CountsError: an item went in and did not come out.
        """
        out = self.n_inserted + self.n_known + self.n_duplicate + self.n_rejected
        if self.n_api != out:
            raise CountsError(
                f"the counts do not add up: {self.n_api} items came from the exchange, "
                f"{out} are accounted for",
                hint="nothing is recorded as done; report this with the run's log line",
            )


def percent(part: int, whole: int) -> str:
    """Give a share as `99.9%`; of nothing, all passed. Only a full share reads 100.0%."""
    if part == whole:
        return "100.0%"
    return f"{min(part / whole * 100, 99.9):.1f}%"


@dataclass(frozen=True, slots=True)
class RefusedGroup:
    """Refused items of one stage and reason."""

    stage: Stage
    reason: Reason
    count: int
    keys: list[str]
    """Keys the items had, sorted; the first 100 kinds."""


class Drift(NamedTuple):
    """How refused items that claim to be fills differ from what fills look like."""

    new_keys: list[str]
    """Keys they have that no fill ever had."""
    missing_keys: list[str]
    """Keys every fill of today has and they lack."""


@dataclass(slots=True)
class Refusals:
    """What was refused in a pass, summed up by reason; memory is bounded by the reasons."""

    _groups: dict[Reason, tuple[int, set[str]]] = field(default_factory=dict)
    _claiming_keys: set[str] = field(default_factory=set)
    _lacking_keys: set[str] = field(default_factory=set)

    def add(self, rejected: Rejected) -> None:
        """Count one refusal."""
        count, keys = self._groups.get(rejected.reason, (0, set()))
        if len(keys) < 100:
            keys.update(rejected.keys)
        self._groups[rejected.reason] = (count + 1, keys)
        if rejected.claims_fill and len(self._claiming_keys) < 100:
            self._claiming_keys.update(rejected.keys)
            self._lacking_keys.update(EXPECTED_KEYS.difference(rejected.keys))

    def groups(self) -> list[RefusedGroup]:
        """Give one group for each reason, in the order of the stages."""
        order = list(Reason)
        return [
            RefusedGroup(STAGE_OF[reason], reason, count, sorted(keys)[:100])
            for reason, (count, keys) in sorted(
                self._groups.items(), key=lambda entry: order.index(entry[0])
            )
        ]

    def drift(self) -> Drift:
        """Say how refused items that claim to be fills differ from fills."""
        return Drift(sorted(self._claiming_keys - KNOWN_KEYS), sorted(self._lacking_keys))


class Sorted(NamedTuple):
    """What a batch of items came to."""

    fills: list[Fill]
    """Fills, in the order they came; the same one may be there twice."""
    rejected: list[Rejected]


def sort_items(
    items: Iterable[tuple[JsonValue, str]], source: str, now: datetime, counts: Counts
) -> Sorted:
    """Take items through the stages raw to gated, and count them.

    Args:
        items: decoded items, each with the text it came as.
        source: the tier they came from.
        now: the clock for event-time gates.
        counts: is added to.
    """
    kept: list[Fill] = []
    rejected: list[Rejected] = []
    for outcome in read_items(items, source, now):
        if isinstance(outcome, Fill):
            kept.append(outcome)
        else:
            rejected.append(outcome)
    passed = len(kept)
    fell = dict.fromkeys(Stage, 0)
    for refusal in rejected:
        fell[refusal.stage] += 1
    counts.n_gated += passed
    counts.n_valid += passed + fell[Stage.GATED]
    counts.n_real += passed + fell[Stage.GATED] + fell[Stage.VALID]
    counts.n_raw += passed + len(rejected) - fell[Stage.RAW]
    counts.n_api += passed + len(rejected)
    counts.n_rejected += len(rejected)
    return Sorted(kept, rejected)


def content(fill: Fill) -> Content:
    """Give a fill's content as texts, as `queries/sync/content_texts.sql` gives a row's."""
    return contents([fill])[0]


def contents(fills: Sequence[Fill]) -> list[Content]:
    """Give the contents of fills, in their order; together they take half as long."""
    if not fills:
        return []
    sent = dict(zip(Fill._fields, zip(*fills, strict=True), strict=True))
    outcome = sent["outcome"]
    texts = (
        [_time_text(moment) for moment in sent["executed_at"]],
        sent["fill_id"],
        sent["order_id"],
        sent["ticker"],
        outcome,
        sent["action"],
        outcome,
        map(book_side, outcome),
        [_cents_text(side_price_dollars(fill)) for fill in fills],
        map(_dollars_text, sent["yes_price_dollars"]),
        map(_dollars_text, sent["no_price_dollars"]),
        map(_contracts_text, sent["contracts"]),
        map(_fee_text, sent["fee_dollars"]),
        map(_FLAG_TEXTS.__getitem__, sent["is_taker"]),
        map(_small_text, sent["subaccount_number"]),
        map(_small_text, sent["exchange_index"]),
        map(_FLAG_TEXTS.__getitem__, sent["direction_inferred"]),
    )
    return list(zip(*texts, strict=True))


_FLAG_TEXTS: Final = {None: "", True: "true", False: "false"}


def _time_text(moment: datetime) -> str:
    return moment.isoformat(" ", "microseconds")[:26]


def time_of(texts: Sequence[str]) -> datetime:
    """Return the event time of a content, aware UTC."""
    return datetime.fromisoformat(texts[_TIME]).replace(tzinfo=UTC)


def _is_cut_to_second(text: str, other: str) -> bool:
    """Return whether a time is another one without its fraction: `ts` beside `created_time`."""
    return (
        text != other
        and text.endswith(_WHOLE_SECOND)
        and text[:_SECOND_LETTERS] == other[:_SECOND_LETTERS]
    )


@lru_cache(1 << 14)
def _cents_text(dollars: Decimal) -> str:
    return f"{dollars * 100:.4f}"


@lru_cache(1 << 14)
def _dollars_text(dollars: Decimal) -> str:
    return f"{dollars:.6f}"


@lru_cache(1 << 14)
def _contracts_text(contracts: Decimal) -> str:
    return f"{contracts:.2f}"


@lru_cache(1 << 14)
def _fee_text(dollars: Decimal | None) -> str:
    return "" if dollars is None else f"{dollars:.6f}"


@lru_cache
def _small_text(number: int | None) -> str:
    return "" if number is None else str(number)


def digest(texts: Content) -> int:
    """Give 64 bits of a content, equal to the table's own digest of the same row."""
    # Side and prices are few, and what follows the fee is fewer: their texts are joined once.
    joined = (
        f"{_counted(texts[:4])}{_counted_before(texts[4:11])}"
        f"{_counted(texts[11:13])}{_counted_before(texts[13:])}"
    )
    return xxhash.xxh64_intdigest(joined.encode())


def _counted(texts: Sequence[str]) -> str:
    joined = "".join([f"{len(text)}:{text}" for text in texts])
    if not joined.isascii():  # the table counts bytes
        joined = "".join([f"{len(text.encode())}:{text}" for text in texts])
    return joined


_counted_before = lru_cache(1 << 12)(_counted)


def key_hash(key: FillKey) -> int:
    """Give 64 bits of a fill's identity."""
    return xxhash.xxh64_intdigest(f"{len(key.fill_id)}:{key.fill_id}{key.order_id}".encode())


class Difference(NamedTuple):
    """One field in which a stored row and the exchange disagree."""

    field: str
    stored: str
    sent: str


def differences(stored: Sequence[str], sent: Content) -> list[Difference]:
    """Return the fields in which the exchange contradicts, or knows more than, a stored row.

    A field that the exchange left out this time (an archived row lacks the newer ones) is no
    difference; nor is a direction that had to be inferred and is the same as the confirmed one,
    nor a time of whole seconds beside a finer one of the same second.
    """
    found = []
    for index, (name, before, now) in enumerate(zip(CONTENT_FIELDS, stored, sent, strict=True)):
        if before == now or now == "":
            continue
        if index == _INFERRED and now == "true":
            continue
        if index == _TIME and _is_cut_to_second(now, before):
            continue
        found.append(Difference(name, before, now))
    return found


def contradictions(stored: Sequence[str], sent: Content) -> list[Difference]:
    """Return the differences in fields that both sides know as finely, and disagree on."""
    return [
        found
        for found in differences(stored, sent)
        if found.stored != ""
        and found.field != CONTENT_FIELDS[_INFERRED]
        and not (found.field == CONTENT_FIELDS[_TIME] and _is_cut_to_second(found[1], found[2]))
    ]


def prefer(one: Fill, other: Fill) -> Fill:
    """Return the one of two reports of the same fill that knows more.

    Of two that know as much, the choice depends on their contents only, never on who came first.
    """

    def rank(fill: Fill) -> tuple[int, bool, bool, Content]:
        texts = content(fill)
        known = sum(map(bool, texts))
        return (known, not fill.direction_inferred, fill.executed_at.microsecond > 0, texts)

    return max(one, other, key=rank)


def merge(one: Fill, other: Fill) -> Fill:
    """Return the preferred one of two reports of the same fill, completed from the other."""
    chosen = prefer(one, other)
    return completed(chosen, content(other if chosen is one else one))


def completed(fill: Fill, stored: Sequence[str]) -> Fill:
    """Return the fill with what it leaves out filled in from a stored row of the same fill."""
    known = dict(zip(CONTENT_FIELDS, stored, strict=True))
    filled = fill
    if _is_cut_to_second(_time_text(fill.executed_at), known["ts"]):
        filled = filled._replace(executed_at=time_of(stored))
    if not fill.action and known["action"]:
        filled = filled._replace(action=known["action"])
    if fill.fee_dollars is None and known["fee_dollars"]:
        filled = filled._replace(fee_dollars=Decimal(known["fee_dollars"]))
    if fill.is_taker is None and known["is_taker"]:
        filled = filled._replace(is_taker=known["is_taker"] == "true")
    if fill.subaccount_number is None and known["subaccount_number"]:
        filled = filled._replace(subaccount_number=int(known["subaccount_number"]))
    if fill.exchange_index is None and known["exchange_index"]:
        filled = filled._replace(exchange_index=int(known["exchange_index"]))
    if (
        fill.direction_inferred
        and known["side"] == fill.outcome
        and known["direction_inferred"] == "false"
        and known["book_side"]
    ):
        filled = filled._replace(direction_inferred=False)
    return filled


@dataclass(slots=True)
class HourDigest:
    """Count and content of the fills of one hour, summed."""

    fills: int = 0
    digest_sum: int = 0
    """Sum of the digests modulo 2^64, as the table sums them."""


class Expected:
    """What the table must hold for the window, hour by hour: a few bytes an hour."""

    def __init__(self) -> None:
        self._hours: dict[datetime, HourDigest] = {}
        self._last_hour: tuple[datetime, HourDigest] | None = None

    def add(self, executed_at: datetime, content_digest: int) -> None:
        """Expect one fill."""
        last = self._last_hour  # fills come by time: mostly it is the hour of the one before
        if last is None or not last[0] <= executed_at < last[0] + _HOUR:
            start = executed_at.replace(minute=0, second=0, microsecond=0)
            last = self._last_hour = (start, self._hours.setdefault(start, HourDigest()))
        hour = last[1]
        hour.fills += 1
        hour.digest_sum = (hour.digest_sum + content_digest) & _MASK_64

    def remove(self, executed_at: datetime, content_digest: int) -> None:
        """Expect a fill no longer that was expected before, with this time and content."""
        start = executed_at.replace(minute=0, second=0, microsecond=0)
        hour = self._hours.setdefault(start, HourDigest())
        hour.fills -= 1
        hour.digest_sum = (hour.digest_sum - content_digest) & _MASK_64

    @property
    def hours(self) -> Mapping[datetime, HourDigest]:
        """The hours in which a fill is expected."""
        return self._hours


class Seen:
    """The fills a pass has met: 64 bits of each identity and 32 of its content.

    Sorted arrays by the first bits of the identity, short enough that to insert into one moves
    little: about 13 bytes a fill, where a set of numbers would take a hundred.
    """

    _SHARD_BITS: Final = 12

    def __init__(self) -> None:
        shards = range(1 << self._SHARD_BITS)
        self._keys = [array("Q") for _ in shards]
        self._marks = [array("I") for _ in shards]

    def __len__(self) -> int:
        return sum(map(len, self._keys))

    def put(self, key: int, content_digest: int) -> int | None:
        """Remember a fill; give the content's 32 bits remembered before, None if it is new."""
        shard = key >> 64 - self._SHARD_BITS
        keys = self._keys[shard]
        place = bisect_left(keys, key)
        if place < len(keys) and keys[place] == key:
            return self._marks[shard][place]
        keys.insert(place, key)
        self._marks[shard].insert(place, content_digest & 0xFFFFFFFF)
        return None

    def __contains__(self, key: int) -> bool:
        keys = self._keys[key >> 64 - self._SHARD_BITS]
        place = bisect_left(keys, key)
        return place < len(keys) and keys[place] == key

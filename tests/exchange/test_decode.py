"""Listings are decoded exactly, and junk is never more than an error of the exchange."""

from __future__ import annotations

import contextlib
import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import responses
from hypothesis import given, settings
from hypothesis import strategies as st
from support.wire import QUICK, Answer, Connect, Wired, walked

from kalshi_fills.errors import ExchangeError
from kalshi_fills.exchange.decode import decode_listing
from kalshi_fills.exchange.endpoints import Exchange
from kalshi_fills.exchange.repeats import second_of
from kalshi_fills.pipeline.page import read_page
from kalshi_fills.pipeline.stages import Counts
from kalshi_fills.pipeline.values import json_decoder


def test_items_keep_their_own_text_and_their_exact_numbers() -> None:
    text = (
        ' { "more" : {"fills": [1]} , "fills" : [ {"price": 0.10, "n": 1e-2} , NaN,\n'
        '"\\u00e9 ]", [1.50], 123456789012345678901234567890123 ], "cursor" : "next" } \n'
    )
    items, cursor = decode_listing(text, "fills")
    assert cursor == "next"
    assert items == [
        '{"price": 0.10, "n": 1e-2}',
        "NaN",
        '"\\u00e9 ]"',
        "[1.50]",
        "123456789012345678901234567890123",
    ]
    values = list(map(json_decoder.decode, items))
    assert values[0] == {"price": Decimal("0.10"), "n": Decimal("0.01")}
    assert str(values[0]["price"]) == "0.10"  # type: ignore[index]
    assert isinstance(values[1], Decimal)
    assert values[1].is_nan()
    assert values[2] == "\u00e9 ]"
    assert values[4] == 123456789012345678901234567890123


@pytest.mark.parametrize("gap", ["", " ", "\n"])
def test_items_are_texts_of_their_own_however_the_list_is_spaced(gap: str) -> None:
    texts = [
        '{"price":0.10,"n":1e-2}',
        '{"a":[{"b":1.50}],"c":-0.0}',
        '{"s":"},{"}',
        '{"s":"}]","t":123456789012345678901234567890123}',
    ]
    for listed in (texts, texts[:1], texts[:2], texts[2:]):
        body = f'{{"cursor":"next","fills":[{gap}{f",{gap}".join(listed)}{gap}],"more":[0.1]}}'
        items, cursor = decode_listing(body, "fills")
        assert cursor == "next"
        assert items == listed


@pytest.mark.parametrize("text", ["[]", " [ ] ", '{"fills":[]}', '{"cursor":"","fills":null}'])
def test_nothing_is_an_empty_listing(text: str) -> None:
    assert decode_listing(text, "fills") == ([], "")


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "null", "5", '"fills"', "{", "[", "{}", "[1", "[1,", "[1,]", "[1 2]", "[]x"),
        *('{"fills"}', '{"fills":}', '{"fills":[}', '{"fills":[]', '{"fills":[],', "{fills:[]}"),
        *('{"fills":5}', '{"fills":"x"}', '{"fills":{}}', '{"cursor":""}', "{1:[]}", "{,}"),
        *('{"fills":[],"cursor":5}', '{"fills":[],"cursor":["x"]}', '{"fills":[]}{}', "\ufeff[]"),
        *(
            '{"fills":[NaN],}',
            '{"fills":[1] [NaN]}',
            '{"fills":[NaN],5:1}',
            '{"fills":[NaN],"a" 1}',
            '{"fills":[NaN,01],"fills":[]}',
            '{"fills":,"fills":[NaN]}',
            '{"x":01,"x":NaN,"fills":[]}',
        ),
        *("<html>", "[01]", "[+1]", "['a']", '["\n"]', '["\\x"]', "[tru]"),
    ],
)
def test_what_is_no_listing_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # the decoder's own text is nobody's promise
        decode_listing(text, "fills")


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    ['{"fills":["' + '\\"' * 200_000, '[NaN,"' + '\\"x' * 200_000],
    ids=["an object", "a list"],
)
def test_a_long_text_that_is_cut_short_is_refused_at_once(text: str) -> None:
    with pytest.raises(ValueError, match="without an end"):
        decode_listing(text, "fills")


words = st.text(max_size=6) | st.sampled_from(["},{", "}]", '"fills":[{', '\\"', "} ,", "fills"])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=10,
)


objects = st.dictionaries(words, json_values, max_size=4)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(objects, max_size=6) | st.lists(json_values, max_size=6),
    st.text(max_size=8),
    st.dictionaries(words.filter(lambda key: key not in ("fills", "cursor")), json_values),
    st.sampled_from([None, 1, "\t"]),
    st.sampled_from([(",", ":"), (", ", ": "), (",\n", " :")]),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_any_listing_is_read_as_it_was_written(
    items: list[Any],
    cursor: str,
    more: dict[str, Any],
    indent: Any,
    separators: tuple[str, str],
    ascii_only: bool,
    rng: Any,
) -> None:
    entries = [("fills", items), ("cursor", cursor), *more.items()]
    rng.shuffle(entries)
    text = json.dumps(dict(entries), indent=indent, separators=separators, ensure_ascii=ascii_only)
    got, following = decode_listing(text, "fills")
    assert list(map(json.loads, got)) == items
    assert all(item in text for item in got)
    assert following == cursor


@pytest.mark.parametrize(
    "text",
    [
        '{"a":{"fills":[{"x":9}]},"fills":[{"x":1},{"x":2}],"cursor":""}',
        '{"a":{"fills":[{"x":1},5]},"fills":[ {"x":1},{"x":2}],"cursor":""}',
        '{"fills":[{"x":9},5],"fills":[{"x":1},{"x":2}],"cursor":""}',
        '{"fills":[{"x":1},{"x":2}],"cursor":"","a":[{"fills":[{"x":9}]}]}',
        '{"cursor":"}]","fills":[{"x":1},{"x":2}],"cursor":""}',
        '{"fills":[{"x":1} , {"x":2}],"cursor":""}',
    ],
)
def test_only_the_outermost_list_of_that_name_counts_and_the_last_of_them(text: str) -> None:
    items, cursor = decode_listing(text, "fills")
    assert items == ['{"x":1}', '{"x":2}']
    assert cursor == ""


@pytest.mark.parametrize("depth", [10, 900, 990, 1_000, 2_000, 200_000])
@pytest.mark.parametrize("opening", ["[", '{"]}\\"":'])
def test_an_item_nested_too_deep_costs_no_other_item(depth: int, opening: str) -> None:
    closing = "]" if opening == "[" else "}"
    deep = opening * depth + "1" + closing * depth
    for before in ("", '{"note":1},'):
        text = f'{{"fills":[{before}{deep}, {{"x":2}}],"cursor":"c"}}'
        items, cursor = decode_listing(text, "fills")
        assert items[-2:] == [deep, '{"x":2}']
        assert cursor == "c"
        assert decode_listing(text[text.index("[") : -len(',"cursor":"c"}')], "fills")[0] == items
    assert second_of(deep) is None
    assert second_of(f'{{"a":{deep},"created_time":"2026-11-20T14:31:09Z"}}') in (None, 1795185069)
    counts = Counts()
    outcome = read_page([deep, f'{{"fill_id":{deep}}}'], "live", datetime.now(UTC), counts)
    assert len(outcome.rejected) == counts.n_api == 2


@settings(max_examples=300, deadline=None)
@given(st.text('[]{}":, 0123456789.eE-ntrufalsNIy\\\n\u00e9', max_size=30))
def test_a_text_that_is_json_by_accident_is_read_and_any_other_is_a_value_error(text: str) -> None:
    for body in (text, f'{{"fills":[{text}]}}', f'{{"fills":[],"cursor":{text}}}'):
        with contextlib.suppress(ValueError):
            items, cursor = decode_listing(body, "fills")
            assert isinstance(cursor, str)
            assert all(item in body for item in items)


BODY = st.binary(max_size=60) | st.text(max_size=60).map(str.encode)


@settings(max_examples=60, deadline=None)
@given(BODY, st.sampled_from([200, 201, 204, 301, 400, 401, 403, 404, 418, 429, 500, 503]))
def test_junk_never_raises_anything_but_an_exchange_error(body: bytes, status: int) -> None:
    with responses.RequestsMock() as mock:
        mock.add(responses.GET, re.compile("http://127.0.0.1:1/"), body=body, status=status)
        exchange = Exchange("http://127.0.0.1:1/trade-api/v2", None, retry=QUICK)
        for act in (
            lambda: walked(exchange),
            exchange.as_of,
            exchange.cutoff,
            exchange.learn_limits,
        ):
            with contextlib.suppress(ExchangeError):
                act()
        exchange.close()


@pytest.mark.parametrize(
    "body",
    [
        b'{"fills":[{"price":1e999999999999999999999}],"cursor":""}',
        b'{"fills":[1],"cursor":"\\ud800"}',
        b'{"fills":[' + b"9" * 100_000 + b'],"cursor":""}',
        b'{"fills":[' + b"[" * 100_000,
        b'{"fills":[],"cursor":"' + b"x" * 100_000 + b'"}',
        b'{"fills":["\\ud800"],"cursor":""}',
    ],
    ids=["exponent", "half a character", "digits", "nested", "long cursor", "half an item"],
)
def test_hostile_json_never_raises_anything_but_an_exchange_error(
    body: bytes, wire: Wired, connect: Connect
) -> None:
    with contextlib.suppress(ExchangeError):
        walked(connect(wire(Answer(body))))


@responses.activate
def test_the_tool_names_itself_and_asks_for_json() -> None:
    responses.get(
        "http://127.0.0.1:1/trade-api/v2/portfolio/fills", json={"fills": [], "cursor": ""}
    )
    exchange = Exchange("http://127.0.0.1:1/trade-api/v2", None)
    assert walked(exchange) == []
    exchange.close()
    headers = responses.calls[0].request.headers
    assert headers["User-Agent"].startswith("kalshi-fills/")
    assert headers["Accept"] == "application/json"

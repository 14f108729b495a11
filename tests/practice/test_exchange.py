"""The practice exchange over its socket."""

import base64
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import requests
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from support.practising import NOW, WEEK_AGO

from kalshi_fills.practice.account import (
    generate_account,
)
from kalshi_fills.practice.exchange import Limits, PracticeExchange
from kalshi_fills.practice.faults import Faults
from kalshi_fills.practice.ledger import rfc3339, to_us

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


ED_KEY = ed25519.Ed25519PrivateKey.generate()


KEYS = {"rsa": RSA_KEY.public_key(), "ed": ED_KEY.public_key()}


def signed(path, key_id="ed", *, at=None, method="GET"):
    stamp = str(round((time.time() if at is None else at) * 1000))
    text = f"{stamp}{method}/trade-api/v2{path}".encode()
    if key_id == "ed":
        signature = ED_KEY.sign(text)
    else:
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
        signature = RSA_KEY.sign(text, pss, hashes.SHA256())
    return {
        "KALSHI-ACCESS-KEY": key_id,
        "KALSHI-ACCESS-TIMESTAMP": stamp,
        "KALSHI-ACCESS-SIGNATURE": base64.b64encode(signature).decode(),
    }


class Client:
    """Asks one exchange over one session."""

    def __init__(self, exchange, session):
        self.exchange = exchange
        self.session = session

    def get(self, path, **parameters):
        return self.session.get(
            self.exchange.url + path, params=parameters, headers=signed(path), timeout=10
        )

    def walk(self, path, *, pages=1000, key="fills", between=lambda: None, **parameters):
        """Yield every item; retry whatever is no good page, as often as it takes."""
        cursor = ""
        for _ in range(pages):
            asked = {**parameters, **({"cursor": cursor} if cursor else {})}
            try:
                body = self.get(path, **asked).json()
                items, cursor = body[key], body["cursor"]
            except (requests.RequestException, KeyError, TypeError):
                continue
            yield from items
            if not cursor:
                return
            between()
        raise AssertionError("the walk does not end")


@pytest.fixture
def serve():
    """Start exchanges and give clients of them; all end with the test."""
    with ExitStack() as stack:

        def start(account, **options):
            exchange = stack.enter_context(PracticeExchange(account=account, keys=KEYS, **options))
            return Client(exchange, stack.enter_context(requests.Session()))

        yield start


def ids(items):
    return [item["fill_id"] for item in items]


def own_ids(account):
    return [fill.fill_id for fill in account.fills]


def refusal(client, headers):
    answer = requests.get(client.exchange.url + "/portfolio/fills", headers=headers, timeout=10)
    return answer.status_code, answer.json()["error"]


# Signatures


@pytest.mark.parametrize("key_id", ["rsa", "ed"])
def test_both_kinds_of_key_open(serve, small, key_id):
    client = serve(small)
    headers = signed("/portfolio/fills", key_id)
    answer = requests.get(client.exchange.url + "/portfolio/fills", headers=headers, timeout=10)
    assert answer.status_code == 200


@pytest.mark.parametrize("key_id", ["rsa", "ed"])
def test_a_wrong_signature_is_refused(serve, small, key_id):
    client = serve(small)
    expected = (
        401,
        {
            "code": "authentication_error",
            "message": "authentication_error",
            "details": "INCORRECT_API_KEY_SIGNATURE",
        },
    )
    assert refusal(client, signed("/portfolio/orders", key_id)) == expected
    assert refusal(client, signed("/portfolio/fills?limit=5", key_id)) == expected
    garbage = signed("/portfolio/fills", key_id) | {"KALSHI-ACCESS-SIGNATURE": "no base64"}
    assert refusal(client, garbage) == expected


def test_an_rsa_signature_without_pss_is_refused(serve, small):
    headers = signed("/portfolio/fills", "rsa")
    text = f"{headers['KALSHI-ACCESS-TIMESTAMP']}GET/trade-api/v2/portfolio/fills".encode()
    signature = RSA_KEY.sign(text, padding.PKCS1v15(), hashes.SHA256())
    headers["KALSHI-ACCESS-SIGNATURE"] = base64.b64encode(signature).decode()
    assert refusal(serve(small), headers)[0] == 401


def test_an_unknown_key_and_missing_headers_are_refused(serve, small):
    client = serve(small)
    status, error = refusal(client, signed("/portfolio/fills") | {"KALSHI-ACCESS-KEY": "other"})
    assert (status, error["details"]) == (401, "NOT_FOUND")
    expected = {
        "code": "signature_is_missing_from_headers",
        "message": "signature is missing from headers",
    }
    assert refusal(client, {}) == (401, expected)


@pytest.mark.parametrize(("seconds", "status"), [(-9, 200), (9, 200), (-12, 401), (12, 401)])
def test_timestamps_more_than_ten_seconds_off_are_refused(serve, small, seconds, status):
    clock = NOW.timestamp()
    client = serve(small, clock=lambda: clock)
    headers = signed("/portfolio/fills", at=clock + seconds)
    answer = requests.get(client.exchange.url + "/portfolio/fills", headers=headers, timeout=10)
    assert answer.status_code == status
    if status == 401:
        assert answer.json()["error"]["code"] == "header_timestamp_expired"


def test_public_endpoints_need_no_signature(serve, small):
    client = serve(small, cutoff=datetime(2026, 9, 23, tzinfo=UTC))
    bodies = {
        path: requests.get(client.exchange.url + path, timeout=10).json()
        for path in ("/historical/cutoff", "/account/endpoint_costs", "/exchange/status")
    }
    assert bodies["/historical/cutoff"]["trades_created_ts"] == "2026-09-23T00:00:00Z"
    assert bodies["/account/endpoint_costs"]["default_cost"] == 10
    assert bodies["/exchange/status"]["exchange_active"] is True


# Pages


@pytest.mark.parametrize("limit", [1, 7, 60, 1000])
def test_a_walk_gives_every_fill_once_newest_first(serve, small, limit):
    client = serve(small)
    items = list(client.walk("/portfolio/fills", limit=limit))
    assert items == [fill.payload("current") for fill in small.fills]
    assert client.exchange.served_items == 60
    assert client.exchange.requests["/portfolio/fills"] == -(-60 // limit)


def test_the_tiers_share_the_account_without_overlap(serve, account):
    cutoff = NOW - timedelta(days=3)
    client = serve(account, cutoff=cutoff)
    live = ids(client.walk("/portfolio/fills", limit=500))
    archived = ids(client.walk("/historical/fills", limit=500))
    assert live + archived == own_ids(account)
    assert len(live) == sum(fill.executed_at_us >= to_us(cutoff) for fill in account.fills)
    assert 0 < len(live) < len(account.fills)


def test_the_cutoff_can_move(serve, small):
    client = serve(small)
    assert list(client.walk("/historical/fills")) == []
    client.exchange.set_cutoff(NOW)
    assert list(client.walk("/portfolio/fills")) == []
    assert ids(client.walk("/historical/fills")) == own_ids(small)


def test_a_bad_cursor_answers_the_first_page(serve, small):
    client = serve(small)
    first = client.get("/portfolio/fills", limit=5).json()
    for garbage in ("garbage", "W10", "MTIz", "%%%", "ü"):
        assert client.get("/portfolio/fills", limit=5, cursor=garbage).json() == first


def test_new_fills_do_not_shift_later_pages(serve, small):
    client = serve(small)
    serial = iter(range(1000))

    def trade():
        number = next(serial)
        newest = replace(
            small.fills[0], fill_id=f"new-{number}", executed_at_us=to_us(NOW) + number
        )
        client.exchange.add([newest])

    assert ids(client.walk("/portfolio/fills", limit=7, between=trade)) == own_ids(small)
    again = ids(client.walk("/portfolio/fills", limit=7))
    assert again == [f"new-{n}" for n in reversed(range(len(again) - 60))] + own_ids(small)
    assert len(again) > 60


def test_late_fills_take_the_place_of_their_time(serve, small):
    client = serve(small)
    late = replace(
        small.fills[30], fill_id="late", executed_at_us=small.fills[30].executed_at_us + 1
    )
    client.exchange.add([late])
    expected = own_ids(small)
    expected.insert(30, "late")
    assert ids(client.walk("/portfolio/fills", limit=8)) == expected


def test_ties_in_one_microsecond_survive_every_page_size(serve, small):
    at_us = small.fills[0].executed_at_us
    fills = [replace(fill, executed_at_us=at_us) for fill in small.fills]
    fills.sort(key=lambda fill: fill.place, reverse=True)
    tied = replace(small, fills=fills)
    client = serve(tied)
    for limit in (1, 7, 59):
        assert ids(client.walk("/portfolio/fills", limit=limit)) == own_ids(tied)


def test_one_id_on_two_orders_is_served_twice(serve, small):
    twin = replace(small.fills[10], order_id="another")
    client = serve(small)
    client.exchange.add([twin])
    assert Counter(ids(client.walk("/portfolio/fills", limit=1)))[twin.fill_id] == 2


def test_min_ts_is_inclusive_and_max_ts_exclusive(serve, small):
    whole = replace(small.fills[0], fill_id="whole", executed_at_us=1_795_000_000 * 1_000_000)
    client = serve(replace(small, fills=[whole]))

    def found(**span):
        return len(client.get("/portfolio/fills", **span).json()["fills"])

    assert found(min_ts=1_795_000_000) == 1
    assert found(min_ts=1_795_000_001) == 0
    assert found(max_ts=1_795_000_000) == 0
    assert found(max_ts=1_795_000_001) == 1
    assert found(min_ts=1_795_000_001, max_ts=1_795_000_000) == 0


def test_filters_select(serve, account):
    client = serve(account)

    def expect(wanted, path="/portfolio/fills", **filters):
        got = ids(client.walk(path, limit=13, **filters))
        assert got == [fill.fill_id for fill in account.fills if wanted(fill)]
        assert 0 < len(got) < len(account.fills)

    one, two = (ticker for ticker, _ in Counter(f.ticker for f in account.fills).most_common(2))
    expect(lambda fill: fill.ticker in (one, two), ticker=f"{one},{two}")
    order_id = account.fills[3].order_id
    expect(lambda fill: fill.order_id == order_id, order_id=order_id)
    expect(lambda fill: fill.subaccount == 1, subaccount=1)
    expect(lambda fill: fill.ticker == one and fill.subaccount == 0, ticker=one, subaccount=0)
    expect(lambda fill: fill.exchange_index == 2, exchange_index=2)
    client.exchange.set_cutoff(NOW)
    expect(lambda fill: fill.ticker == one, path="/historical/fills", ticker=one)
    both = list(client.walk("/historical/fills", ticker=f"{one},{two}"))
    assert both == []


@pytest.mark.parametrize(
    ("wrong", "tag"),
    [
        ({"limit": 1001}, "'Limit' failed on the 'lte' tag"),
        ({"limit": 0}, "'Limit' failed on the 'gte' tag"),
        ({"limit": "ten"}, "'Limit' failed on the 'numeric' tag"),
        ({"min_ts": "1.5"}, "'MinTs' failed on the 'numeric' tag"),
        ({"subaccount": 64}, "'Subaccount' failed on the 'lte' tag"),
    ],
)
def test_bad_parameters_are_400(serve, small, wrong, tag):
    answer = serve(small).get("/portfolio/fills", **wrong)
    assert answer.status_code == 400
    message = answer.json()["msg"]
    assert message.startswith("Parameter validation failed for GetFills: ")
    assert message.endswith(tag)


def test_inserted_items_come_where_they_were_put(serve, small):
    client = serve(small)
    exchange = client.exchange
    for value, at in (("third", 2), (None, 0), (["last"], 63), ({"order_id": "x"}, 30)):
        exchange.insert_item(value, at)
    exchange.insert_item(17, datetime(2020, 1, 1, tzinfo=UTC))
    for limit in (1, 4, 1000):
        items = list(client.walk("/portfolio/fills", limit=limit))
        assert len(items) == 65
        assert (items[0], items[3], items[30], items[63], items[64]) == (
            None, "third", {"order_id": "x"}, ["last"], 17,
        )  # fmt: skip
        assert ids(i for i in items if isinstance(i, dict) and "fill_id" in i) == own_ids(small)


def test_an_accounts_junk_is_served_among_its_fills(serve):
    account = generate_account(3, 90, start=WEEK_AGO, end=NOW, junk_share=0.4)
    client = serve(account)
    items = list(client.walk("/portfolio/fills", limit=9))
    real = [fill.payload("current") for fill in account.fills]
    assert [item for item in items if item in real] == real
    rest = sorted(json.dumps(item, sort_keys=True) for item in items if item not in real)
    assert rest == sorted(json.dumps(item.value, sort_keys=True) for item in account.junk)


def test_a_bare_list_holds_every_matching_fill(serve, account):
    client = serve(account, legacy_bare_list=True)
    assert ids(client.get("/portfolio/fills", limit=5).json()) == own_ids(account)
    min_ts = to_us(NOW - timedelta(days=1)) // 1_000_000
    later = client.get("/portfolio/fills", min_ts=min_ts).json()
    assert 0 < len(later) < len(account.fills)


# Other endpoints


def test_orders_split_by_their_own_cutoff(serve, account):
    cutoff = NOW - timedelta(days=2)
    client = serve(account, orders_cutoff=cutoff)
    live = list(client.walk("/portfolio/orders", key="orders", limit=200))
    archived = list(client.walk("/historical/orders", key="orders", limit=200))
    border = rfc3339(to_us(cutoff))
    assert all(o["status"] == "resting" or o["last_update_time"] >= border for o in live)
    assert all(o["status"] != "resting" and o["last_update_time"] < border for o in archived)
    every = {order["order_id"] for order in live + archived}
    assert every == {order.order_id for order in account.orders()}
    assert len(live) + len(archived) == len(every)
    assert live
    assert archived
    executed = client.walk("/portfolio/orders", key="orders", status="executed", limit=200)
    assert {order["status"] for order in executed} == {"executed"}


def test_added_fills_reach_their_order_and_position(serve, small):
    client = serve(small)
    base = replace(small.fills[0], ticker="KXOPEN-27-T1", subaccount=0, order_id="fresh")
    parts = [replace(base, fill_id=f"p{n}", count=Decimal("1.25")) for n in range(3)]
    client.get("/portfolio/orders")
    client.exchange.add(parts)
    (order,) = client.get("/portfolio/orders", ticker="KXOPEN-27-T1").json()["orders"]
    assert order["fill_count_fp"] == "3.75"
    body = client.get("/portfolio/positions", ticker="KXOPEN-27-T1").json()
    (position,) = body["market_positions"]
    assert abs(Decimal(position["position_fp"])) == Decimal("3.75")
    assert body["event_positions"][0]["event_ticker"] == "KXOPEN-27"


def test_positions_default_to_the_primary_subaccount_and_unsettled_markets(serve, account):
    clock = NOW.timestamp()
    client = serve(account, clock=lambda: clock)

    def positions(**filters):
        path, cursor, found = "/portfolio/positions", None, {}
        while cursor != "":
            answer = requests.get(
                client.exchange.url + path,
                params={"limit": 50, "cursor": cursor, **filters},
                headers=signed(path, at=clock),
                timeout=10,
            ).json()
            cursor = answer["cursor"]
            for position in answer["market_positions"]:
                found[position["ticker"]] = Decimal(position["position_fp"])
        return found

    def own(subaccount, status):
        every = account.positions(status=status).items()
        return {ticker: p.position for (ticker, sub), p in every if sub == subaccount}

    assert positions() == own(0, "unsettled")
    assert positions(subaccount=1) == own(1, "unsettled")
    assert positions(settlement_status="all") == own(0, "all")
    assert positions(settlement_status="settled") == own(0, "settled")
    held = positions(settlement_status="all", count_filter="position")
    assert held == {ticker: size for ticker, size in own(0, "all").items() if size}


def test_limits_and_time_are_told(serve, small):
    client = serve(small, limits=Limits("premier", 1200, 3600), as_of_lag_seconds=90)
    body = client.get("/account/limits").json()
    assert body["usage_tier"] == "premier"
    assert body["read"] == {"refill_rate": 1200, "bucket_capacity": 3600}
    told = client.get("/exchange/user_data_timestamp").json()["as_of_time"]
    age = time.time() - datetime.fromisoformat(told).timestamp()
    assert 90 <= age < 95


def test_paths_and_methods_that_are_not_there(serve, small):
    client = serve(small)
    assert client.get("/portfolio/nothing").status_code == 404
    assert "error" in client.get("/portfolio/nothing").json()
    moved = requests.get(
        client.exchange.url + "/portfolio/fills/?limit=3", allow_redirects=False, timeout=10
    )
    assert moved.status_code == 301
    assert moved.headers["Location"] == "/trade-api/v2/portfolio/fills?limit=3"
    posted = requests.post(client.exchange.url + "/portfolio/fills", json={}, timeout=10)
    assert posted.status_code == 405
    root = client.exchange.url.removesuffix("/trade-api/v2")
    assert requests.get(root + "/portfolio/fills", timeout=10).status_code == 404


def test_a_restricted_key_sees_one_subaccount_and_few_endpoints(serve, account):
    client = serve(account, restricted_subaccount=1)
    seen = list(client.walk("/portfolio/fills", limit=1000))
    assert {item["subaccount_number"] for item in seen} == {1}
    assert len(seen) == sum(fill.subaccount == 1 for fill in account.fills)
    assert client.get("/portfolio/fills", subaccount=1).status_code == 200
    assert client.get("/portfolio/fills", subaccount=0).status_code == 403
    refused = client.get("/portfolio/positions")
    assert refused.status_code == 403
    assert "restricted to one sub-account" in refused.json()["error"]["message"]


def test_the_bucket_runs_dry_and_both_bodies_are_used(serve, small):
    limits = Limits("basic", refill_rate=20, bucket_capacity=50)
    client = serve(small, limits=limits, enforce_limits=True)
    answers = [client.get("/account/limits") for _ in range(9)]
    assert [answer.status_code for answer in answers[:5]] == [200] * 5
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) == client.exchange.throttled >= 2
    assert refused[0].json() == {"error": "too many requests"}
    assert refused[1].json()["error"]["code"] == "too_many_requests"
    assert "Retry-After" not in refused[0].headers
    time.sleep(0.6)
    assert client.get("/account/limits").status_code == 200


def test_only_loopback_is_served(small):
    for host in ("0.0.0.0", "192.168.0.1", "::"):
        with pytest.raises(ValueError, match=r"127\.0\.0\.0/8 only"):
            PracticeExchange(account=small, keys=KEYS, host=host)


def test_a_stopped_exchange_hangs_up(small):
    with requests.Session() as session:
        with PracticeExchange(account=small, keys=KEYS) as exchange:
            url = exchange.url + "/exchange/status"
            assert session.get(url, timeout=10).status_code == 200
        with pytest.raises(requests.ConnectionError):
            session.get(url, timeout=10)


def test_answers_share_one_connection(serve, small):
    client = serve(small)
    for _ in range(3):
        assert "Connection" not in client.get("/portfolio/fills").headers
    assert len(client.exchange._connections) == 1


# Faults


def test_fail_first_fails_the_first(serve, small):
    client = serve(small, faults=Faults(fail_first=2))
    codes = [client.get("/portfolio/fills").status_code for _ in range(4)]
    assert codes == [503, 503, 200, 200]
    assert client.get("/exchange/status").status_code == 200


def test_server_errors_and_throttling(serve, small):
    client = serve(small, faults=Faults(server_error=1.0))
    codes = {client.get("/portfolio/fills").status_code for _ in range(30)}
    assert codes == {500, 502, 503, 504}
    client = serve(small, faults=Faults(throttle=1.0))
    assert client.get("/account/limits").status_code == 429
    assert client.exchange.throttled == 1


def test_broken_answers(serve, small):
    client = serve(small, faults=Faults(reset=1.0))
    with pytest.raises(requests.ConnectionError):
        client.get("/portfolio/fills")
    client = serve(small, faults=Faults(truncate=1.0))
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.ConnectionError)):
        client.get("/portfolio/fills")
    empty = serve(small, faults=Faults(empty_body=1.0)).get("/portfolio/fills")
    assert (empty.status_code, empty.content) == (200, b"")
    html = serve(small, faults=Faults(html_instead_of_json=1.0)).get("/portfolio/fills")
    assert html.status_code == 200
    assert html.headers["Content-Type"].startswith("text/html")
    started = time.monotonic()
    slow = serve(small, faults=Faults(slow=1.0, slow_seconds=0.2)).get("/portfolio/fills")
    assert slow.json()["fills"]
    assert time.monotonic() - started >= 0.2


def test_page_faults_show(serve, small):
    def pages(**switches):
        client = serve(small, faults=Faults(**switches))
        first = client.get("/portfolio/fills", limit=20).json()
        second = client.get("/portfolio/fills", limit=20, cursor=first["cursor"]).json()
        return first, second

    own = own_ids(small)
    first, second = pages(repeat_cursor=1.0)
    assert second["cursor"] == first["cursor"]
    assert ids(second["fills"]) == own[20:40]
    first, second = pages(repeat_page=1.0)
    assert ids(second["fills"]) == ids(first["fills"]) == own[:20]
    assert second["cursor"] != first["cursor"]
    _, second = pages(overlap_page=1.0)
    assert ids(second["fills"]) == own[17:37]
    first, second = pages(empty_page=1.0)
    assert first["fills"] == second["fills"] == []
    assert len({first["cursor"], second["cursor"], ""}) == 3


def test_endless_cursors_never_end_and_bring_only_old_rows(serve, small):
    client = serve(small, faults=Faults(endless_cursors=1.0))
    cursors, cursor, seen = set(), "", []
    for _ in range(12):
        asked = {"cursor": cursor} if cursor else {}
        body = client.get("/portfolio/fills", limit=25, **asked).json()
        cursor = body["cursor"]
        assert cursor not in cursors
        cursors.add(cursor)
        assert body["fills"]
        seen += ids(body["fills"])
    assert set(seen[:60]) == set(seen) == set(own_ids(small))


@pytest.mark.parametrize("limit", [1, 7, 25])
def test_no_mixture_of_faults_hides_a_fill(serve, small, limit):
    faults = Faults(
        reset=0.05, truncate=0.05, empty_body=0.05, html_instead_of_json=0.05, server_error=0.05,
        throttle=0.05, repeat_cursor=0.1, repeat_page=0.15, overlap_page=0.15, empty_page=0.15,
        endless_cursors=0.5, seed=limit,
    )  # fmt: skip
    client = serve(small, faults=faults, cutoff=NOW - timedelta(days=3))
    seen = ids(client.walk("/portfolio/fills", limit=limit))
    seen += ids(client.walk("/historical/fills", limit=limit))
    assert set(seen) == set(own_ids(small))
    assert faults.injected


def test_switches_draw_independently(serve, small):
    def outcomes(**switches):
        faults = Faults(seed=4, **switches)
        return [faults.mishap() == "throttle" for _ in range(50)]

    assert outcomes(throttle=0.3) == outcomes(throttle=0.3, truncate=0.9)


def test_a_share_must_be_a_share():
    with pytest.raises(ValueError, match="reset must be between 0 and 1"):
        Faults(reset=1.5)


# The command


def test_the_command_serves_until_it_is_stopped(tmp_path):
    key_file, env_file = tmp_path / "keys.pem", tmp_path / "practice.env"
    command = [
        sys.executable, "-m", "kalshi_fills.practice", "--fills", "50", "--days", "3",
        "--key-file", key_file, "--env-file", env_file, "--run-seconds", "30",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        lines = []
        while not lines or lines[-1] not in ("ready", ""):
            lines.append(process.stdout.readline().strip())
        assert lines[-1] == "ready"
        settings = dict(line.split("=", 1) for line in env_file.read_text().splitlines())
        assert settings["KALSHI_PRIVATE_KEY_PATH"] == str(key_file)
        assert stat.S_IMODE(os.stat(key_file).st_mode) == 0o600
        status = requests.get(settings["KALSHI_API_URL"] + "/exchange/status", timeout=10)
        assert status.json()["trading_active"] is True
        assert any(settings["KALSHI_API_KEY_ID"] in line for line in lines)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.stdout.close()
        process.wait()

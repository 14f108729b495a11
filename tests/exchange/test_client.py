"""Signed requests: what is asked again, what is final, and how each is explained."""

from __future__ import annotations

import gzip
import itertools
import json
import re
import socket
import time
import traceback
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from support.commandline import KEY_ID, Account
from support.wire import (
    NOW,
    QUICK,
    ROOT_PATH,
    Answer,
    Connect,
    Serve,
    Wire,
    Wired,
    account_of,
    authentication,
    failure,
    fill_ids,
    page,
    walked,
)

from kalshi_fills.exchange import client as client_module
from kalshi_fills.exchange import deadline as wire_module
from kalshi_fills.exchange import paging
from kalshi_fills.exchange.client import RetryBudget
from kalshi_fills.exchange.signing import Signer
from kalshi_fills.practice.exchange import PracticeExchange
from kalshi_fills.practice.faults import Faults

STALE = {"error": {"code": "header_timestamp_expired", "message": "header timestamp expired"}}


def everything_said(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + getattr(error, "hint", "")


# Signatures


def test_rsa_and_ed25519_keys_are_let_in(api_key: Account, connect: Connect) -> None:
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    keys = {"rsa": rsa_key.public_key(), "ed": api_key.key.public_key()}
    with PracticeExchange(account=account_of(3), keys=keys) as practice:
        for key_id, key in (("rsa", rsa_key), ("ed", api_key.key)):
            exchange = connect(practice, signer=Signer(key_id, key))
            assert len(set(fill_ids(exchange))) == 3
        swapped = connect(practice, signer=Signer("rsa", api_key.key))
        assert "does not belong to the key id" in failure(lambda: fill_ids(swapped)).message


def test_the_signed_text_is_time_method_and_path_from_the_root_without_query(
    api_key: Account, wire: Wired, connect: Connect
) -> None:
    server = wire(page())
    walked(connect(server, clock=lambda: 1795185069.5), min_ts="5", max_ts="6")
    (request,) = server.requests
    assert request.query == {"min_ts": "5", "max_ts": "6", "limit": "1000"}
    assert request.headers["kalshi-access-key"] == KEY_ID
    assert request.signed_at == 1795185069500
    text = f"1795185069500GET{ROOT_PATH}/portfolio/fills"
    api_key.key.public_key().verify(request.signature, text.encode())


def test_an_rsa_signature_is_pss_over_sha256_with_a_salt_of_32_bytes(
    wire: Wired, connect: Connect
) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    server = wire(page())
    walked(connect(server, signer=Signer("rsa", key)))
    (request,) = server.requests
    key.public_key().verify(
        request.signature,
        f"{request.signed_at}GET{ROOT_PATH}/portfolio/fills".encode(),
        padding.PSS(padding.MGF1(hashes.SHA256()), 32),
        hashes.SHA256(),
    )


def test_every_attempt_is_signed_anew(api_key: Account, wire: Wired, connect: Connect) -> None:
    server = wire(Answer(status=503), Answer(status=429), page(["a"], "c"), page(["b"]))
    clock = itertools.count(1_795_185_069)
    exchange = connect(server, clock=lambda: float(next(clock)))
    assert walked(exchange) == ["a", "b"]
    assert exchange.requests == 4
    times = [request.signed_at for request in server.requests]
    assert times == [1_795_185_069_000 + 1000 * number for number in range(4)]
    assert len({request.signature for request in server.requests}) == 4
    for request in server.requests:
        text = f"{request.signed_at}GET{ROOT_PATH}/portfolio/fills"
        api_key.key.public_key().verify(request.signature, text.encode())


def test_without_a_signer_nothing_is_signed(wire: Wired, connect: Connect) -> None:
    server = wire(Answer({"trades_created_ts": "2026-09-23T00:00:00Z"}))
    cutoff = connect(server, signer=None).cutoff()
    assert cutoff == datetime(2026, 9, 23, tzinfo=UTC)
    assert not [name for name in server.requests[0].headers if name.startswith("kalshi")]


CHUNKED: dict[str, str | None] = {"Transfer-Encoding": "chunked", "Content-Length": None}


TROUBLES = {
    "500": Answer({}, 500),
    "502 with a web page": Answer(b"<!DOCTYPE html><html></html>", 502),
    "503": Answer({"error": {"code": "service_unavailable", "message": "later"}}, 503),
    "504": Answer(b"", 504),
    "429, flat": Answer({"error": "too many requests"}, 429),
    "429, nested": Answer({"error": {"code": "too_many_requests", "message": "slow"}}, 429),
    "reset": Answer(reset=True),
    "closed without an answer": Answer(announced=50),
    "truncated": Answer(b'{"fills":[{"a":1},', announced=500),
    "truncated without a length": Answer(b'{"fills":[{"a":1},'),
    "truncated in a chunk": Answer(b'b\r\n{"fills":[{', headers=CHUNKED),
    "truncated between chunks": Answer(b'b\r\n{"fills":[]\r\n', headers=CHUNKED),
    "web page": Answer(b"<!DOCTYPE html><html><title>Just a moment</title></html>"),
    "empty body": Answer(b""),
    "no such list": Answer({"trades": [], "cursor": ""}),
    "a list that is none": Answer({"fills": {}, "cursor": ""}),
    "a cursor that is none": Answer({"fills": [], "cursor": {"a": 1}}),
    "a number": Answer(b"5"),
    "null": Answer(b"null"),
    "two answers": Answer(b'{"fills":[],"cursor":""}{"fills":[]}'),
    "no UTF-8": Answer(b'{"fills":["\xff"],"cursor":""}'),
    "broken compression": Answer(b"no gzip", headers={"Content-Encoding": "gzip"}),
    "nested without end": Answer(b"[" * 200_000),
}


# Retries


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_passing_trouble_is_asked_again(trouble: str, wire: Wired, connect: Connect) -> None:
    server = wire(TROUBLES[trouble], TROUBLES[trouble], page(["a"]))
    exchange = connect(server)
    assert walked(exchange) == ["a"]
    assert exchange.requests == len(server.requests) == 3


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_lasting_trouble_ends_the_pass_with_one_sentence(
    trouble: str, wire: Wired, connect: Connect
) -> None:
    server = wire(TROUBLES[trouble])
    error = failure(lambda: walked(connect(server)))
    assert len(server.requests) == QUICK.attempts
    assert "given up after 3 attempts" in error.message
    assert "GET /portfolio/fills" in error.message
    assert "\n" not in error.message + error.hint
    status = trouble.split()[0].rstrip(",")
    if status.isdigit():
        assert f"answered {status}" in error.message


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("reset", "reset the connection"),
        ("truncated", "sent less than it announced"),
        ("web page", "HTML instead of JSON"),
        ("empty body", "an empty body instead of JSON"),
        ("429, flat", "too many requests"),
        ("429, nested", "slow"),
    ],
)
def test_a_lasting_trouble_is_named(trouble: str, said: str, wire: Wired, connect: Connect) -> None:
    assert said in failure(lambda: walked(connect(wire(TROUBLES[trouble])))).message


def test_retries_end_within_the_budget_of_time(wire: Wired, connect: Connect) -> None:
    budget = RetryBudget(0.3, 10_000, first_wait_seconds=0.02, longest_wait_seconds=0.05)
    began = time.monotonic()
    failure(lambda: walked(connect(wire(Answer(status=503)), retry=budget)))
    assert 0.1 < time.monotonic() - began < 120


def test_a_compressed_answer_is_read(wire: Wired, connect: Connect) -> None:
    body = gzip.compress(json.dumps({"fills": ["a"], "cursor": ""}).encode())
    assert walked(connect(wire(Answer(body, headers={"Content-Encoding": "gzip"})))) == ["a"]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("drip_seconds", [0.0, 0.0005])
def test_an_answer_in_chunks_is_read_whole(
    compressed: bool, drip_seconds: float, wire: Wired, connect: Connect
) -> None:
    items = [f"item {number}" for number in range(20)]
    body = json.dumps({"fills": items, "cursor": ""}).encode()
    headers = CHUNKED
    if compressed:
        body = gzip.compress(body)
        headers = {**CHUNKED, "Content-Encoding": "gzip"}
    chunks = [body[start : start + 7] for start in range(0, len(body), 7)] + [b""]
    sent = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    server = wire(Answer(sent, headers=headers, drip_seconds=drip_seconds))
    assert walked(connect(server)) == items


def test_faults_of_every_kind_at_once_lose_nothing(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "PAGE_LIMIT", 5)
    account = account_of(120)
    faults = Faults(
        reset=0.1,
        truncate=0.1,
        empty_body=0.1,
        html_instead_of_json=0.1,
        server_error=0.1,
        throttle=0.1,
        repeat_cursor=0.05,
        overlap_page=0.1,
        seed=1,
    )
    practice = serve(account, faults=faults, cutoff=NOW - timedelta(days=9))
    patient = QUICK._replace(attempts=40)
    got = fill_ids(connect(practice, retry=patient))
    assert set(got) == {fill.fill_id for fill in account.fills}
    assert len(faults.injected) >= 7


def test_retry_after_is_honoured(wire: Wired, connect: Connect) -> None:
    slow = Answer({"error": "too many requests"}, 429, {"Retry-After": "1"})
    began = time.monotonic()
    assert walked(connect(wire(slow, page(["a"])))) == ["a"]
    assert time.monotonic() - began >= 1


def test_a_retry_after_beyond_the_budget_ends_the_pass_at_once(
    wire: Wired, connect: Connect
) -> None:
    server = wire(Answer({"error": "too many requests"}, 429, {"Retry-After": "3600"}))
    began = time.monotonic()
    failure(lambda: walked(connect(server)))
    assert time.monotonic() - began < 120
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "header",
    [
        "",
        "soon",
        "-5",
        "1e9",
        "Fri, 01 Jan 2027 00:00:00 GMT",
        "\u00b2",
    ],
)
def test_a_retry_after_that_is_no_number_does_no_harm(
    header: str, wire: Wired, connect: Connect
) -> None:
    slow = Answer({"error": "too many requests"}, 429, {"Retry-After": header})
    assert walked(connect(wire(slow, page(["a"])))) == ["a"]


def test_a_refused_connection_is_retried_and_named(connect: Connect) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    exchange = connect(f"http://127.0.0.1:{port}{ROOT_PATH}")
    assert "connection refused" in failure(lambda: walked(exchange)).message
    assert exchange.requests == QUICK.attempts


def test_a_server_that_says_nothing_is_left(
    wire: Wired, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "READ_SECONDS", 0.1)
    exchange = connect(wire(Answer(silent_seconds=0.5)))
    assert "did not answer within" in failure(lambda: walked(exchange)).message
    assert exchange.requests == QUICK.attempts


@pytest.mark.parametrize("drips_headers", [False, True])
def test_an_answer_that_drips_is_left_at_its_deadline(
    wire: Wired, connect: Connect, monkeypatch: pytest.MonkeyPatch, drips_headers: bool
) -> None:
    monkeypatch.setattr(wire_module, "ANSWER_SECONDS", 0.2)
    body = {"fills": [], "cursor": "", "pad": "x" * 20_000}
    server = wire(Answer(body, drip_seconds=0.02, drips_headers=drips_headers))
    began = time.monotonic()
    error = failure(lambda: walked(connect(server, retry=QUICK._replace(attempts=1))))
    assert time.monotonic() - began < 120  # the whole answer would take longer
    assert "to send a page" in error.message


def test_the_deadline_of_one_answer_is_not_that_of_the_next(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire_module, "ANSWER_SECONDS", 2.0)
    monkeypatch.setattr(paging, "PAGE_LIMIT", 10)
    practice = serve(account_of(60), latency_seconds=0.4)
    exchange = connect(practice, retry=QUICK._replace(attempts=1))
    began = time.monotonic()
    assert len(walked(exchange)) == 60
    assert time.monotonic() - began > 2


def signature_of(server: Wire) -> str:
    return server.requests[-1].headers["kalshi-access-signature"]


# Refusals that are final


def test_a_stale_timestamp_is_asked_once_more_with_a_fresh_clock(
    serve: Serve, connect: Connect
) -> None:
    practice = serve(account_of(3))
    late = iter([time.time() - 60])
    exchange = connect(practice, clock=lambda: next(late, None) or time.time())
    assert exchange.as_of() is not None
    assert exchange.requests == 2


@pytest.mark.parametrize("skew", [-120, 90])
def test_a_clock_that_is_off_is_explained_with_its_skew(
    skew: int, serve: Serve, connect: Connect
) -> None:
    practice = serve(account_of(3))
    exchange = connect(practice, clock=lambda: time.time() + skew)
    error = failure(lambda: walked(exchange))
    assert exchange.requests == 2
    match = re.search(r"about (\d+) seconds off", error.message)
    assert match is not None
    assert abs(int(match.group(1)) - abs(skew)) <= 40
    assert "clock" in error.message
    assert "clock" in error.hint


@pytest.mark.parametrize(
    "date",
    [
        "",
        "yesterday",
        "Mon, 01 Jan 0001 00:00:00 -0000",
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
    ],
)
def test_a_stale_timestamp_is_explained_whatever_the_date_header(
    date: str, wire: Wired, connect: Connect
) -> None:
    server = wire(Answer(STALE, 401, {"Date": date}))
    assert "timestamp stale" in failure(lambda: walked(connect(server))).message
    assert len(server.requests) == 2


FINAL = {
    "wrong key": (401, authentication("INCORRECT_API_KEY_SIGNATURE"), "refused the signature"),
    "unknown key": (401, authentication("NOT_FOUND"), "does not know this key id"),
    "other 401": (401, {"code": "x", "message": "key expired"}, "key expired"),
    "401 with a web page": (401, b"<html></html>", "refused the credentials"),
    "restricted": (403, {"error": {"code": "f", "message": "one sub-account"}}, "one sub-account"),
    "403 with a web page": (403, b"<html></html>", "forbids this key"),
    "validation": (400, {"msg": "failed on the 'lte' tag"}, "failed on the 'lte' tag"),
    "not there": (404, {"error": "page not found"}, "404: page not found"),
    "gone": (410, b"", "410"),
    "no content": (204, b"", "204"),
}


@pytest.mark.parametrize("case", FINAL)
def test_a_refusal_is_final_and_explained(case: str, wire: Wired, connect: Connect) -> None:
    status, body, said = FINAL[case]
    server = wire(Answer(body, status))
    error = failure(lambda: walked(connect(server)))
    assert len(server.requests) == 1
    assert said in error.message
    assert "\n" not in error.message + error.hint
    assert signature_of(server) not in everything_said(error)


def test_wrong_unknown_and_missing_credentials_are_told_apart(
    serve: Serve, connect: Connect, api_key: Account
) -> None:
    practice = serve(account_of(3))
    unknown = connect(practice, signer=Signer("nobody", api_key.key))
    assert "does not know this key id" in failure(lambda: walked(unknown)).message
    assert "prod and demo" in failure(lambda: walked(unknown)).hint
    nobody = connect(practice, signer=None)
    assert "signature is missing" in failure(lambda: walked(nobody)).message.replace("_", " ")


def test_an_answer_that_echoes_the_signature_does_not_spread_it(
    wire: Wired, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="kalshi_fills")
    for status in (400, 401, 403, 404, 429, 503):
        echo = wire(
            lambda request, status=status: Answer(
                {
                    "error": {
                        "code": "bad",
                        "message": f"got {request.headers['kalshi-access-signature']} from you",
                        "details": request.headers["kalshi-access-signature"],
                    }
                },
                status,
            )
        )
        error = failure(lambda echo=echo: walked(connect(echo)))
        said = everything_said(error) + caplog.text + str([vars(r) for r in caplog.records])
        for request in echo.requests:
            assert request.headers["kalshi-access-signature"] not in said
        assert "got" in error.message


def test_what_the_exchange_says_stays_on_one_line(wire: Wired, connect: Connect) -> None:
    body = {"error": {"message": "first\nhint: rm -rf\r\x1b[31mred"}}
    error = failure(lambda: walked(connect(wire(Answer(body, 400)))))
    assert error.message.isprintable()


def test_a_redirect_is_refused_and_not_followed(wire: Wired, connect: Connect) -> None:
    elsewhere = wire(page(["stolen"]))
    for status in (301, 302, 307, 308):
        server = wire(Answer(b"", status, {"Location": f"{elsewhere.url}/portfolio/fills"}))
        error = failure(lambda server=server: walked(connect(server)))
        assert "redirects" in error.message
        assert len(server.requests) == 1
    assert elsewhere.requests == []


def test_a_slash_at_the_end_of_the_root_is_no_redirect(serve: Serve, connect: Connect) -> None:
    practice = serve(account_of(3))
    assert len(set(fill_ids(connect(practice.url + "/")))) == 3

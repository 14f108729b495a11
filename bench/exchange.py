"""An exchange that serves pages made before, from a process of its own.

    python -m bench.exchange FOLDER KEY_FILE LATENCY_SECONDS REFILL_RATE BUCKET_CAPACITY

The practice exchange keeps every fill as an object and writes pages while clients wait; this one
has them ready, so that what is measured is the client. Signatures are checked and the rate limit
is kept all the same. It prints its URL, then its counts whenever it reads a line, and ends at the
end of its input.
"""

from __future__ import annotations

import base64
import contextlib
import json
import socketserver
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final, NamedTuple
from urllib.parse import parse_qsl

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from bench.account import ARCHIVED_ORDERS, FILLS, ORDERS, Listing, read_about
from bench.measure import Failed
from kalshi_fills.practice.ledger import rfc3339

KEY_ID: Final = "bench-key"

NEARBY_SECONDS: Final = 0.001
"""How long an answer takes without latency: no exchange has a page in no time."""

_PREFIX: Final = "/trade-api/v2"

_TOKENS_A_REQUEST: Final = 10

_MANY_TOKENS: Final = 10**7
"""What an account without a limit is told."""

_SECOND_US: Final = 1_000_000

_NEVER_US: Final = 2**62

_FILTERS: Final = frozenset(("limit", "cursor", "min_ts", "max_ts", "subaccount"))

_PSS: Final = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.DIGEST_LENGTH)


class Limits(NamedTuple):
    """The account's read bucket, in tokens; a request costs ten of them."""

    refill_rate: int = 0
    """A second; 0 is no limit."""
    bucket_capacity: int = 0


UNLIMITED: Final = Limits()


class Counts(NamedTuple):
    """What was asked of the exchange since it began."""

    requests: int
    fills_pages: int
    throttled: int
    """Answers 429."""


class Served:
    """An exchange under way."""

    def __init__(self, url: str, asking: IO[str], answers: IO[str]) -> None:
        self.url = url
        self._asking = asking
        self._answers = answers

    def counts(self) -> Counts:
        """Return what was asked of the exchange since it began."""
        self._asking.write("\n")
        self._asking.flush()
        return Counts(*json.loads(self._answers.readline()))


@contextmanager
def serving(
    folder: Path,
    key_file: Path,
    *,
    latency_seconds: float = NEARBY_SECONDS,
    limits: Limits = UNLIMITED,
) -> Iterator[Served]:
    """Serve a folder's account from a process of its own until the context ends."""
    options = (str(latency_seconds), *map(str, limits))
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.exchange", str(folder), str(key_file), *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        if not url:
            raise Failed("the exchange did not start")
        yield Served(url, process.stdin, process.stdout)
    finally:
        process.terminate()
        process.communicate()


class _Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


class _Bucket:
    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._tokens = float(limits.bucket_capacity)
        self._filled_at = time.monotonic()
        self._lock = threading.Lock()

    def take(self) -> bool:
        if not self._limits.refill_rate:
            return True
        with self._lock:
            now = time.monotonic()
            gained = (now - self._filled_at) * self._limits.refill_rate
            self._tokens = min(self._limits.bucket_capacity, self._tokens + gained)
            self._filled_at = now
            if self._tokens < _TOKENS_A_REQUEST:
                return False
            self._tokens -= _TOKENS_A_REQUEST
            return True


class _Exchange(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, folder: Path, key_file: Path, latency_seconds: float, limits: Limits):
        super().__init__(("127.0.0.1", 0), _Handler)
        self._about = read_about(folder)
        self._fills = Listing(folder / FILLS)
        self._orders = Listing(folder / ORDERS)
        self._archived_orders = Listing(folder / ARCHIVED_ORDERS)
        key = load_pem_private_key(key_file.read_bytes(), password=None)
        assert isinstance(key, RSAPrivateKey)
        self._key = key.public_key()
        self._latency_seconds = latency_seconds
        self._limits = limits
        self._bucket = _Bucket(limits)
        self._lock = threading.Lock()
        self._requests: Counter[str] = Counter()
        self._throttled = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{_PREFIX}"

    def counts(self) -> Counts:
        with self._lock:
            pages = self._requests["/portfolio/fills"] + self._requests["/historical/fills"]
            return Counts(self._requests.total(), pages, self._throttled)

    def answer(self, target: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Return the status and the body for a GET."""
        path, _, query = target.partition("?")
        short = path.removeprefix(_PREFIX)
        with self._lock:
            self._requests[short] += 1
        if self._latency_seconds:
            time.sleep(self._latency_seconds)
        try:
            if short.startswith(("/portfolio", "/historical/fills", "/historical/orders")):
                self._check_signature(path, headers)
                if not self._bucket.take():
                    with self._lock:
                        self._throttled += 1
                    raise _Refused(429, "too_many_requests")
            return 200, self._body(short, dict(parse_qsl(query)))
        except _Refused as refused:
            error = {"error": {"code": refused.code, "message": refused.code}}
            return refused.status, json.dumps(error).encode()

    def _check_signature(self, path: str, headers: Mapping[str, str]) -> None:
        signed = f"{headers.get('kalshi-access-timestamp', '')}GET{path}".encode()
        try:
            given = base64.b64decode(headers.get("kalshi-access-signature", ""), validate=True)
            self._key.verify(given, signed, _PSS, hashes.SHA256())
        except (InvalidSignature, ValueError):
            raise _Refused(401, "authentication_error") from None

    def _body(self, path: str, given: Mapping[str, str]) -> bytes:
        about = self._about
        match path:
            case "/portfolio/fills":
                return _page(self._fills, "fills", given, low_us=about.cutoff_us)
            case "/historical/fills":
                return _page(self._fills, "fills", given, high_us=about.cutoff_us)
            case "/portfolio/orders":
                return _page(self._orders, "orders", given)
            case "/historical/orders":
                return _page(self._archived_orders, "orders", given)
            case "/portfolio/positions":
                asked = given.get("subaccount", "0")
                rows = [row for row in about.positions if row["subaccount"] == asked]
                return _json({"cursor": "", "event_positions": [], "market_positions": rows})
            case "/portfolio/settlements":
                return _json({"cursor": "", "settlements": []})
            case "/account/limits":
                rate, capacity = self._limits if self._limits.refill_rate else [_MANY_TOKENS] * 2
                read = {"refill_rate": rate, "bucket_capacity": capacity}
                return _json({"grants": [], "read": read, "usage_tier": "bench", "write": read})
            case "/account/endpoint_costs":
                return _json({"default_cost": _TOKENS_A_REQUEST, "endpoint_costs": []})
            case "/exchange/user_data_timestamp":
                return _json({"as_of_time": datetime.now(UTC).isoformat()})
            case "/historical/cutoff":
                fills, orders = rfc3339(about.cutoff_us), rfc3339(about.orders_cutoff_us)
                return _json({"trades_created_ts": fills, "orders_updated_ts": orders})
            case _:
                raise _Refused(404, "not_found")


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _page(
    listing: Listing,
    name: str,
    given: Mapping[str, str],
    *,
    low_us: int = 0,
    high_us: int = _NEVER_US,
) -> bytes:
    """Return the body of a page of a listing.

    Raises:
        _Refused: asked for by something else than time, which is never measured. A subaccount is
            not looked at where there are no rows to filter.
    """
    if not given.keys() <= _FILTERS or "subaccount" in given:
        raise _Refused(400, "filter_not_served")
    if "min_ts" in given:
        low_us = max(low_us, int(given["min_ts"]) * _SECOND_US)
    if "max_ts" in given:
        high_us = min(high_us, int(given["max_ts"]) * _SECOND_US)
    limit = min(int(given.get("limit", "100")), 1000)
    page = listing.page(low_us, high_us, given.get("cursor", ""), limit)
    return b'{"cursor":"%s","%s":[%s]}' % (page.cursor.encode(), name.encode(), page.items)


class _Handler(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self) -> None:
        assert isinstance(self.server, _Exchange)
        with contextlib.suppress(OSError):  # clients hang up when they are done
            while line := self.rfile.readline():
                headers = {}
                while (header := self.rfile.readline()) not in (b"\r\n", b""):
                    name, _, value = header.decode("latin-1").partition(":")
                    headers[name.lower()] = value.strip()
                status, body = self.server.answer(line.split()[1].decode(), headers)
                head = f"HTTP/1.1 {status} \r\nContent-Type: application/json\r\n"
                head += f"Content-Length: {len(body)}\r\n\r\n"
                self.wfile.write(head.encode() + body)


def main() -> None:
    """Serve until the input ends."""
    folder, key_file, latency_seconds, refill_rate, bucket_capacity = sys.argv[1:]
    limits = Limits(int(refill_rate), int(bucket_capacity))
    with _Exchange(Path(folder), Path(key_file), float(latency_seconds), limits) as exchange:
        threading.Thread(target=exchange.serve_forever, daemon=True).start()
        print(exchange.url, flush=True)
        with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is for whoever measures
            for _ in sys.stdin:
                print(json.dumps(exchange.counts()), flush=True)
        exchange.shutdown()


if __name__ == "__main__":
    main()

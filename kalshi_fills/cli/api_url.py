"""Where the exchange is: KALSHI_API_URL to the root of its API, and its name in the run ledger."""

from __future__ import annotations

import hashlib
from typing import Final
from urllib.parse import urlsplit

from kalshi_fills.cli.options import is_loopback
from kalshi_fills.errors import Mistakes
from kalshi_fills.host.printable import is_plain, quoted

ENVIRONMENTS: Final = {
    "prod": "https://external-api.kalshi.com/trade-api/v2",
    "demo": "https://external-api.demo.kalshi.co/trade-api/v2",
}


_ENVIRONMENT_OF_HOST: Final = {
    "external-api.kalshi.com": "prod",
    "api.elections.kalshi.com": "prod",
    "external-api.demo.kalshi.co": "demo",
    "demo-api.kalshi.co": "demo",
}
"""The exchange's hosts, the older ones included."""


def read_api_url(value: str, mistakes: Mistakes) -> str:
    """Return the root of the API that a value means: prod, demo, or a URL."""
    url = ENVIRONMENTS.get(value, value)
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        mistakes.add(
            f"KALSHI_API_URL{quoted(value)} is neither prod nor demo nor an http URL",
            "use prod, demo, or the API's root such as " + ENVIRONMENTS["prod"],
        )
        return url
    if "@" in parts.netloc or parts.query or parts.fragment:
        mistakes.add(
            "KALSHI_API_URL carries more than host, port and path",
            "use the API's root such as " + ENVIRONMENTS["prod"],
        )
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        host = parts.hostname if is_plain(parts.hostname) else "names a host that"
        mistakes.add(
            f"KALSHI_API_URL {host} is not loopback and does not use TLS",
            "write https://; signed requests must not travel unencrypted",
        )
    if not parts.path.strip("/"):
        url = f"{url.rstrip('/')}/trade-api/v2"
    return url.rstrip("/")


def environment_of(api_url: str) -> str:
    """Return the name of the exchange at a URL in the run ledger: prod, demo, or a digest."""
    parts = urlsplit(api_url)
    host = (parts.hostname or "").rstrip(".").lower()
    if host in _ENVIRONMENT_OF_HOST:
        return _ENVIRONMENT_OF_HOST[host]
    port = parts.port or (443 if parts.scheme == "https" else 80)
    name = "localhost" if is_loopback(host) else host
    root = f"{parts.scheme}://{name}:{port}{parts.path.rstrip('/')}"
    return f"url-{hashlib.sha256(root.encode()).hexdigest()[:16]}"

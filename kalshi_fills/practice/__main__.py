"""Serve a practice exchange from the command line until it is stopped.

Makes an account up to now, makes a key pair if there is none yet, says where everything is and
then prints `ready`. Ctrl-C or SIGTERM ends it with exit code 0.
"""

import argparse
import os
import shlex
import signal
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from kalshi_fills.practice.account import generate_account
from kalshi_fills.practice.exchange import PracticeExchange, PublicKey

KEY_ID = "practice-key"


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m kalshi_fills.practice",
        description="Serve a practice exchange on this machine (127.0.0.1 only).",
    )
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one (default)")
    parser.add_argument("--fills", type=int, default=10_000, help="how many fills (10000)")
    parser.add_argument("--days", type=float, default=90, help="how far back they reach (90)")
    parser.add_argument(
        "--live-days", type=float, default=60, help="younger fills are in the live tier (60)"
    )
    parser.add_argument("--seed", type=int, default=1, help="the same seed, the same account")
    parser.add_argument(
        "--junk-share", type=float, default=0.0, help="share of items that are no fills (0)"
    )
    parser.add_argument(
        "--settled-share", type=float, default=0.7, help="share of the markets that settle (0.7)"
    )
    parser.add_argument(
        "--latency-seconds", type=float, default=0.0, help="added to every answer (0)"
    )
    parser.add_argument(
        "--enforce-limits", action="store_true", help="answer 429 above the Basic tier's rate"
    )
    parser.add_argument(
        "--key-file",
        type=Path,
        default=Path("practice-key.pem"),
        help="private key, RSA or Ed25519, made if it is missing (practice-key.pem)",
    )
    parser.add_argument("--env-file", type=Path, help="write the client's settings here")
    parser.add_argument("--run-seconds", type=float, help="stop by itself after this long")
    return parser.parse_args(argv)


def _public_key(path: Path) -> PublicKey:
    """Return the public half of the key in `path`, making the file (0600) if it is missing."""
    if not path.exists():
        pem = Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        # Created closed to others, rather than closed after it was written.
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
    key = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
        raise ValueError(f"{path} holds neither an RSA nor an Ed25519 key")
    return key.public_key()


def main(argv: list[str] | None = None) -> int:
    """Serve until stopped; return the exit code."""
    arguments = _arguments(argv)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    # Settings name the key by its full path, as the client may run elsewhere.
    key_file = arguments.key_file.resolve()
    now = datetime.fromtimestamp(time.time(), UTC)
    try:
        key = _public_key(key_file)
        account = generate_account(
            arguments.seed,
            arguments.fills,
            start=now - timedelta(days=arguments.days),
            end=now,
            junk_share=arguments.junk_share,
        ).settled(arguments.settled_share)
        exchange = PracticeExchange(
            account=account,
            keys={KEY_ID: key},
            port=arguments.port,
            cutoff=now - timedelta(days=arguments.live_days),
            orders_cutoff=now - timedelta(days=min(14, arguments.live_days)),
            latency_seconds=arguments.latency_seconds,
            enforce_limits=arguments.enforce_limits,
        )
        with exchange:
            if arguments.env_file is not None:
                lines = (
                    f"KALSHI_API_URL={shlex.quote(exchange.url)}",
                    f"KALSHI_API_KEY_ID={KEY_ID}",
                    f"KALSHI_PRIVATE_KEY_PATH={shlex.quote(str(key_file))}",
                )
                arguments.env_file.write_text("\n".join((*lines, "")))
            print(f"practice exchange: {exchange.url}")
            print(f"key id: {KEY_ID}")
            print(f"private key: {key_file}")
            print(f"fills: {len(account.fills)}, junk items: {len(account.junk)}")
            print(f"settlements: {len(exchange.portfolio.rows())}")
            print("ready", flush=True)
            stop.wait(arguments.run_seconds)
    except (OSError, ValueError) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What a command works on, opened from the settings: the warehouse and the exchange."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kalshi_fills.cli.settings import Settings
from kalshi_fills.errors import ExchangeError, SettingsError
from kalshi_fills.host.process import signals_held
from kalshi_fills.host.trusted import make_private_folder

if TYPE_CHECKING:
    from kalshi_fills.exchange.endpoints import Exchange
    from kalshi_fills.warehouse.client import Warehouse


@contextlib.contextmanager
def open_warehouse(settings: Settings, *, read_only: bool = False) -> Iterator[Warehouse]:
    """Open ClickHouse for as long as a `with` block lasts.

    Args:
        settings: says where it is.
        read_only: whether a folder that does not exist must not be made.
    """
    target = settings.clickhouse
    with contextlib.ExitStack() as stack:
        warehouse: Warehouse
        if target.url is not None:
            from kalshi_fills.warehouse.server import open_server

            warehouse = open_server(target.url)
        else:
            from kalshi_fills.warehouse.embedded import load_engine, open_embedded

            folder = target.folder
            assert folder is not None
            if read_only and not folder.exists():  # the engine would make it
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            with contextlib.suppress(OSError):  # the engine says what is wrong with it
                make_private_folder(folder)
            with signals_held():
                load_engine()
            warehouse = open_embedded(folder)
        stack.callback(warehouse.close)
        yield warehouse


@contextlib.contextmanager
def open_exchange(settings: Settings, rate_share: float = 0.5) -> Iterator[Exchange]:
    """Open the exchange for as long as a `with` block lasts.

    Raises:
        SettingsError: no API key was configured.
    """
    from kalshi_fills.exchange.endpoints import Exchange

    exchange = Exchange(
        settings.api_url,
        settings.require_signer(),
        rate_share=rate_share,
        max_answer_bytes=settings.max_answer_bytes,
    )
    with contextlib.closing(exchange):
        yield exchange


@contextlib.contextmanager
def open_exchange_to_compare(settings: Settings) -> Iterator[Exchange]:
    """Open the exchange for a diagnosis; a failure says that `--offline` needs no exchange."""
    offline = "`kalshi-fills diagnose --offline` checks the table without the exchange"
    try:
        settings.require_signer()
    except SettingsError as error:
        raise SettingsError(error.message, hint=f"{error.hint}; {offline}") from None
    try:
        with open_exchange(settings) as exchange:
            yield exchange
    except ExchangeError as error:
        raise ExchangeError(
            error.message, hint=f"{error.hint}; {offline}", status=error.status
        ) from error

"""Inserts that run while tables are exchanged: waiting until they have ended."""

from __future__ import annotations

import logging
import time
from typing import Final, NamedTuple

from kalshi_fills.errors import WarehouseError
from kalshi_fills.warehouse.client import Warehouse, select_one
from kalshi_fills.warehouse.statements import Tables

log = logging.getLogger(__name__)


_IN_FLIGHT_SECONDS: Final = 300.0


_IN_FLIGHT_WAIT_SECONDS: Final = 0.1


_UNSEEN_IN_FLIGHT_SECONDS: Final = 3.0


class _Running(NamedTuple):
    """Inserts that run now."""

    inserts: int


def wait_for_inserts(warehouse: Warehouse, tables: Tables) -> None:
    """Wait until the inserts that run now have ended, on every host of the cluster.

    One that began before an exchange ends in the table that stood there then, after it.
    """
    on_cluster = "_on_cluster" if tables.hosts else ""
    statement = tables.sql(f"schema/inserts_in_flight{on_cluster}")
    since = time.monotonic()
    while time.monotonic() - since < _IN_FLIGHT_SECONDS:
        try:
            params = {"seconds": time.monotonic() - since}
            running = select_one(warehouse, _Running, statement, params)
        except WarehouseError as error:
            # Without the right to look: what comes later still stays in the kept table.
            log.warning("inserts_in_flight_unknown", extra={"fields": {"because": str(error)}})
            time.sleep(_UNSEEN_IN_FLIGHT_SECONDS)
            return
        if running is None or not running.inserts:
            return
        time.sleep(_IN_FLIGHT_WAIT_SECONDS)

"""What tests of the warehouse build on: ready to store fills or values in, and a cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from support.book import Book
from support.cluster import Cluster

from kalshi_fills.warehouse.client import Warehouse
from kalshi_fills.warehouse.server import open_server
from kalshi_fills.warehouse.statements import Tables


@pytest.fixture
def book(warehouse: Warehouse, ready: Tables) -> Book:
    return Book(warehouse, ready)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    binary = os.environ.get("CLICKHOUSE_BINARY")
    if not binary:
        pytest.skip("no ClickHouse server to test against: CLICKHOUSE_BINARY is not set")
    made = Cluster(binary, tmp_path_factory.mktemp("cluster"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def both(cluster: Cluster) -> Iterator[list[Warehouse]]:
    """A connection to each replica."""
    opened = [open_server(replica.url("default")) for replica in cluster.replicas]
    yield opened
    for warehouse in opened:
        warehouse.close()

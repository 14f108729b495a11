"""A server that is unreachable, refuses, or breaks off is named."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from support.clickhouse_server import PASSWORD, ClickHouseServer, free_port
from support.commandline import ServerWithUsers
from support.values import assert_one_sentence

from kalshi_fills.errors import InsertUnknown, KalshiFillsError, WarehouseError
from kalshi_fills.warehouse.server import open_server

pytestmark = pytest.mark.both_engines


@pytest.fixture
def refused() -> Callable[[str], WarehouseError]:
    """Open a server that cannot be opened; give the error."""

    def fail(url: str) -> WarehouseError:
        with pytest.raises(WarehouseError) as caught:
            open_server(url)
        shown = f"{caught.value!r} {caught.value} {caught.value.hint}"
        assert "hunter2" not in shown
        assert_one_sentence(caught.value)
        return caught.value

    return fail


def test_a_port_where_nobody_listens_is_named(refused: Callable[[str], WarehouseError]) -> None:
    port = free_port()

    error = refused(f"clickhouse://default:hunter2@127.0.0.1:{port}/kalshi")

    assert error.code == 210
    assert f"127.0.0.1:{port}" in error.message
    assert "CLICKHOUSE_URL" in error.hint


def test_an_unknown_host_is_named(
    refused: Callable[[str], WarehouseError], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    error = refused("clickhouse://default:hunter2@no-such-host.invalid:9000/kalshi")

    assert error.code == 210
    assert "no-such-host.invalid:9000" in error.message


@pytest.mark.server
def test_a_wrong_password_is_told_without_showing_it(
    server: ClickHouseServer, refused: Callable[[str], WarehouseError]
) -> None:
    error = refused(server.url("kalshi", password="hunter2-wrong"))

    assert error.code == 516
    assert "password" in error.message
    assert str(server.port) in error.message


@pytest.mark.server
def test_an_unknown_user_is_told(
    server: ClickHouseServer, refused: Callable[[str], WarehouseError]
) -> None:
    error = refused(server.url("kalshi", user="nobody", password="hunter2"))

    assert "user name or password" in error.message


@pytest.mark.server
def test_the_http_port_is_told_apart_from_the_native_one(
    server_with_users: ServerWithUsers, refused: Callable[[str], WarehouseError]
) -> None:
    port = server_with_users.http_port

    error = refused(f"clickhouse://default:hunter2@127.0.0.1:{port}/kalshi")

    assert "native" in f"{error.message} {error.hint}"
    assert str(port) in error.message


@pytest.mark.server
def test_tls_to_a_port_without_tls_is_an_error(
    server: ClickHouseServer, refused: Callable[[str], WarehouseError]
) -> None:
    error = refused(f"clickhouses://default:hunter2@127.0.0.1:{server.port}/kalshi")

    assert f"127.0.0.1:{server.port}" in error.message


@pytest.mark.server
def test_the_database_of_the_url_need_not_exist(server: ClickHouseServer) -> None:
    opened = open_server(server.url("no_such_database"))

    assert opened.rows("SELECT 1") == [(1,)]
    opened.close()


@pytest.mark.server
def test_options_in_the_url_reach_the_server(server: ClickHouseServer) -> None:
    opened = open_server(server.url("kalshi") + "?max_threads=1&send_receive_timeout=20")

    found = opened.rows("SELECT getSetting('max_threads')")

    opened.close()
    assert found == [(1,)]


@pytest.mark.server
@pytest.mark.parametrize(
    "options", ["compression=no-such-method", "connect_timeout=soon", "secure=perhaps"]
)
def test_options_the_driver_refuses_are_an_error_of_ours(
    server: ClickHouseServer, options: str
) -> None:
    with pytest.raises(KalshiFillsError):
        open_server(f"{server.url('kalshi')}?{options}")


@pytest.mark.server
def test_a_password_of_special_letters_is_understood(
    server_with_users: ServerWithUsers,
) -> None:
    server = server_with_users
    admin = open_server(server.url("default"))
    admin.command("CREATE USER odd IDENTIFIED WITH sha256_password BY 'p@ss/w#rd?%:'")

    opened = open_server(server.url("default", "odd", "p%40ss%2Fw%23rd%3F%25%3A"))

    assert opened.rows("SELECT currentUser()") == [("odd",)]
    opened.close()
    admin.command("DROP USER odd")
    admin.close()


@pytest.mark.server
def test_what_the_user_may_not_do_is_told(server_with_users: ServerWithUsers) -> None:
    server = server_with_users
    admin = open_server(server.url("default"))
    admin.command("CREATE USER guest IDENTIFIED WITH sha256_password BY 'guest-password'")
    guest = open_server(server.url("default", "guest", "guest-password"))

    with pytest.raises(WarehouseError) as caught:
        guest.command("CREATE DATABASE not_for_guests")

    assert caught.value.code == 497
    assert "does not allow" in caught.value.message
    assert "grant" in caught.value.hint
    assert_one_sentence(caught.value)
    guest.close()
    admin.command("DROP USER guest")
    admin.close()


class Cut:
    """A relay to a server that stops passing answers on, once told to."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.cut_answers = False
        self._sockets: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            upstream = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [client, upstream]
            for source, target, answers in ((client, upstream, False), (upstream, client, True)):
                threading.Thread(
                    target=self._pass_on, args=(source, target, answers), daemon=True
                ).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        try:
            while data := source.recv(65536):
                if answers and self.cut_answers and b"\x05" in data[-1:]:
                    # The end of a stream: the insert was done, and its answer is lost.
                    self._hang_up(source, target)
                    return
                target.sendall(data)
        except OSError:
            return
        self._hang_up(target)

    @staticmethod
    def _hang_up(*sockets: socket.socket) -> None:
        for one in sockets:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def close(self) -> None:
        self._hang_up(*self._sockets)
        for one in self._sockets:
            one.close()


@pytest.mark.server
def test_an_insert_whose_answer_is_lost_is_unknown_and_the_connection_comes_back(
    server: ClickHouseServer,
) -> None:
    direct = open_server(server.url("default"))
    direct.command("CREATE OR REPLACE TABLE default.lost (n UInt64) ENGINE = MergeTree ORDER BY n")
    relay = Cut(server.port)
    opened = open_server(f"clickhouse://default:{PASSWORD}@127.0.0.1:{relay.port}/default")
    relay.cut_answers = True

    with pytest.raises(InsertUnknown) as caught:
        opened.insert("`default`.`lost`", ("n",), [(1,), (2,)])

    assert_one_sentence(caught.value)
    assert direct.rows("SELECT count() FROM default.lost") == [(2,)]
    relay.cut_answers = False
    assert opened.rows("SELECT count() FROM default.lost") == [(2,)]
    opened.close()
    relay.close()
    direct.command("DROP TABLE default.lost")
    direct.close()


@pytest.mark.server
def test_a_server_that_dies_is_an_error_not_a_hang(tmp_path: Path, server: object) -> None:
    mortal = ClickHouseServer(os.environ["CLICKHOUSE_BINARY"], tmp_path / "mortal")
    mortal.start()
    opened = open_server(mortal.url("default"))
    mortal.kill()

    with pytest.raises(WarehouseError) as caught:
        opened.rows("SELECT 1")

    assert str(mortal.port) in caught.value.message
    mortal.start()
    assert opened.rows("SELECT 1") == [(1,)]
    opened.close()
    mortal.stop()

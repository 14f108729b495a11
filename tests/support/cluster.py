"""Two ClickHouse replicas and a keeper of the tests' own, all from the one executable."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from support.clickhouse_server import PASSWORD, ClickHouseServer, free_port

CLUSTER = "kalshi"
"""One shard of two replicas."""

HALVES = "halves"
"""The same two hosts, each a shard of its own."""

TWICE = "twice"
"""One host, listed two times."""

GONE = "gone"
"""Two hosts on which nobody listens."""

_KEEPER = """<clickhouse>
    <logger><level>warning</level><log>{folder}/keeper.log</log></logger>
    <listen_host>127.0.0.1</listen_host>
    <keeper_server>
        <tcp_port>{port}</tcp_port>
        <server_id>1</server_id>
        <log_storage_path>{folder}/log</log_storage_path>
        <snapshot_storage_path>{folder}/snapshots</snapshot_storage_path>
        <raft_configuration>
            <server><id>1</id><hostname>127.0.0.1</hostname><port>{raft_port}</port></server>
        </raft_configuration>
    </keeper_server>
</clickhouse>
"""

_REPLICA = """
    <interserver_http_port>{interserver_port}</interserver_http_port>
    <interserver_http_host>127.0.0.1</interserver_http_host>
    <zookeeper>
        <node><host>127.0.0.1</host><port>{keeper_port}</port></node>
        <session_timeout_ms>10000</session_timeout_ms>
    </zookeeper>
    <user_directories>
        <users_xml><path>config.xml</path></users_xml>
        <memory/>
    </user_directories>
    <macros><shard>1</shard><replica>{name}</replica></macros>
    <distributed_ddl><path>/clickhouse/task_queue/ddl</path></distributed_ddl>
    <remote_servers>
        <kalshi>
            <shard>
                <internal_replication>true</internal_replication>
                {replicas}
            </shard>
        </kalshi>
        <halves>{shards}</halves>
        <twice><shard>{first}{first}</shard></twice>
        <gone><shard>{nobody}{nobody_else}</shard></gone>
    </remote_servers>
"""


def _listed(port: int) -> str:
    return (
        f"<replica><host>127.0.0.1</host><port>{port}</port>"
        f"<user>default</user><password>{PASSWORD}</password></replica>"
    )


class Cluster:
    """Two servers and a keeper, under several names: see those above."""

    def __init__(self, binary: str, folder: Path) -> None:
        self._binary = binary
        self._folder = folder
        self._keeper: subprocess.Popen[bytes] | None = None
        self._keeper_port = free_port()
        self.replicas = [ClickHouseServer(binary, folder / name) for name in ("a", "b")]
        listed = [_listed(replica.port) for replica in self.replicas]
        for replica, name in zip(self.replicas, ("a", "b"), strict=True):
            replica.configure(
                _REPLICA.format(
                    interserver_port=free_port(),
                    keeper_port=self._keeper_port,
                    name=name,
                    replicas="".join(listed),
                    shards="".join(f"<shard>{one}</shard>" for one in listed),
                    first=listed[0],
                    nobody=_listed(free_port()),
                    nobody_else=_listed(free_port()),
                )
            )

    def start(self) -> None:
        folder = self._folder / "keeper"
        folder.mkdir(parents=True)
        config = folder / "config.xml"
        config.write_text(
            _KEEPER.format(folder=folder, port=self._keeper_port, raft_port=free_port())
        )
        self._keeper = subprocess.Popen(
            [self._binary, "keeper", f"--config-file={config}"],
            cwd=folder,
            env={**os.environ, "CLICKHOUSE_WATCHDOG_ENABLE": "0"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", self._keeper_port), timeout=1):
                    break
            except OSError:
                time.sleep(0.05)
        for replica in self.replicas:
            replica.start()

    def stop(self) -> None:
        for replica in self.replicas:
            replica.stop()
        if self._keeper is not None:
            self._keeper.send_signal(signal.SIGKILL)
            self._keeper.wait()
            self._keeper = None

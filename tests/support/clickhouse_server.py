"""A real ClickHouse server of the tests' own, on loopback, in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from random import SystemRandom

PASSWORD = "practice-password"

# By default there are hundreds of threads, which take long to start and keep a small machine busy.
_FEW_THREADS = {
    "asynchronous_metrics_update_period_s": 3600,
    "background_pool_size": 2,
    "background_move_pool_size": 1,
    "background_fetches_pool_size": 2,
    "background_common_pool_size": 2,
    "background_schedule_pool_size": 16,
    "background_buffer_flush_schedule_pool_size": 1,
    "background_message_broker_schedule_pool_size": 1,
    "background_distributed_schedule_pool_size": 2,
    "tables_loader_foreground_pool_size": 2,
    "tables_loader_background_pool_size": 2,
}

_FREE_ENTRIES = (
    "number_of_free_entries_in_pool_to_execute_mutation",
    "number_of_free_entries_in_pool_to_lower_max_size_of_merge",
    "number_of_free_entries_in_pool_to_execute_optimize_entire_partition",
)
"""What must not be larger than the pool."""

_CONFIG = """<clickhouse>
    <logger><level>warning</level><log>{folder}/server.log</log></logger>
    <listen_host>127.0.0.1</listen_host>
    <tcp_port>{port}</tcp_port>
    <path>{folder}/data/</path>
    <tmp_path>{folder}/tmp/</tmp_path>
    <user_files_path>{folder}/user_files/</user_files_path>
    <mark_cache_size>67108864</mark_cache_size>
    <max_server_memory_usage>4000000000</max_server_memory_usage>
    {few}
    <merge_tree>{merges}</merge_tree>
    <users>
        <default>
            <password>{password}</password>
            <networks><ip>127.0.0.1</ip></networks>
            <profile>default</profile>
            <quota>default</quota>
            <access_management>1</access_management>
        </default>
    </users>
    <profiles><default/></profiles>
    <quotas><default/></quotas>
    {more}
</clickhouse>
"""


def free_port() -> int:
    """A port nobody listens on just now, below those that systems hand out by themselves.

    One of those could be taken, by a connection even, until the server listens on it.
    """
    while True:
        port = SystemRandom().randrange(15_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as listener:
            listener.bind(("127.0.0.1", port))
            return port


class ClickHouseServer:
    """One server process; `kill` is kill -9, after which `start` opens the same data again."""

    def __init__(self, binary: str, folder: Path, more_config: str = "") -> None:
        self.port = free_port()
        self.folder = folder
        self._binary = binary
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._config = folder / "config.xml"
        self.configure(more_config)

    def configure(self, more: str) -> None:
        """Write the configuration, with more of it; before the start."""
        self._config.write_text(
            _CONFIG.format(
                folder=self.folder,
                port=self.port,
                password=PASSWORD,
                few="".join(f"<{name}>{value}</{name}>" for name, value in _FEW_THREADS.items()),
                merges="".join(f"<{name}>1</{name}>" for name in _FREE_ENTRIES),
                more=more,
            )
        )

    def url(self, database: str, user: str = "default", password: str = PASSWORD) -> str:
        return f"clickhouse://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        self._process = subprocess.Popen(
            [self._binary, "server", f"--config-file={self._config}"],
            cwd=self.folder,
            env={**os.environ, "CLICKHOUSE_WATCHDOG_ENABLE": "0"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"the server ended: see {self.folder}/server.log")
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                    return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("the server did not come up")

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    stop = kill

"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

import kalshi_fills


def describe_machine() -> str:
    """Return the processor, its cores as this process may use them, and the memory."""
    model = platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text().splitlines()
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        model = models[0] if models else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {cores} cores, {gib:.0f} GiB of memory, {platform.system()}"


def describe_load() -> str:
    """Return how many processes wanted a core, on average over the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


def describe_software(server: str | None, embedded: str | None) -> str:
    """Return the versions of everything that takes part; None for an engine that does not."""
    parts = [
        f"kalshi-fills {kalshi_fills.__version__}",
        f"Python {platform.python_version()}",
        f"clickhouse-driver {metadata.version('clickhouse-driver')}",
    ]
    if server is not None:
        parts.append(f"ClickHouse {server}")
    if embedded is not None:
        parts.append(f"chDB {metadata.version('chdb-core')} (ClickHouse {embedded})")
    return ", ".join(parts)

"""The documented cron line, as cron runs it: a bare environment, /bin/sh, output becomes mail."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from support.commandline import KEY_ID, ROOT, Account, Done, Target
from support.syncing import claim

from kalshi_fills.practice.account import generate_account
from kalshi_fills.practice.exchange import PracticeExchange


def documented() -> str:
    """Return the command of the line, which is the same in README and docs."""
    lines = set()
    for page in ("README.md", "docs/operating.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        lines |= set(re.findall(r"^\*/5 \* \* \* \*  (.+)$", text, re.MULTILINE))
    (line,) = lines
    assert "%" not in line  # which cron takes for the end of a line
    return str(line)


def test_cron_is_silent_while_all_is_well_and_speaks_of_failures_and_findings(
    target: Target,
    cli: Callable[..., Done],
    serve: Callable[..., PracticeExchange],
    api_key: Account,
    tmp_path: Path,
    now: datetime,
) -> None:
    exchange = serve(generate_account(1, 20, start=now - timedelta(days=1), end=now))
    variables = tmp_path / "env"
    variables.write_text(
        f"CLICKHOUSE_URL={target.url}\nKALSHI_API_URL={exchange.url}\n"
        f"KALSHI_API_KEY_ID={KEY_ID}\nKALSHI_PRIVATE_KEY_PATH={api_key.path}\n"
    )
    variables.chmod(0o600)
    program = tmp_path / "kalshi-fills"
    started = f"PYTHONPATH={ROOT} exec {sys.executable} -m kalshi_fills"
    program.write_text(f'#!/bin/sh\n{started} "$@"\n')
    program.chmod(0o700)
    line = documented().replace("/opt/kalshi-fills/bin/kalshi-fills", str(program))
    line = line.replace("/etc/kalshi-fills/env", str(variables))

    def mail() -> str:
        done = subprocess.run(
            ["/bin/sh", "-c", line],
            env={"HOME": str(tmp_path), "LOGNAME": "trader", "PATH": "/usr/bin:/bin"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.stdout + done.stderr

    assert "kalshi-fills migrate" in mail()

    assert cli("migrate", url=target.url).code == 0
    assert mail() == ""
    assert target.read("SELECT count() FROM DB.mm_fills_current") == [(20,)]

    lately = now - timedelta(minutes=30)
    exchange.insert_item(claim(lately), lately)
    told = mail()
    assert "1 refused item claims to be a fill" in told
    assert "kalshi-fills sync --accept-rejected" in told

    program.write_text("#!/bin/sh\necho another run is at work\nexit 75\n")
    assert mail() == ""
    log = (tmp_path / "kalshi-fills.log").read_text()
    assert "fill_pipeline_stats" in log
    assert log.endswith("another run is at work\n")

"""Draw the pictures of README and docs from what the demo really prints.

    python scripts/pictures.py

Plays the demo up to its first diagnosis on a terminal of its own, and writes `terminal.svg`, what
`kalshi-fills diagnose` prints there, and `report.png`, the page that `--report` writes, as Chromium
shows it. Needs the embedded engine, the extra `report`, and Chromium.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from PIL import Image
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from kalshi_fills.practice import demo
from kalshi_fills.practice.account import the_incident
from kalshi_fills.practice.exchange import PracticeExchange

IMAGES = Path(__file__).parents[1] / "docs" / "images"

COLUMNS = 92

ROWS = 34

KEY_ID = "practice-key"

SVG = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-family: sans-serif; font-size: 16px; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""Rich's own picture of a terminal without its link to a font elsewhere."""


class EnoughError(Exception):
    """The end of what is played: the first diagnosis was shown."""


class FirstDiagnosis:
    """A stage that runs the first command on a terminal, and once more for its page."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self.printed = ""
        self.page = folder / "incident.html"

    def narrate(self, text: str) -> None:
        """Do nothing: the pictures have captions of their own."""

    def run(self, *words: str, expected_code: int = 0) -> None:
        """Keep what the command prints, and stop the story."""
        code, self.printed = on_a_terminal([*words], self._environment, self._folder)
        assert code == expected_code, self.printed
        command = [sys.executable, "-m", "kalshi_fills", *words, "--report", str(self.page)]
        subprocess.run(command, env=self._environment, cwd=self._folder, capture_output=True)
        raise EnoughError


def on_a_terminal(words: list[str], environment: dict[str, str], folder: Path) -> tuple[int, str]:
    """Return the exit code of a command, and what it printed on a terminal of its own."""
    pid, handle = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # logs and progress
        command = [sys.executable, "-m", "kalshi_fills", *words]
        os.execve(sys.executable, command, {**environment, "COLUMNS": str(COLUMNS)})
    printed = b""
    while True:
        try:
            part = os.read(handle, 65536)
        except OSError:  # the terminal closes with its program
            break
        if not part:
            break
        printed += part
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), printed.decode()


def play_the_incident(folder: Path) -> FirstDiagnosis:
    """Return what the first diagnosis of the demo printed, and its page."""
    key = Ed25519PrivateKey.generate()
    key_file = folder / "key.pem"
    with os.fdopen(os.open(key_file, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    now = datetime.now(UTC)
    with PracticeExchange(account=the_incident(now), keys={KEY_ID: key.public_key()}) as exchange:
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "TERM": "xterm-256color",
            "CLICKHOUSE_URL": f"chdb://{folder}/clickhouse",
            "KALSHI_API_URL": exchange.url,
            "KALSHI_API_KEY_ID": KEY_ID,
            "KALSHI_PRIVATE_KEY_PATH": str(key_file),
            "XDG_STATE_HOME": str(folder / "state"),
        }
        stage = FirstDiagnosis(folder, environment)
        engine = demo.BrokenEngine(folder / "clickhouse", now)
        with contextlib.suppress(EnoughError):
            demo.play(stage, exchange, engine)
    return stage


def lines_of(printed: str) -> list[Text]:
    """Return the lines of a terminal's text, without what was drawn over."""
    text = re.sub(r"\x1b\[(?:\?25[lh]|[0-9]*[ABCDGJK])", "", printed)
    lines = [
        Text.from_ansi(line.rsplit("\r", 1)[-1]) for line in text.replace("\r\n", "\n").split("\n")
    ]
    while lines and not lines[-1].plain.strip():
        lines.pop()
    while lines and not lines[0].plain.strip():
        lines.pop(0)
    return lines


def draw_terminal(printed: str, to: Path) -> None:
    """Write the first rows of a terminal as an SVG."""
    lines = lines_of(printed)
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        console.print(Text("$ kalshi-fills diagnose", style="bold"))
        for line in lines[: ROWS - 2]:
            console.print(line, no_wrap=True, crop=True)
        if len(lines) > ROWS - 2:
            console.print(Text("…", style="dim"))
        svg = console.export_svg(
            title="kalshi-fills", theme=MONOKAI, code_format=SVG, unique_id="terminal"
        )
    to.write_text(re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE), encoding="utf-8")


def draw_page(page: Path, to: Path) -> None:
    """Write a page as a small PNG, as a browser shows its top."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("chromium is not installed")
    large = page.with_suffix(".png")
    subprocess.run(
        [
            *(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *("--window-size=1280,1150", f"--screenshot={large}", page.as_uri()),
        ],
        check=True,
        capture_output=True,
        cwd=page.parent,
    )
    with Image.open(large) as picture:
        small = picture.convert("RGB").quantize(32, dither=Image.Dither.NONE)
        small.save(to, optimize=True)


def main() -> None:
    """Draw both pictures."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        stage = play_the_incident(Path(name))
        draw_terminal(stage.printed, IMAGES / "terminal.svg")
        draw_page(stage.page, IMAGES / "report.png")
    for path in sorted(IMAGES.iterdir()):
        print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

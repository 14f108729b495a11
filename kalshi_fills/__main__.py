"""`python -m kalshi_fills` is the same as `kalshi-fills`."""

from __future__ import annotations

from typing import NoReturn

from kalshi_fills.host import process


def _command_line() -> process.CommandLine:
    from kalshi_fills.cli import commands as cli

    return cli


def main() -> NoReturn:
    """Run the command line as a process, and end it with the command's exit code."""
    process.run(_command_line)


if __name__ == "__main__":
    main()

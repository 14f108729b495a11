"""`python -m kalshi_fills` is the same as `kalshi-fills`."""

from __future__ import annotations

from typing import NoReturn

from kalshi_fills.host import process
from kalshi_fills.host.interpreter import expect_many_objects


def command_line() -> process.CommandLine:
    """Import the command line with its commands, which takes most of a short run."""
    from kalshi_fills.cli import app, commands, looking

    assert commands  # its import registers the commands with the app
    assert looking
    return app


def main() -> NoReturn:
    """Run the command line as a process, and end it with the command's exit code."""
    expect_many_objects()
    process.run(command_line)


if __name__ == "__main__":
    main()

"""The env file: the one that was named, or `.env` in the working folder if it can be trusted."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path

from dotenv.parser import parse_stream

from kalshi_fills.cli.options import reason_of
from kalshi_fills.errors import Mistakes
from kalshi_fills.host.printable import path_to_show
from kalshi_fills.host.trusted import Untrusted, read_file, require_not_for_everybody, require_own


def read_env_file(
    named: str | None, folder: Path | None, mistakes: Mistakes
) -> Mapping[str, str | None]:
    """Return the variables of the named file, or of `.env` if there is one.

    A folder named `.env` is a virtual environment, and is left alone.
    """
    path = Path(named) if named else (folder or Path()) / ".env"
    where = path_to_show(path, "that --env-file names") if named else ".env in the working folder"
    if not named and (os.path.isdir(path) or not os.path.lexists(path)):
        return {}
    try:
        if named:
            require_not_for_everybody(path)
        else:
            require_own(path)
        text = read_file(path).decode("utf-8-sig")
    except Untrusted as error:
        elsewhere = "" if named else "; --env-file names another file"
        mistakes.add(f"the env file {where} {error.why}", f"{error.hint}{elsewhere}")
        return {}
    except UnicodeDecodeError:
        mistakes.add(f"the env file {where} is not UTF-8 text", "save it as UTF-8")
        return {}
    except (OSError, ValueError) as error:
        mistakes.add(
            f"the env file {where} cannot be read: {reason_of(error)}",
            "check the path after --env-file" if named else "name another one with --env-file",
        )
        return {}
    values: dict[str, str | None] = {}
    for line in parse_stream(io.StringIO(text)):
        if line.error:
            mistakes.add(
                f"the env file {where} has a line that cannot be read: line {line.original.line}",
                "write NAME=value; a value with spaces or line ends stands in quotes",
            )
        elif line.key is not None:
            values[line.key] = line.value
    return values

"""Values that come from files, as containers mount their secrets: `<variable>_FILE` names one.

No message repeats what a file holds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

from kalshi_fills.cli.options import reason_of
from kalshi_fills.errors import Mistakes
from kalshi_fills.host.printable import looks_like_key, path_to_show
from kalshi_fills.host.trusted import Untrusted, read_file, require_not_for_everybody

CLICKHOUSE_PASSWORD: Final = "CLICKHOUSE_PASSWORD"  # noqa: S105 - the name of a variable

_SCHEMES: Final = ("clickhouse", "clickhouses")


def read_secret_file(variable: str, path: str, mistakes: Mistakes) -> str | None:
    """Return the one line that a file holds, without its line end; None if there is a mistake.

    Args:
        variable: the variable that names the file.
        path: what the variable says.
        mistakes: collects why the file cannot be used.
    """
    where = path_to_show(path, f"that {variable} names")
    if looks_like_key(path) or "://" in path:
        mistakes.add(
            f"{variable} is not the path of a file", "name the file; the value stands inside it"
        )
        return None
    try:
        file = Path(path).expanduser()
        require_not_for_everybody(file)
        text = read_file(file).decode("utf-8-sig").rstrip("\r\n")
    except Untrusted as error:
        mistakes.add(f"the file {where} in {variable} {error.why}", error.hint)
        return None
    except UnicodeDecodeError:
        mistakes.add(f"the file {where} in {variable} is not UTF-8 text", "write it once more")
        return None
    except (OSError, RuntimeError, ValueError) as error:
        mistakes.add(
            f"the file {where} in {variable} cannot be read: {reason_of(error)}",
            f"check the path in {variable} and who may read it",
        )
        return None
    if not text.strip() or not text.isprintable():
        why = "has more than one line" if text.strip() else "is empty"
        mistakes.add(f"the file {where} in {variable} {why}", "write the value as its only line")
        return None
    return text


def with_password(url: str | None, path: str | None, mistakes: Mistakes) -> str | None:
    """Return the URL of a server with the password that a file holds, if a file is named.

    Args:
        url: what `CLICKHOUSE_URL` is; None where it is not set.
        path: what `CLICKHOUSE_PASSWORD_FILE` says.
        mistakes: collects why the file cannot be used.
    """
    if path is None:
        return url
    variable = f"{CLICKHOUSE_PASSWORD}_FILE"
    password = read_secret_file(variable, path, mistakes)
    try:
        parts = urlsplit(url or "")
        _ = parts.port
    except ValueError:  # it gets a sentence of its own
        return url
    if parts.scheme not in _SCHEMES:
        if url is None or parts.scheme == "chdb":
            mistakes.add(
                f"{variable} is set, but CLICKHOUSE_URL names no server",
                "set CLICKHOUSE_URL=clickhouse://user@host:9000/kalshi as well, or leave "
                f"{variable} out",
            )
        return url
    if parts.password is not None:
        mistakes.add(
            f"the URL of ClickHouse has a password, and {variable} is set",
            f"leave the password out of the URL, or {variable}",
        )
        return url
    user, at, host = parts.netloc.rpartition("@")
    if password is None:
        return url
    user = user if at else "default"
    netloc = f"{user.rstrip(':') or 'default'}:{quote(password, safe='')}@{host}"
    return urlunsplit(parts._replace(netloc=netloc))

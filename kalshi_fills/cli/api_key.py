"""The API key: its id and its private key, from a file or a variable, to what signs requests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from kalshi_fills.errors import Mistakes, SettingsError
from kalshi_fills.exchange.signing import Signer, read_private_key
from kalshi_fills.host.printable import looks_like_key, path_to_show
from kalshi_fills.host.trusted import Untrusted, read_file, require_not_for_everybody

_KEY_ID: Final = re.compile(r"[\x21-\x3f\x41-\x7e]{1,128}").fullmatch


def read_signer(
    key_id: str | None,
    path: str | None,
    pem: str | None,
    mistakes: Mistakes,
    warnings: list[str],
) -> Signer | None:
    """Return what signs requests; None if no key is configured, or if it cannot be used.

    Args:
        key_id: the id of the API key.
        path: the file of the private key, which wins over its text.
        pem: the text of the private key.
        mistakes: collects what is wrong.
        warnings: collects what is risky.
    """
    if key_id is None and path is None and pem is None:
        return None
    if key_id is None:
        mistakes.add(
            "a private key is configured, but no key id",
            "set KALSHI_API_KEY_ID to the id shown beside the key on Kalshi's API keys page",
        )
    elif looks_like_key(key_id):
        mistakes.add(
            "KALSHI_API_KEY_ID is not a key's id: it looks like the text of a key",
            "it is the id shown beside the key; the text of the key goes into KALSHI_PRIVATE_KEY",
        )
    elif not _KEY_ID(key_id) or "://" in key_id:
        mistakes.add(
            "the API key id has spaces or signs that no key id has",
            "copy KALSHI_API_KEY_ID once more",
        )
    if path is None and pem is None:
        mistakes.add(
            "an API key id is configured, but no private key",
            "set KALSHI_PRIVATE_KEY_PATH to the key's file; if that is lost, make a new key on "
            "Kalshi's API keys page",
        )
        return None
    where = "KALSHI_PRIVATE_KEY"
    if path is not None:
        where, read = _key_file(path, mistakes, warnings)
        if read is None:
            return None
        pem = read
    assert pem is not None
    # A key in a variable often has its line ends written out.
    text = pem.replace("\\n", "\n") if path is None else pem
    try:
        return Signer(key_id or "", read_private_key(text, where))
    except SettingsError as error:
        mistakes.note(error)
        return None


def _key_file(path: str, mistakes: Mistakes, warnings: list[str]) -> tuple[str, str | None]:
    """Return what to call the key's file in a sentence, and its text if it can be read."""
    unnamed = "in the file that KALSHI_PRIVATE_KEY_PATH names"
    where = path_to_show(path, unnamed)
    try:
        file = Path(path).expanduser()
        require_not_for_everybody(file)
        pem = read_file(file).decode("utf-8")
        if file.stat().st_mode & 0o077:
            warnings.append(
                f"the private key {where} can be read by other users; run: chmod 600 {where}"
            )
        return where, pem
    except Untrusted as error:
        mistakes.add(f"the private key {where} {error.why}", error.hint)
    except (OSError, RuntimeError, ValueError) as error:
        is_other = looks_like_key(path) or where == unnamed
        if is_other:
            mistakes.add(
                "KALSHI_PRIVATE_KEY_PATH (or --private-key) is not the path of a file",
                "name the file of the key; the text of the key goes into KALSHI_PRIVATE_KEY",
            )
        else:
            why = getattr(error, "strerror", None) or "it is not a text file"
            mistakes.add(
                f"the private key {where} cannot be read: {why.lower()}",
                "check the path in KALSHI_PRIVATE_KEY_PATH and who may read it; a lost key cannot "
                "be downloaded again: make a new one on Kalshi's API keys page",
            )
    return where, None

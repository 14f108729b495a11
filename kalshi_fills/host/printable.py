"""What may be printed: no control character, and no value that may be a secret.

A value that the operator gave is quoted only where it is short and plain: words, numbers, times and
paths. The text of a key, a URL with a password and a password with digits are not, wherever they
stand. Known secrets are also removed from every text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final
from urllib.parse import quote

MASK: Final = "***"

_LONGEST_QUOTED: Final = 100

_SEPARATORS: Final = frozenset(" /._~,;'\"()[]{}`$<>*#!?&|^-")

_PLAIN_WORD: Final = re.compile(
    r"[0-9]{1,20}|[0-9]{1,12}[A-Za-z]{1,2}|[A-Za-z]{1,4}[0-9]|[0-9][a-z]{1,10}|[0-9]{1,8}T[0-9]{1,6}Z?"
).fullmatch

_LONGEST_WORD: Final = 24

_CLOCK: Final = re.compile(r"(?<=[0-9]):(?=[0-9])")

_RUN: Final = re.compile(r"[A-Za-z0-9]{32,}")

_HEX: Final = re.compile(r"[0-9A-Fa-f]{64,}").fullmatch

_BASE64_RUN: Final = re.compile(r"[A-Za-z0-9+/]{40,}={0,2}")

_ARMOUR: Final = re.compile(
    r"-{3,}\s*BEGIN\b[^\"]*?(?:-{3,}\s*END\b[^-]*-{3,}|(?=\")|\Z)", re.IGNORECASE
)

_USER_INFORMATION: Final = re.compile(r"(?<=://)[^\s/?#@\"']*:[^\s\"']*@(?=[^\s@])")

_SHORTEST_REPLACED: Final = 4


def visible(text: str) -> str:
    """Return the text with every character escaped that could steer or deceive a terminal.

    Escaped are control characters (C0, C1, DEL), bidirectional and zero-width marks, lone
    surrogates and line separators, as Python would write them; line ends, too.
    """
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def visible_lines(text: str) -> str:
    r"""Return the text as `visible` does, with its line ends (`\n`) kept."""
    return "\n".join(map(visible, text.split("\n")))


def ascii_json(value: object, default: Callable[[object], str] | None = None) -> str:
    """Return a value as JSON in printable ASCII, on one line.

    Args:
        value: what is written.
        default: makes a text of a value that JSON does not have.
    """
    return json.dumps(value, default=default).replace("\x7f", "\\u007f")


def is_plain(value: str) -> bool:
    """Return whether a value is so short and plain that it can be no secret."""
    if not 0 < len(value) <= _LONGEST_QUOTED or not value.isprintable() or "---" in value:
        return False
    words = "".join(
        " " if letter in _SEPARATORS else letter for letter in _CLOCK.sub(" ", value)
    ).split()
    return all(map(_is_plain_word, words))


def quoted(value: str) -> str:
    """Return a value in quotes, with a space before it, or nothing if it may be a secret."""
    return f" '{value}'" if is_plain(value) else ""


def path_to_show(path: Path | str, otherwise: str) -> str:
    """Return a path for a sentence; `otherwise` if what is written there may be a secret.

    What exists on this machine is a path; of the rest each part has to be plain.
    """
    text = str(path)
    try:
        there = next(
            (at for at in (Path(text), *Path(text).parents) if at.exists()), Path(text).parent
        )
        rest = str(Path(text).relative_to(there)) if there != Path() else text
    except (OSError, ValueError, RuntimeError):
        return otherwise
    is_path = rest == "." or (len(text) < 4096 and is_plain(rest))
    return visible(text) if is_path and not looks_like_key(rest) else otherwise


def looks_like_key(text: str) -> bool:
    """Return whether a text may be the text of a private key, or a line of it: PEM, base64, hex."""
    if "PRIVATE KEY" in text or "---" in text:
        return True
    if any(_has_kinds(run, 3) or _HEX(run) for run in _RUN.findall(text)):
        return True
    return any(_has_kinds(run, 3) for run in _BASE64_RUN.findall(text))


def masked(sentence: str) -> str:
    """Return a library's sentence about a value with each word masked that is not plain."""
    words = _ARMOUR.sub(MASK, sentence).split()
    shown: list[str] = []
    for word in words:
        bare = word.strip("'\"():,.;")
        if bare and not is_plain(bare):
            word = word.replace(bare, MASK)
        if not (shown and word == MASK == shown[-1]):
            shown.append(word)
    return " ".join(shown)


def redact(text: str, secrets: Iterable[str]) -> str:
    """Return the text without the secrets, nor any key or password of a URL that is in it."""
    for secret in secrets:
        for spelling in _spellings(secret):
            if len(spelling) >= _SHORTEST_REPLACED:
                text = text.replace(spelling, MASK)
    # A password of three letters is in many words; with user and host around it it is found here.
    return _USER_INFORMATION.sub(MASK + "@", _ARMOUR.sub(MASK, text))


def _spellings(secret: str) -> list[str]:
    lines = [line for line in secret.replace("\\n", "\n").splitlines() if len(line) > 15]
    whole = [secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], visible(secret)]
    whole += [
        json.dumps(secret, ensure_ascii=False)[1:-1],
        quote(secret, safe="", errors="replace"),
    ]
    return sorted({*whole, *lines}, key=len, reverse=True)


def _is_plain_word(word: str) -> bool:
    if not word.isalnum() or len(word) > _LONGEST_WORD:
        return False
    if word.isalpha():
        return word.islower() or word.isupper() or word.istitle() or not word.isascii()
    return bool(_PLAIN_WORD(word))


def _has_kinds(run: str, count: int) -> bool:
    kinds = (str.isupper, str.islower, str.isdigit)
    return sum(any(map(kind, run)) for kind in kinds) >= count

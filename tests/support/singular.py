"""Text in which a count of one must not be followed by a plural."""

from __future__ import annotations

import re
import textwrap

_NOUNS = (
    "backups|breaks|checks|columns|contents|days|differences|disagreements|fills|hosts|hours"
    "|ids|items|markets|minutes|orders|pages|positions|repeats|requests|rows|runs|seconds|settlements"
    "|tables|times"
)

_PLURAL = re.compile(
    rf"(?<![\d.,:-])1 (?:(?:distinct fill|more|open|refused|settled|stored) )?(?:{_NOUNS})\b"
    r"|(?<![\d.,:-])1 (?:[a-z]+ ){0,4}(?:are|were|have|differ|claim|look|stand|warn|fail)\b"
    rf"|(?<![\d.,:-])1 of [\d,]+ (?:{_NOUNS}) (?:\([\d.%]+\) )?(?:are|were|have|differ|fail)\b"
    r"|\(s\)"
)


def plurals_of_one(text: str) -> list[str]:
    """Return where a text, in lines of whatever width, has a plural after a count of one."""
    words = " ".join(textwrap.dedent(text).split())
    return [match.group() for match in _PLURAL.finditer(words)]

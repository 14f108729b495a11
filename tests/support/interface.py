"""The command line as it declares itself: commands and options, without running anything."""

from __future__ import annotations

from typing import Any

from kalshi_fills import __main__ as program


def _group() -> Any:
    """Return the app with all its commands, as it is started."""
    return program.command_line().command_line()


def command_names() -> list[str]:
    """Return the names of the commands, in the order of the help."""
    return list(_group().commands)


def options_of(command: str) -> set[str]:
    """Return the long options that may stand behind a command."""
    params = _group().commands[command].params
    return {name for param in params for name in param.opts if name.startswith("--")}


def all_options() -> set[str]:
    """Return the long options that may stand before or behind any command."""
    own = {name for param in _group().params for name in param.opts}
    return own.union(*map(options_of, command_names())) | {"--help"}


def unknown_words(words: list[str]) -> list[str]:
    """Return what the command line does not know among the words of an invocation."""
    group = _group()
    unknown, expects_value, command = [], False, None
    for word in words:
        if expects_value:
            expects_value = False
        elif word.startswith("--"):
            params = [*group.params, *(command.params if command else [])]
            found = next((param for param in params if word in param.opts), None)
            if found is None:
                unknown.append(word)
            else:
                expects_value = not getattr(found, "is_flag", False)
        elif command is None:
            command = group.commands.get(word)
            if command is None:
                unknown.append(word)
    return unknown

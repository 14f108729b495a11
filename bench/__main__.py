"""Measure speed and memory of the tool, as ratios side by side in one run.

Whole processes are timed, start-up included. A ClickHouse server is measured if CLICKHOUSE_BINARY
is set, the embedded engine if it is installed. A table in Markdown comes at the end.
"""

from __future__ import annotations

import argparse
import compileall
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from platformdirs import user_cache_path

import kalshi_fills
from bench.competitors import install
from bench.engines import CHDB, SERVER, EmbeddedEngine, Engine, engine_version, server_engine
from bench.first_syncs import first_sync, latency, paced
from bench.large_tables import again, nothing_new, offline
from bench.machine import describe_load, describe_machine, describe_software
from bench.measure import Failed
from bench.results import markdown
from bench.setting import Setting
from bench.startup import startup
from bench.whole_accounts import diagnose, memory
from kalshi_fills.errors import KalshiFillsError

BENCHMARKS: Final[Mapping[str, Callable[[Setting], None]]] = {
    "startup": startup,
    "first_sync": first_sync,
    "latency": latency,
    "paced": paced,
    "nothing_new": nothing_new,
    "offline": offline,
    "again": again,
    "diagnose": diagnose,
    "memory": memory,
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog="\n".join(f"  {name:12} {each.__doc__}" for name, each in BENCHMARKS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which benchmarks (all)")
    parser.add_argument("--runs", type=int, default=5, help="rounds, of which medians count (5)")
    parser.add_argument(
        "--large", action="store_true", help="sizes that take very long, too: 40 million rows"
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, help="multiply all counts, to try a benchmark (1)"
    )
    parser.add_argument("--engine", choices=(SERVER, CHDB), help="this engine alone")
    parser.add_argument(
        "--cache",
        type=Path,
        default=user_cache_path("kalshi-fills-bench"),
        help="where the competitors are installed (%(default)s)",
    )
    parser.add_argument("--folder", type=Path, help="where tables and accounts lie meanwhile")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}: {', '.join(BENCHMARKS)}")
    return arguments


def _engines(only: str | None, folder: Path, stack: ExitStack) -> list[Engine]:
    engines: list[Engine] = []
    binary = os.environ.get("CLICKHOUSE_BINARY")
    if binary and only != CHDB:
        engines.append(stack.enter_context(server_engine(binary, folder / "server")))
    if find_spec("chdb") and only != SERVER:
        engines.append(EmbeddedEngine(folder))
    return engines


def _about(setting: Setting, scale: float) -> list[str]:
    """Return what the figures were measured on."""
    versions: dict[str, str] = {}
    for engine in setting.engines:
        versions[engine.name] = engine_version(engine.url("versions"))
        engine.drop("versions")
    lines = [
        f"Measured on {describe_machine()}, with "
        f"{describe_software(versions.get(SERVER), versions.get(CHDB))}; "
        f"medians of {setting.runs}, ratios within one round."
    ]
    if setting.competitors:
        lines.append(f"Beside {'; '.join(each.versions for each in setting.competitors)}.")
    if scale != 1:
        lines.append(f"All counts are multiplied by {scale:g}: a trial, not a measurement.")
    return lines


def main() -> int:
    """Measure what is asked for; return the exit code."""
    arguments = _arguments()
    # As an installed package is; else each run would compile what has changed since.
    compileall.compile_dir(Path(kalshi_fills.__file__).parent, quiet=2)
    names = arguments.names or list(BENCHMARKS)
    if arguments.folder is not None:
        arguments.folder.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="kalshi-fills-bench-", dir=arguments.folder))
    failures = 0
    try:
        with ExitStack() as stack:
            engines = _engines(arguments.engine, folder, stack)
            if not engines:
                print("no engine: set CLICKHOUSE_BINARY or install the embedded one")
                return 2
            setting = Setting(
                folder,
                engines,
                runs=arguments.runs,
                scale=arguments.scale,
                large=arguments.large,
            )
            if setting.server is None:
                setting.say("no server is measured (CLICKHOUSE_BINARY), so no competitor either")
            elif "first_sync" in names:
                setting.competitors = install(arguments.cache, setting.say)
            about, load_before = _about(setting, arguments.scale), describe_load()
            try:
                for name in names:
                    try:
                        BENCHMARKS[name](setting)
                    except (Failed, KalshiFillsError) as failure:
                        failures += 1
                        setting.say(f"{name}: failed, {failure}")
            except KeyboardInterrupt:
                failures += 1
                setting.say("interrupted")
            finally:
                load = f"Load of the machine: {load_before} before, {describe_load()} after."
                setting.say("\n" + markdown(setting.results, [*about, load]))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

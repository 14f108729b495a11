"""What a run was, as metrics in Prometheus' text format; other runs' samples are kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import TYPE_CHECKING, Final, NamedTuple

from kalshi_fills.pipeline.fills import Reason

if TYPE_CHECKING:
    from prometheus_client import Metric

    from kalshi_fills.diagnose.run import Diagnosis
    from kalshi_fills.reconcile.breaks import Break
    from kalshi_fills.sync.report import SyncReport

_PREFIX: Final = "kalshi_fills_"

_LAST_SUCCESS: Final = "last_success_timestamp_seconds"

HELP: Final[Mapping[str, str]] = {
    "last_run_timestamp_seconds": "When the last run of the command ended.",
    _LAST_SUCCESS: "When the last run that ended with 0 or 3 did so.",
    "last_exit_code": "Exit code of the last run of the command.",
    "last_duration_seconds": "How long the last run of the command took.",
    "watermark_timestamp_seconds": "Event time up to which every fill is known to be stored.",
    "items": "Items at each stage of the last sync, as far as it got.",
    "refused": "Items that the last sync refused, by reason.",
    "breaks": "Disagreements that the command's last comparison with the exchange found.",
    "check": "Checks of the last diagnosis: 1 pass, 0.5 warn, 0 fail, -1 skip.",
}
"""Every metric of this version, without the prefix, and what it means."""

_CHECK_VALUES: Final = {"pass": 1.0, "warn": 0.5, "fail": 0.0, "skip": -1.0}

_SUCCESSES: Final = (0, 3)

_SCOPES: Final = ("fill", "order", "position", "settlement")

_KINDS: Final = ("missing", "unexpected", "mismatch")


class NotOurs(ValueError):
    """A file that is to hold metrics holds something else."""


class EndedRun(NamedTuple):
    """A run that has ended, of `sync` or `diagnose`."""

    command: str
    table: str
    """The fills table with its database."""
    exit_code: int
    ended_at: float
    """Seconds since 1970."""
    seconds: float
    sync: SyncReport | None = None
    """What a sync did, as far as it got."""
    diagnosis: Diagnosis | None = None
    """What a diagnosis found; None where it failed."""


class _Sample(NamedTuple):
    name: str
    labels: tuple[tuple[str, str], ...]
    value: float

    def is_of(self, name: str, labels: Mapping[str, str]) -> bool:
        """Return whether it is a sample of this metric, with these labels and perhaps more."""
        return self.name == name and labels.items() <= dict(self.labels).items()


def metrics_after(run: EndedRun, before: str) -> str:
    """Return the text of a metrics file after a run, made of its text before.

    The samples of other tables and of the other command stay, and so does what this run has
    nothing new of: the last success of a run that failed, the breaks where nothing was compared.

    Raises:
        NotOurs: the text is not that of such a file.
    """
    helps = {_PREFIX + name: text for name, text in HELP.items()}
    kept: list[_Sample] = []
    for metric in _parsed(before):
        helps.setdefault(metric.name, metric.documentation)
        kept += [
            _Sample(sample.name, tuple(sorted(sample.labels.items())), sample.value)
            for sample in metric.samples
        ]
    for name, labels, samples in _changes(run):
        full = _PREFIX + name
        replaced = {"table": run.table, **labels}
        kept = [sample for sample in kept if not sample.is_of(full, replaced)]
        kept += [
            _Sample(full, tuple(sorted({**replaced, **more}.items())), value)
            for more, value in samples
        ]
    return _written(helps, kept)


def _parsed(text: str) -> list[Metric]:
    from prometheus_client.parser import text_string_to_metric_families

    try:
        found = list(text_string_to_metric_families(text))
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise NotOurs("it holds something else than metrics") from error
    for metric in found:
        if not metric.name.startswith(_PREFIX):
            raise NotOurs("it holds metrics of another program")
    return found


_Labelled = tuple[Mapping[str, str], float]
"""Further labels of a sample, and its value."""


def _changes(run: EndedRun) -> Iterator[tuple[str, Mapping[str, str], Iterable[_Labelled]]]:
    """Yield each metric that the run replaces, the labels of what is replaced, and the samples."""
    of_command = {"command": run.command}
    yield "last_run_timestamp_seconds", of_command, [({}, run.ended_at)]
    if run.exit_code in _SUCCESSES:
        yield _LAST_SUCCESS, of_command, [({}, run.ended_at)]
    yield "last_exit_code", of_command, [({}, float(run.exit_code))]
    yield "last_duration_seconds", of_command, [({}, run.seconds)]
    if run.sync is not None and run.sync.window is not None:
        yield from _changes_of_sync(run.sync)
    if run.diagnosis is not None:
        yield (
            "check",
            {},
            [({"check": one.name}, _CHECK_VALUES[one.status]) for one in run.diagnosis.checks],
        )
        if not run.diagnosis.offline:
            yield "breaks", of_command, _numbers_of(run.diagnosis.breaks)


def _changes_of_sync(
    report: SyncReport,
) -> Iterator[tuple[str, Mapping[str, str], Iterable[_Labelled]]]:
    is_done = report.status == "done"
    if report.watermark is not None:
        yield "watermark_timestamp_seconds", {}, [({}, report.watermark.timestamp())]
    elif is_done:  # the next run reads everything again
        yield "watermark_timestamp_seconds", {}, []
    yield (
        "items",
        {},
        [
            ({"stage": name.removeprefix("n_")}, float(count))
            for name, count in report.counts.as_dict().items()
        ],
    )
    refused = Counter[str](dict.fromkeys(map(str, Reason), 0))
    for group in report.refusals.groups():
        refused[str(group.reason)] += group.count
    yield "refused", {}, [({"reason": reason}, float(count)) for reason, count in refused.items()]
    if is_done:
        yield "breaks", {"command": "sync"}, _numbers_of(report.breaks)


def _numbers_of(breaks: Iterable[Break]) -> list[_Labelled]:
    """Return how many breaks there are of each scope and kind, none included."""
    found = Counter((one.scope, one.kind) for one in breaks)
    return [
        ({"scope": scope, "kind": kind}, float(found[scope, kind]))
        for scope, kind in product(_SCOPES, _KINDS)
    ]


def _written(helps: Mapping[str, str], samples: Iterable[_Sample]) -> str:
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.registry import Collector

    class Given(Collector):
        def collect(self) -> Iterable[Metric]:
            for name, text in helps.items():
                family = GaugeMetricFamily(name, text)
                for sample in sorted(samples):
                    if sample.name == name:
                        family.add_sample(name, dict(sample.labels), sample.value)
                if family.samples:
                    yield family

    registry = CollectorRegistry()
    registry.register(Given())
    return generate_latest(registry).decode()

"""The image, the compose file, the units and the CronJob: what they start exists, and how it ends.

What these files need to run (a container engine, an init system, a cluster) is not here; their
schemas are checked where the programs that know them are installed.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest
from support.commandline import ROOT
from support.deploying import DEPLOY, known_variables, parsed
from support.interface import unknown_words

import kalshi_fills

SYSTEMD = sorted((DEPLOY / "systemd").iterdir())

VARIABLE = re.compile(r"\b(?:KALSHI|CLICKHOUSE)_[A-Z_]+\b")

OF_CLICKHOUSE_IMAGE = {
    *("CLICKHOUSE_DB", "CLICKHOUSE_USER", "CLICKHOUSE_PASSWORD_FILE"),
    "CLICKHOUSE_DEFAULT_ACCESS_MANAGEMENT",
}

OF_COMPOSE_FILE = {"KALSHI_FILLS_UID", "KALSHI_FILLS_GID"}


def unit(path: Path) -> ConfigParser:
    parser = ConfigParser(strict=False, interpolation=None, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(path)
    return parser


def test_every_file_says_what_to_change() -> None:
    told = "what to change"
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.suffix != ".dockerignore" and path.suffix != ".sh":
            assert told in path.read_text(encoding="utf-8").lower(), path


def test_variables_exist() -> None:
    known = known_variables()
    for path in ("kubernetes/cronjob.yaml", "systemd/kalshi-fills-sync.service", "Dockerfile"):
        for name in VARIABLE.findall((DEPLOY / path).read_text()):
            assert name in known, (path, name)
    (compose,) = parsed("compose.yaml")
    for name, service in compose["services"].items():
        allowed = OF_CLICKHOUSE_IMAGE if name == "clickhouse" else known
        for variable in service.get("environment", {}):
            assert variable in allowed or variable.startswith("GF_"), (name, variable)
    written = set(VARIABLE.findall((DEPLOY / "compose.yaml").read_text()))
    assert written <= known | OF_CLICKHOUSE_IMAGE | OF_COMPOSE_FILE


def test_invocations_exist() -> None:
    (compose,) = parsed("compose.yaml")
    services = compose["services"]
    cron, migrate = parsed("kubernetes/cronjob.yaml")
    cron_pod = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    migrate_pod = migrate["spec"]["template"]["spec"]
    lines = re.findall(r"kalshi-fills (sync [^&\n]+) &", services["sync"]["entrypoint"][2])
    assert lines == ["sync --format json"]
    check = services["sync"]["healthcheck"]["test"]
    assert check[:2] == ["CMD", "kalshi-fills"]
    invocations = [
        services["migrate"]["command"],
        check[2:],
        shlex.split(lines[0]),
        cron_pod["containers"][0]["args"],
        migrate_pod["containers"][0]["args"],
    ]
    for path in SYSTEMD:
        start = unit(path).get("Service", "ExecStart", fallback="")
        if start.startswith("/opt/kalshi-fills/bin/kalshi-fills "):
            invocations.append(shlex.split(start)[1:])
    assert len(invocations) == 7
    for words in invocations:
        assert unknown_words(words) == [], words


def test_the_image_is_not_root_and_has_both_editions() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", text, re.MULTILINE)
    assert [name for _, name in stages][-2:] == ["embedded", "server"]
    assert all("slim" in base for base, name in stages if ":" in base)
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
    assert 'ENTRYPOINT ["kalshi-fills"]' in text
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for name in source.split():
            assert (ROOT / name).exists(), name
            assert f"!{name}" in (DEPLOY / "Dockerfile.dockerignore").read_text().split()


def test_the_loop_of_the_compose_file_syncs_pauses_and_stops(tmp_path: Path) -> None:
    """The second pause stops the container, as `docker stop` does."""
    script = parsed("compose.yaml")[0]["services"]["sync"]["entrypoint"]
    calls = tmp_path / "calls"
    calls.touch()
    for name, text in {
        "kalshi-fills": f"echo kalshi-fills $* >> {calls}; exit 3",
        "sleep": f"echo sleep $* >> {calls}; [ $(grep -c sleep {calls}) -lt 2 ] && exit 0\n"
        "kill -TERM $PPID; exec /bin/sleep 60",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o700)
    command = [word.replace("$$", "$") for word in script]
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}

    ended = subprocess.run(command, env=environment, timeout=30)

    assert ended.returncode == 0
    sync, pause = "kalshi-fills sync --format json", "sleep 300"
    assert calls.read_text().splitlines() == [sync, pause, sync, pause]

    once = subprocess.run([*command, "diagnose", "--offline"], env=environment, timeout=30)

    assert once.returncode == 3
    assert calls.read_text().splitlines()[4:] == ["kalshi-fills diagnose --offline"]


def test_the_service_alerts_on_all_but_0_and_75() -> None:
    service = unit(DEPLOY / "systemd" / "kalshi-fills-sync.service")
    assert service["Service"]["Type"] == "oneshot"
    assert service["Service"]["SuccessExitStatus"] == "75"
    assert service["Service"]["User"] != "root"
    assert "Restart" not in service["Service"]
    assert service["Unit"]["OnFailure"] == "kalshi-fills-alert@%n.service"


def test_the_units_are_valid(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    for path in SYSTEMD:
        name = path.name.replace("@.", "@x.")
        text = path.read_text().replace("/opt/kalshi-fills/bin/kalshi-fills", "/bin/true")
        (tmp_path / name).write_text(text)
    names = [str(path) for path in sorted(tmp_path.iterdir())]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *names], capture_output=True, text=True
    )
    complaints = [line for line in done.stderr.splitlines() if "kalshi-fills" in line]
    assert complaints == []


def test_the_cron_job_never_overlaps_and_never_restarts() -> None:
    cron, migrate = parsed("kubernetes/cronjob.yaml")
    assert cron["spec"]["concurrencyPolicy"] == "Forbid"
    job = cron["spec"]["jobTemplate"]["spec"]
    for spec in (job, migrate["spec"]):
        assert spec["backoffLimit"] == 0
        pod = spec["template"]["spec"]
        assert pod["restartPolicy"] == "Never"
        assert pod["securityContext"]["runAsNonRoot"] is True
        (container,) = pod["containers"]
        assert container["image"] == f"kalshi-fills:{kalshi_fills.__version__}"
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert set(mounted) == {volume["name"] for volume in pod["volumes"]}
        for variable in container["env"]:
            value = variable["value"]
            assert not value.startswith("/") or value.startswith(tuple(mounted.values()))


def test_secrets_of_the_compose_file_are_mounted_where_they_are_read() -> None:
    (compose,) = parsed("compose.yaml")
    ignored = (ROOT / ".gitignore").read_text().split()
    assert "deploy/secrets/" in ignored
    for name, service in compose["services"].items():
        read = re.findall(r"/run/secrets/(\w+)", str(service.get("environment", {})))
        assert set(read) <= set(service["secrets"]), name
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            assert source in compose["volumes"] or (DEPLOY / source).exists(), mount
    for secret in compose["secrets"].values():
        assert secret["file"].startswith("secrets/")

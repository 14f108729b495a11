"""What somebody else may write is not trusted, and what is no file keeps nobody waiting."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.commandline import ROOT, Account, Done

from kalshi_fills.cli.settings import Settings, build
from kalshi_fills.errors import LockedError, Mistakes, SettingsError
from kalshi_fills.host.lock import exclusive

Cli = Callable[..., Done]
NOBODY = 65534

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
not_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Settings]:
    def make(environment: dict[str, str] | None = None, **options: str) -> Settings:
        mistakes = Mistakes()
        given = {name.replace("_", "-"): value for name, value in options.items()}
        given.setdefault("clickhouse", "clickhouse://db.example/kalshi")
        built = build(given, environment or {}, mistakes, folder=tmp_path)
        mistakes.raise_if_any()
        return built

    return make


Make = Callable[..., Settings]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state folder of a user, not made yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def refused(act: Callable[[], object]) -> str:
    with pytest.raises(SettingsError) as caught:
        act()
    assert caught.value.exit_code == 2
    assert caught.value.hint
    return caught.value.message


def lock_once(target: str = "t", table: str = "x") -> None:
    with exclusive(target, table):
        pass


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# .env


@pytest.mark.parametrize("mode", [0o602, 0o620, 0o666])
def test_a_dotenv_that_was_found_is_refused_where_others_can_write_it(
    mode: int, make: Make, tmp_path: Path
) -> None:
    file = tmp_path / ".env"
    file.write_text("KALSHI_FILLS_TABLE=planted\n")
    file.chmod(mode)
    assert "can be written by other users" in refused(make)
    file.chmod(0o644)
    assert make().tables.fills == "planted"


@root_only
def test_a_dotenv_of_somebody_else_is_refused_and_one_of_root_is_not(
    make: Make, tmp_path: Path
) -> None:
    file = tmp_path / ".env"
    file.write_text("KALSHI_FILLS_TABLE=planted\n")
    os.chown(file, NOBODY, NOBODY)
    assert "another user" in refused(make)
    assert make(env_file=str(file)).tables.fills == "planted"  # it was named
    os.chown(file, 0, 0)
    assert make().tables.fills == "planted"


@root_only
def test_a_link_of_somebody_else_is_refused_wherever_it_leads(make: Make, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("KALSHI_FILLS_TABLE=planted\n")
    link = tmp_path / ".env"
    link.symlink_to(tmp_path / "mine")
    assert make().tables.fills == "planted"
    os.lchown(link, NOBODY, NOBODY)
    assert "another user" in refused(make)


def test_a_link_to_what_others_can_write_is_refused(make: Make, tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("KALSHI_FILLS_TABLE=planted\n")
    (tmp_path / "theirs").chmod(0o666)
    (tmp_path / ".env").symlink_to(tmp_path / "theirs")
    assert "can be written by other users" in refused(make)


def test_a_named_env_file_is_refused_where_everybody_can_write_it(
    make: Make, tmp_path: Path
) -> None:
    file = tmp_path / "x.env"
    file.write_text("KALSHI_FILLS_TABLE=named\n")
    file.chmod(0o666)
    assert "by everybody" in refused(lambda: make(env_file=str(file)))
    file.chmod(0o660)
    assert make(env_file=str(file)).tables.fills == "named"


@pytest.mark.parametrize("what", ["loop", "nowhere", "fifo"])
def test_a_dotenv_that_is_no_file_is_told(what: str, make: Make, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    if what == "fifo":
        os.mkfifo(file, 0o600)
    else:
        file.symlink_to(file if what == "loop" else tmp_path / "gone")
    assert ".env in the working folder" in refused(make)


def test_a_folder_of_this_name_is_a_virtual_environment(make: Make, tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    assert make().tables.fills == "mm_fills"


@not_root
def test_a_dotenv_that_cannot_be_read_is_told(make: Make, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("")
    (tmp_path / ".env").chmod(0)
    assert "cannot be read" in refused(make)


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffKALSHI_FILLS_TABLE=there\n",
        "# x\r\nKALSHI_FILLS_TABLE=there\r\n",
        "export KALSHI_FILLS_TABLE='there'",
        'KALSHI_FILLS_TABLE = "there" # why\n',
        "KALSHI_FILLS_TABLE\nKALSHI_FILLS_TABLE=there\n\n\n",
    ],
)
def test_every_usual_form_of_an_env_file_is_read(text: str, make: Make, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(text.encode())
    (tmp_path / ".env").chmod(0o600)
    assert make().tables.fills == "there"


def test_a_line_that_cannot_be_read_is_told_and_not_shown(make: Make, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1\nCLICKHOUSE_URL='clickhouse://u:geheim99@h\n")
    message = refused(make)
    assert "line 2" in message
    assert "geheim99" not in message


# Keys


def test_a_key_that_everybody_can_write_is_refused(make: Make, api_key: Account) -> None:
    file = api_key.path.with_name("open.pem")
    file.write_text(api_key.path.read_text())
    file.chmod(0o602)
    assert "by everybody" in refused(lambda: make(api_key_id="i", private_key=str(file)))
    file.chmod(0o640)
    assert "chmod 600" in make(api_key_id="i", private_key=str(file)).warnings[0]


@pytest.mark.sampled(5)
@pytest.mark.parametrize("option", ["--private-key", "--env-file"])
@pytest.mark.parametrize("what", ["fifo", "zero", "folder", "huge", "socketless", "proc"])
def test_what_is_no_file_of_a_sensible_size_is_refused_at_once(
    option: str, what: str, cli: Cli, tmp_path: Path
) -> None:
    path = tmp_path / "thing"
    match what:
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "huge":
            with path.open("wb") as file:
                file.truncate(1 << 40)
        case "socketless":
            path.symlink_to("/dev/tty")
        case _:
            path = Path("/dev/zero" if what == "zero" else "/proc/self/mem")
    done = cli("sync", option, str(path), "--format", "json", timeout=300)
    assert done.code == 2, done.err
    assert str(path) in done.json["error"]
    assert done.json["hint"]
    assert "Traceback" not in done.err


# The lock folder


@pytest.mark.parametrize("umask", [0, 0o027, 0o777])
def test_folders_that_are_made_are_for_their_owner_alone(umask: int, state: Path) -> None:
    before = os.umask(umask)
    try:
        lock_once()
    finally:
        os.umask(before)
    for folder in (state, state / "kalshi-fills", state / "kalshi-fills" / "locks"):
        assert mode(folder) == 0o700
    files = list((state / "kalshi-fills" / "locks").iterdir())
    assert {file.suffix for file in files} == {".lock", ".pid"}
    assert all(mode(file) & 0o077 == 0 for file in files)


def test_the_folder_of_the_embedded_engine_is_made_for_its_owner_alone(
    cli: Cli, tmp_path: Path
) -> None:
    pytest.importorskip("chdb", reason="the embedded engine is not installed")
    before = os.umask(0)
    try:
        done = cli("migrate", url=f"chdb://{tmp_path}/a/b")
    finally:
        os.umask(before)
    assert done.code == 0, done.err
    assert [mode(tmp_path / "a"), mode(tmp_path / "a" / "b")] == [0o700, 0o700]


def test_a_lock_folder_of_an_older_version_is_closed_to_others(state: Path) -> None:
    folder = state / "kalshi-fills" / "locks"
    folder.mkdir(parents=True)
    folder.chmod(0o775)
    lock_once()
    assert mode(folder) == 0o700


@pytest.mark.parametrize("which", ["", "kalshi-fills", "kalshi-fills/locks"])
def test_a_lock_folder_that_everybody_can_write_is_refused(which: str, state: Path) -> None:
    (state / "kalshi-fills" / "locks").mkdir(parents=True)
    (state / which).chmod(0o1777)
    assert "by everybody" in refused(lock_once)


@root_only
def test_a_lock_folder_of_somebody_else_is_refused(state: Path) -> None:
    folder = state / "kalshi-fills" / "locks"
    folder.mkdir(parents=True)
    os.chown(folder, NOBODY, NOBODY)
    assert "another user" in refused(lock_once)


@pytest.mark.parametrize("suffix", ["lock", "pid"])
@pytest.mark.parametrize("leads_to", ["a file", "nothing", "a pipe"])
def test_a_planted_link_is_never_written_through(suffix: str, leads_to: str, state: Path) -> None:
    lock_once()
    folder = state / "kalshi-fills" / "locks"
    (file,) = folder.glob(f"*.{suffix}")
    victim = state / "victim"
    if leads_to == "a file":
        victim.write_text("precious")
    elif leads_to == "a pipe":
        os.mkfifo(victim)
    file.unlink()
    file.symlink_to(victim)
    if suffix == "lock":
        assert "cannot be used" in refused(lock_once)
    else:
        lock_once()
    if leads_to == "a file":
        assert victim.read_text() == "precious"
    else:
        assert victim.is_fifo() == (leads_to == "a pipe")
        assert victim.exists() == (leads_to == "a pipe")


def test_what_stands_in_the_pid_file_is_shown_only_if_it_is_a_number(state: Path) -> None:
    with exclusive("t", "x"):
        (file,) = (state / "kalshi-fills" / "locks").glob("*.pid")
        for text in ("\x1b]0;owned\x07", "x" * 1_000_000, "\u0664\u0662"):
            file.write_text(text)
            with pytest.raises(LockedError) as caught:
                lock_once()
            assert "process" not in caught.value.message
            assert caught.value.exit_code == 75
        file.unlink()
        os.mkfifo(file)
        with pytest.raises(LockedError):
            lock_once()


@pytest.mark.parametrize("what", ["a file", "a file above", "a broken link", "no place"])
def test_a_lock_folder_that_cannot_be_used_is_told_with_2(
    what: str, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    match what:
        case "a file":
            (state / "kalshi-fills").mkdir(parents=True)
            (state / "kalshi-fills" / "locks").write_text("")
        case "a file above":
            state.write_text("")
        case "a broken link":
            state.symlink_to(state / "nowhere")
        case "no place":
            monkeypatch.setenv("XDG_STATE_HOME", "/proc/self")
    assert "cannot be used" in refused(lock_once)


@root_only
def test_a_full_disk_under_the_state_folder_is_told_with_2(tmp_path: Path, cli: Cli) -> None:
    small = tmp_path / "state"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k,mode=0700", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        assert cli("migrate", url="clickhouse://127.0.0.1:1/kalshi").code == 5
        for file in small.rglob("*.pid"):
            file.unlink()
        with (small / "kalshi-fills" / "filler").open("wb", buffering=0) as filler:
            filler.write(b"x" * 100_000)
        done = cli("migrate", "--format", "json", url="clickhouse://127.0.0.1:1/kalshi")
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert done.code == 2, done.err
    assert "no space" in done.json["error"]
    assert "XDG_STATE_HOME" in done.json["hint"]


def test_a_disk_without_room_for_a_number_is_told_with_2(tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk."""
    limited = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0));"
    limited += "import kalshi_fills.__main__ as m; m.main()"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    environment["CLICKHOUSE_URL"] = "clickhouse://127.0.0.1:1/kalshi"
    done = subprocess.run(
        [sys.executable, "-c", limited, "migrate"],
        env=environment,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 2, done.stderr
    assert "lock folder" in done.stderr


# The embedded engine's folder


def test_a_folder_of_the_engine_that_everybody_can_write_is_refused(
    make: Make, tmp_path: Path
) -> None:
    pytest.importorskip("chdb", reason="the embedded engine is not installed")
    folder = tmp_path / "open" / "chdb"
    folder.mkdir(parents=True)
    folder.parent.chmod(0o1777)
    assert make(clickhouse=f"chdb://{folder}").clickhouse.folder == folder
    folder.chmod(0o1777)
    assert "by everybody" in refused(lambda: make(clickhouse=f"chdb://{folder}"))
    (tmp_path / "link").symlink_to(folder)
    assert "by everybody" in refused(lambda: make(clickhouse=f"chdb://{tmp_path}/link"))


@root_only
def test_a_folder_of_the_engine_of_somebody_else_is_refused(make: Make, tmp_path: Path) -> None:
    pytest.importorskip("chdb", reason="the embedded engine is not installed")
    folder = tmp_path / "chdb"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    assert "another user" in refused(lambda: make(clickhouse=f"chdb://{folder}"))
    os.chown(folder, 0, 0)
    (tmp_path / "link").symlink_to(folder)
    os.lchown(tmp_path / "link", NOBODY, NOBODY)
    assert "another user" in refused(lambda: make(clickhouse=f"chdb://{tmp_path}/link"))


@pytest.mark.parametrize("command", ["migrate", "sync", "diagnose", "truncate"])
def test_no_command_opens_a_folder_that_is_not_trusted(
    command: str, cli: Cli, tmp_path: Path
) -> None:
    pytest.importorskip("chdb", reason="the embedded engine is not installed")
    folder = tmp_path / "chdb"
    folder.mkdir()
    folder.chmod(0o777)
    words = {"diagnose": ["--offline"], "truncate": ["--yes"]}.get(command, [])
    done = cli(command, *words, "--format", "json", url=f"chdb://{folder}")
    assert done.code == 2
    assert list(folder.iterdir()) == []


@root_only
def test_another_user_meets_a_lock_folder_that_is_not_his(tmp_path: Path) -> None:
    """Run as nobody against the state folder of root: 2 and a hint, not 75 and no traceback."""
    state = tmp_path / "state"
    (state / "kalshi-fills" / "locks").mkdir(parents=True)
    (state / "kalshi-fills" / "locks").chmod(0o755)
    above = tmp_path
    while above != Path("/tmp") and above != above.parent:
        above.chmod(above.stat().st_mode | 0o055)
        above = above.parent
    code = (
        "import os; os.setgid(65534); os.setuid(65534);"
        "from kalshi_fills.errors import SettingsError;"
        "from kalshi_fills.host.lock import exclusive\n"
        "try:\n with exclusive('t', 'x'): pass\nexcept SettingsError as e: print(e.message)"
    )
    done = subprocess.run(
        [sys.executable, "-c", "import cryptography, rich, kalshi_fills.host.lock;" + code],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(state)},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert "permission denied" in done.stdout, done.stderr

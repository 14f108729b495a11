"""Values from files, as containers mount their secrets."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.commandline import Account, Target
from support.mistakes import mistake
from support.outcomes import Cli

from kalshi_fills.cli.settings import Settings, build
from kalshi_fills.errors import Mistakes

SERVER = "clickhouse://reader@db.example:9000/kalshi"
PASSWORD = "p/w#1@:é?"


def settings(folder: Path, environment: dict[str, str], **options: str) -> Settings:
    mistakes = Mistakes()
    given = {name.replace("_", "-"): value for name, value in options.items()}
    built = build(given, environment, mistakes, folder=folder)
    mistakes.raise_if_any()
    return built


def write(folder: Path, text: str | bytes, name: str = "secret") -> str:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(0o444)  # as they are mounted
    return str(path)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_values_are_those_of_the_files(end: str, tmp_path: Path, api_key: Account) -> None:
    found = settings(
        tmp_path,
        {
            "CLICKHOUSE_URL_FILE": write(tmp_path, SERVER + end, "url"),
            "CLICKHOUSE_PASSWORD_FILE": write(tmp_path, PASSWORD + end, "password"),
            "KALSHI_API_KEY_ID_FILE": write(tmp_path, f"key-of-file{end}", "id"),
            "KALSHI_PRIVATE_KEY_PATH": str(api_key.path),
        },
    )
    assert (
        found.clickhouse.url
        == "clickhouse://reader:p%2Fw%231%40%3A%C3%A9%3F@db.example:9000/kalshi"
    )
    assert found.require_signer().key_id == "key-of-file"
    assert PASSWORD in found.secrets
    assert PASSWORD not in repr(found)


def test_the_env_file_names_them_as_well_and_an_option_wins(tmp_path: Path) -> None:
    path = write(tmp_path, SERVER)
    env_file = tmp_path / "env"
    env_file.write_text(f"CLICKHOUSE_URL_FILE={path}\n")
    found = settings(tmp_path, {}, env_file=str(env_file))
    assert found.clickhouse.url == SERVER
    found = settings(tmp_path, {}, env_file=str(env_file), clickhouse="clickhouse://other/k")
    assert found.clickhouse.url == "clickhouse://other/k"


@pytest.mark.parametrize(
    ("url", "with_password"),
    [
        ("clickhouse://h/k", "clickhouse://default:pw@h/k"),
        ("clickhouse://u@h:1/k?secure=1", "clickhouse://u:pw@h:1/k?secure=1"),
        ("clickhouses://@[::1]:9440/k", "clickhouses://default:pw@[::1]:9440/k"),
    ],
)
def test_a_password_goes_into_a_url_that_has_none(
    url: str, with_password: str, tmp_path: Path
) -> None:
    environment = {"CLICKHOUSE_URL": url, "CLICKHOUSE_PASSWORD_FILE": write(tmp_path, "pw\n")}
    assert settings(tmp_path, environment).clickhouse.url == with_password


@pytest.mark.parametrize("name", ["CLICKHOUSE_URL", "KALSHI_API_KEY_ID"])
def test_a_variable_and_its_file_are_too_much(name: str, tmp_path: Path) -> None:
    environment = {name: SERVER, f"{name}_FILE": write(tmp_path, SERVER)}
    error = mistake(lambda: settings(tmp_path, environment))
    assert f"{name} and {name}_FILE are both set" in error.message


@pytest.mark.parametrize(
    "url", ["clickhouse://u:hunter2@h/k", "clickhouse://u:@h/k", "chdb:///x", ""]
)
def test_a_password_that_has_no_place_is_refused(url: str, tmp_path: Path) -> None:
    environment = {"CLICKHOUSE_PASSWORD_FILE": write(tmp_path, "hunter3")}
    if url:
        environment["CLICKHOUSE_URL"] = url
    error = mistake(lambda: settings(tmp_path, environment))
    assert "CLICKHOUSE_PASSWORD_FILE is set" in error.message
    assert "hunter" not in error.message + error.hint


@pytest.mark.parametrize("name", ["CLICKHOUSE_URL", "CLICKHOUSE_PASSWORD", "KALSHI_API_KEY_ID"])
def test_a_file_that_cannot_be_meant_is_refused_without_its_text(name: str, tmp_path: Path) -> None:
    shared = Path(write(tmp_path, "hunter2", "shared"))
    shared.chmod(0o666)
    for path, why in (
        (write(tmp_path, " \n", "empty"), "is empty"),
        (write(tmp_path, "hunter2\nhunter3\n", "lines"), "more than one line"),
        (write(tmp_path, b"\xffhunter2", "bytes"), "not UTF-8"),
        (str(shared), "written by everybody"),
        (str(tmp_path), "is a directory"),
        (str(tmp_path / "missing"), "no such file"),
        ("clickhouse://u:hunter2@h/k", "not the path of a file"),
    ):
        environment = {"CLICKHOUSE_URL": SERVER} if name == "CLICKHOUSE_PASSWORD" else {}
        environment[f"{name}_FILE"] = path
        error = mistake(lambda given=environment: settings(tmp_path, given))
        assert f"{name}_FILE" in error.message
        assert why in error.message
        assert "hunter" not in error.message + error.hint


def test_a_command_connects_with_them(cli: Cli, target: Target, tmp_path: Path) -> None:
    url = write(tmp_path, target.url + "\n")
    assert cli("migrate", env={"CLICKHOUSE_URL_FILE": url}).code == 0
    assert target.read("SELECT count() FROM DB.mm_fills") == [(0,)]

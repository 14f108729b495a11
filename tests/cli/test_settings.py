"""Options, environment and env file become one frozen Settings."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from support.mistakes import mistake

from kalshi_fills.cli.settings import OPTIONS, Settings, build
from kalshi_fills.errors import Mistakes, SettingsError
from kalshi_fills.exchange.signing import read_private_key

URL = "clickhouse://user:hunter2-geheim@db.example:9000/trading"


def pem_of(
    key: Any,
    form: PrivateFormat = PrivateFormat.PKCS8,
    encryption: KeySerializationEncryption | None = None,
) -> str:
    encrypted = encryption or NoEncryption()
    text: bytes = key.private_bytes(Encoding.PEM, form, encrypted)
    return text.decode()


RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


ED_KEY = Ed25519PrivateKey.generate()


EC_KEY = ec.generate_private_key(ec.SECP256R1())


KEYS = {
    "RSA, PKCS#1": pem_of(RSA_KEY, PrivateFormat.TraditionalOpenSSL),
    "RSA, PKCS#8": pem_of(RSA_KEY),
    "Ed25519": pem_of(ED_KEY),
}


ENCRYPTED = pem_of(RSA_KEY, encryption=BestAvailableEncryption(b"passphrase"))


ENCRYPTED_PKCS1 = pem_of(
    RSA_KEY, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"passphrase")
)


PUBLIC = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.fixture(autouse=True)
def embedded_engine(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Pretend that the embedded engine is installed, or with False that it is not."""
    find = importlib.util.find_spec

    def say(installed: bool) -> None:
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda name, package=None: (
                (find("json") if installed else None) if name == "chdb" else find(name, package)
            ),
        )

    say(True)
    return say


@pytest.fixture
def key_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a key file that only its owner can read."""

    def write(text: str, mode: int = 0o600) -> Path:
        path = tmp_path / "key.pem"
        path.write_text(text)
        path.chmod(mode)
        return path

    return write


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Settings]:
    """Build settings in an empty folder; with a mistake the error is raised."""

    def make(environment: dict[str, str] | None = None, **options: str) -> Settings:
        mistakes = Mistakes()
        given = {name.replace("_", "-"): value for name, value in options.items()}
        given.setdefault("clickhouse", URL)
        built = build(given, environment or {}, mistakes, folder=tmp_path)
        mistakes.raise_if_any()
        return built

    return make


Make = Callable[..., Settings]


# Where a value comes from


@pytest.mark.parametrize(
    ("option", "variable", "read"),
    [
        ("table", "KALSHI_FILLS_TABLE", lambda made: made.tables.fills),
        ("cluster", "CLICKHOUSE_CLUSTER", lambda made: made.tables.cluster),
        ("format", "KALSHI_FILLS_FORMAT", lambda made: made.format),
        ("log-format", "KALSHI_FILLS_LOG_FORMAT", lambda made: made.log_format),
        ("api-url", "KALSHI_API_URL", lambda made: made.api_url),
        ("clickhouse", "CLICKHOUSE_URL", lambda made: made.clickhouse.database),
    ],
)
def test_an_option_wins_over_the_environment_over_the_env_file_over_the_default(
    option: str, variable: str, read: Callable[[Settings], Any], tmp_path: Path
) -> None:
    if "format" in option:
        by_option, by_environment, by_file = "json", "table", "json"
        if option == "log-format":
            by_environment = "text"
    elif option == "api-url":
        by_option, by_environment, by_file = (f"https://{name}.example/v2" for name in "abc")
    elif option == "clickhouse":
        by_option, by_environment, by_file = (f"clickhouse://h/{name}" for name in "abc")
    else:
        by_option, by_environment, by_file = "from_option", "from_environment", "from_file"

    def built(options: dict[str, str | None], environment: dict[str, str]) -> Any:
        mistakes = Mistakes()
        settings = build(options, environment, mistakes, folder=tmp_path)
        mistakes.raise_if_any()
        return read(settings)

    def named(value: str) -> str:
        return value.rpartition("/")[2] if option == "clickhouse" else value

    default = built({}, {})
    (tmp_path / ".env").write_text(f"{variable}={by_file}\n")
    assert built({}, {}) == named(by_file)
    assert built({option: None}, {variable: ""}) == named(by_file)
    assert built({}, {variable: by_environment}) == named(by_environment)
    assert built({option: by_option}, {variable: by_environment}) == named(by_option)
    (tmp_path / ".env").unlink()
    assert built({}, {}) == default


def test_defaults_are_those_of_the_manual(tmp_path: Path) -> None:
    mistakes = Mistakes()
    made = build({}, {}, mistakes, folder=tmp_path)
    mistakes.raise_if_any()
    assert made.tables.fills == "mm_fills"
    assert made.tables.database == "kalshi"
    assert made.tables.cluster is None
    assert made.api_url == "https://external-api.kalshi.com/trade-api/v2"
    assert made.format == "table"
    assert made.log_format == ("text" if sys.stderr.isatty() else "json")
    assert made.signer is None
    assert made.clickhouse.folder is not None
    assert made.clickhouse.folder.is_absolute()


def test_the_options_and_variables_are_those_of_the_manual() -> None:
    assert {option.name: option.variable for option in OPTIONS} == {
        "clickhouse": "CLICKHOUSE_URL",
        "table": "KALSHI_FILLS_TABLE",
        "cluster": "CLICKHOUSE_CLUSTER",
        "api-url": "KALSHI_API_URL",
        "api-key-id": "KALSHI_API_KEY_ID",
        "private-key": "KALSHI_PRIVATE_KEY_PATH",
        "env-file": None,
        "format": "KALSHI_FILLS_FORMAT",
        "log-format": "KALSHI_FILLS_LOG_FORMAT",
    }
    assert all(option.help for option in OPTIONS)


def test_a_named_env_file_is_read_instead_of_the_one_in_the_folder(
    tmp_path: Path, make: Make
) -> None:
    (tmp_path / ".env").write_text("KALSHI_FILLS_TABLE=here\n")
    named = tmp_path / "other.env"
    named.write_text("# a comment\nexport KALSHI_FILLS_TABLE='there'\nCLICKHOUSE_CLUSTER=${HOME}\n")
    assert make().tables.fills == "here"
    error = mistake(lambda: make(env_file=str(named)))
    assert "'${HOME}'" in error.message  # taken literally
    named.write_text("KALSHI_FILLS_TABLE='there'\n")
    assert make(env_file=str(named)).tables.fills == "there"


@pytest.mark.parametrize("what", ["missing", "a folder"])
def test_an_env_file_that_cannot_be_read_is_a_mistake(
    what: str, tmp_path: Path, make: Make
) -> None:
    path = tmp_path / "x.env"
    if what == "a folder":
        path.mkdir()
    assert str(path) in mistake(lambda: make(env_file=str(path))).message


def test_an_env_file_that_is_no_text_is_a_mistake(tmp_path: Path, make: Make) -> None:
    path = tmp_path / "x.env"
    path.write_bytes(b"KALSHI_FILLS_TABLE=caf\xe9\n")
    assert str(path) in mistake(lambda: make(env_file=str(path))).message


MISTAKES: dict[str, tuple[dict[str, str], str]] = {
    "table": ({"table": "no-identifier"}, "the table name 'no-identifier'"),
    "table starting with a digit": ({"table": "1table"}, "the table name '1table'"),
    "hostile table": ({"table": "x`; DROP TABLE y"}, "the table name"),
    "long table": ({"table": "x" * 129}, "the table name"),
    "cluster": ({"cluster": "a b"}, "the cluster name 'a b'"),
    "format": ({"format": "xml"}, "--format 'xml'"),
    "log format": ({"log_format": "xml"}, "--log-format 'xml'"),
    "scheme": ({"clickhouse": "http://host:8123/db"}, "unknown scheme 'http'"),
    "no scheme": ({"clickhouse": "/just/a/path"}, "unknown scheme 'none'"),
    "no host": ({"clickhouse": "clickhouse:///db"}, "names no host"),
    "port": ({"clickhouse": "clickhouse://host:port/db"}, "cannot be read"),
    "port too high": ({"clickhouse": "clickhouse://host:99999/db"}, "cannot be read"),
    "brackets": ({"clickhouse": "clickhouse://u:p[w@host/db"}, "cannot be read"),
    "database": ({"clickhouse": "clickhouse://host/a-b"}, "the database name 'a-b'"),
    "embedded database": ({"clickhouse": "chdb:///x?database=a-b"}, "the database name 'a-b'"),
    "no folder": ({"clickhouse": "chdb://"}, "names no folder"),
    "root folder": ({"clickhouse": "chdb:///"}, "names no folder"),
    "api url": ({"api_url": "production"}, "KALSHI_API_URL 'production' is neither prod nor demo"),
    "api scheme": ({"api_url": "ftp://host/x"}, "nor an http URL"),
    "api port": ({"api_url": "https://host:port/x"}, "nor an http URL"),
    "api without TLS": ({"api_url": "http://api.example/x"}, "api.example is not loopback"),
    "api lookalike": ({"api_url": "http://127.0.0.1.example/x"}, "is not loopback"),
    "api user": ({"api_url": "https://me:secret@host/x"}, "more than host, port and path"),
    "api query": ({"api_url": "https://host/x?y=1"}, "more than host, port and path"),
    "api fragment": ({"api_url": "https://host/x#y"}, "more than host, port and path"),
    "key id without key": ({"api_key_id": "id"}, "no private key"),
    "key id with space": (
        {"api_key_id": "a b", "private_key": "/nowhere"},
        "has spaces or signs",
    ),
    "key without id": ({"private_key": "/nowhere"}, "no key id"),
    "missing key file": (
        {"api_key_id": "id", "private_key": "/nowhere/key.pem"},
        "/nowhere/key.pem cannot be read: no such file",
    ),
    "key file a folder": ({"api_key_id": "id", "private_key": "/"}, "/ cannot be read"),
}


# Mistakes


@pytest.mark.parametrize("case", MISTAKES)
def test_each_mistake_has_its_own_sentence(case: str, make: Make) -> None:
    options, said = MISTAKES[case]
    assert said in mistake(lambda: make(**options)).message


def test_several_mistakes_are_told_at_once_with_the_first_one_s_hint(make: Make) -> None:
    options = {"table": "a b", "cluster": "a b", "format": "xml", "api_url": "x", "api_key_id": "i"}
    error = mistake(lambda: make(**options))
    for said in ("the table name", "the cluster name", "--format", "http URL", "no private key"):
        assert error.message.count(said) == 1
    assert "--table" in error.hint


def test_no_mistake_is_no_error() -> None:
    Mistakes().raise_if_any()


# ClickHouse


@pytest.mark.parametrize(
    ("url", "database", "identity"),
    [
        ("clickhouse://h", "kalshi", "clickhouse://h:9000"),
        ("clickhouse://h:9000/", "kalshi", "clickhouse://h:9000"),
        (URL, "trading", "clickhouse://db.example:9000"),
        ("clickhouse://DB.Example./trading", "trading", "clickhouse://db.example:9000"),
        ("clickhouses://u:p@h/x?ca_certs=/y", "x", "clickhouse://h:9440"),
        ("clickhouses://u:p@h:9440/x?ca_certs=/y", "x", "clickhouse://h:9440"),
        ("clickhouse://u:p%40ss%2F%23@h/x", "x", "clickhouse://h:9000"),
        ("clickhouse://localhost/x", "x", "clickhouse://localhost:9000"),
        ("clickhouse://127.0.0.1:9000/x", "x", "clickhouse://localhost:9000"),
        ("clickhouse://[::1]/x", "x", "clickhouse://localhost:9000"),
        ("clickhouse://127.0.0.1:9001/x", "x", "clickhouse://localhost:9001"),
    ],
)
def test_server_urls(url: str, database: str, identity: str, make: Make) -> None:
    target = make(clickhouse=url).clickhouse
    assert (target.folder, target.database) == (None, database)
    assert str.__str__(target.url or "") == url
    assert target.identity() == identity


@pytest.mark.parametrize(
    ("url", "folder", "database"),
    [
        ("chdb:///var/data", "/var/data", "kalshi"),
        ("chdb:///var/data?database=mine", "/var/data", "mine"),
        ("chdb:///var/with%20space?database=", "/var/with space", "kalshi"),
        ("chdb://relative/data", f"{os.getcwd()}/relative/data", "kalshi"),
    ],
)
def test_embedded_urls(url: str, folder: str, database: str, make: Make) -> None:
    target = make(clickhouse=url).clickhouse
    assert (target.url, str(target.folder), target.database) == (None, folder, database)
    assert target.identity() == f"chdb://{folder}"


def test_a_folder_and_a_link_to_it_are_the_same(make: Make, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    one, other = (make(clickhouse=f"chdb://{tmp_path}/{name}") for name in ("data", "link"))
    assert one.clickhouse.identity() == other.clickhouse.identity()


def test_without_url_and_engine_the_hint_names_both_ways_out(
    embedded_engine: Callable[[bool], None], make: Make
) -> None:
    embedded_engine(False)
    error = mistake(lambda: make(clickhouse=""))
    assert "no CLICKHOUSE_URL is set" in error.message
    assert "CLICKHOUSE_URL=clickhouse://" in error.hint
    assert "kalshi-fills[embedded]" in error.hint
    error = mistake(lambda: make(clickhouse="chdb:///x"))
    assert "not installed" in error.message
    assert make(clickhouse=URL).clickhouse.database == "trading"


@pytest.mark.parametrize("name", ["_", "mm_fills_2", "X" * 128])
def test_table_names_that_are_identifiers_are_taken(name: str, make: Make) -> None:
    assert make(table=name).tables.fills == name


# The exchange's URL


@pytest.mark.parametrize(
    ("given_url", "url"),
    [
        ("prod", "https://external-api.kalshi.com/trade-api/v2"),
        ("demo", "https://external-api.demo.kalshi.co/trade-api/v2"),
        ("https://api.example", "https://api.example/trade-api/v2"),
        ("https://api.example/", "https://api.example/trade-api/v2"),
        ("https://api.example:8443", "https://api.example:8443/trade-api/v2"),
        ("https://api.example/other/v3/", "https://api.example/other/v3"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/trade-api/v2"),
        ("http://127.8.9.10/x", "http://127.8.9.10/x"),
        ("http://localhost/x", "http://localhost/x"),
        ("http://[::1]:80/x", "http://[::1]:80/x"),
    ],
)
def test_api_urls(given_url: str, url: str, make: Make) -> None:
    assert make(api_url=given_url).api_url == url


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "10.0.0.1", "[::]", "192.168.1.1", "localhost.example", "2130706433"]
)
def test_without_tls_only_loopback_is_taken(host: str, make: Make) -> None:
    error = mistake(lambda: make(api_url=f"http://{host}/x"))
    assert "does not use TLS" in error.message


# Keys


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("way", ["file", "variable", "variable with written line ends"])
def test_keys_of_each_kind_are_taken_in_each_way(
    kind: str, way: str, make: Make, key_file: Callable[..., Path]
) -> None:
    if way == "file":
        made = make(api_key_id="id", private_key=str(key_file(KEYS[kind])))
        assert made.secrets == ("hunter2-geheim", "hunter2-geheim")
    else:
        text = KEYS[kind] if way == "variable" else KEYS[kind].replace("\n", "\\n")
        made = make({"KALSHI_API_KEY_ID": "id", "KALSHI_PRIVATE_KEY": text})
        assert text in made.secrets
    assert made.warnings == ()
    signer = made.require_signer()
    headers = signer.headers("get", "/trade-api/v2/x", 1795185069000)
    assert headers["KALSHI-ACCESS-KEY"] == "id"
    assert headers["KALSHI-ACCESS-TIMESTAMP"] == "1795185069000"
    assert len(headers["KALSHI-ACCESS-SIGNATURE"]) == (88 if kind == "Ed25519" else 344)


def test_a_key_in_the_env_file_is_taken_with_written_line_ends(tmp_path: Path, make: Make) -> None:
    written = KEYS["Ed25519"].replace("\n", "\\n")
    for quoted in (f'"{written}"', written, f'"{KEYS["Ed25519"]}"'):
        (tmp_path / ".env").write_text(f"KALSHI_API_KEY_ID=id\nKALSHI_PRIVATE_KEY={quoted}\n")
        assert make().signer is not None


def test_a_named_key_file_wins_over_the_variable(make: Make, key_file: Callable[..., Path]) -> None:
    environment = {"KALSHI_API_KEY_ID": "id", "KALSHI_PRIVATE_KEY": KEYS["Ed25519"]}
    made = make(environment, private_key=str(key_file(KEYS["RSA, PKCS#1"])))
    signature = made.require_signer().headers("GET", "/", 1)["KALSHI-ACCESS-SIGNATURE"]
    assert len(signature) == 344


OTHER_KEYS = {
    "EC, PKCS#8": (pem_of(EC_KEY), "is of kind EC"),
    "EC, SEC1": (pem_of(EC_KEY, PrivateFormat.TraditionalOpenSSL), "is of kind EC"),
    "encrypted": (ENCRYPTED, "is encrypted"),
    "encrypted PKCS#1": (ENCRYPTED_PKCS1, "is encrypted"),
    "empty": ("", "holds no PEM private key"),
    "garbage": ("geheim-garbage", "holds no PEM private key"),
    "garbage in PEM": (
        "-----BEGIN PRIVATE KEY-----\ngeheim-garbage\n-----END PRIVATE KEY-----",
        "cannot be read",
    ),
    "broken": (KEYS["Ed25519"].replace("MC4C", "NC4C"), "cannot be read"),
    "cut off": (KEYS["RSA, PKCS#8"][:400], "cannot be read"),
    "public": (PUBLIC, "cannot be read"),
}


@pytest.mark.parametrize("kind", OTHER_KEYS)
def test_other_keys_are_refused_without_being_quoted(
    kind: str, make: Make, key_file: Callable[..., Path]
) -> None:
    text, said = OTHER_KEYS[kind]
    path = key_file(text)
    error = mistake(lambda: make(api_key_id="id", private_key=str(path)))
    assert said in error.message
    assert str(path) in error.message
    for line in filter(None, text.splitlines()):
        assert line not in error.message + error.hint
    assert error.__cause__ is None
    if text:
        environment = {"KALSHI_API_KEY_ID": "id", "KALSHI_PRIVATE_KEY": text}
        error = mistake(lambda: make(environment))
        assert said in error.message
        assert "KALSHI_PRIVATE_KEY" in error.message


def test_a_key_file_that_is_no_text_is_a_mistake(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "key.der"
    path.write_bytes(b"\x30\x82\xff\xfe")
    error = mistake(lambda: make(api_key_id="id", private_key=str(path)))
    assert "not a text file" in error.message


@pytest.mark.parametrize(
    ("mode", "warned"),
    [(0o600, False), (0o400, False), (0o640, True), (0o604, True), (0o644, True)],
)
def test_a_key_that_others_can_read_is_warned_about(
    mode: int, warned: bool, make: Make, key_file: Callable[..., Path]
) -> None:
    path = key_file(KEYS["Ed25519"], mode)
    made = make(api_key_id="id", private_key=str(path))
    assert bool(made.warnings) is warned
    if warned:
        (warning,) = made.warnings
        assert f"chmod 600 {path}" in warning


def test_a_home_folder_is_found(
    make: Make, key_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(key_file(KEYS["Ed25519"]).parent))
    assert make(api_key_id="id", private_key="~/key.pem").signer is not None


def test_a_home_folder_of_nobody_is_a_mistake(make: Make) -> None:
    mistake(lambda: make(api_key_id="id", private_key="~no-such-user/key.pem"))


def test_a_signer_is_required_only_where_it_is_used(make: Make) -> None:
    error = mistake(make().require_signer)
    assert "no API key" in error.message
    assert "KALSHI_API_KEY_ID" in error.hint


# Secrets


def test_no_secret_shows_in_settings(make: Make) -> None:
    pem = KEYS["Ed25519"]
    made = make({"KALSHI_API_KEY_ID": "id", "KALSHI_PRIVATE_KEY": pem})
    shown = f"{made!r} {made} {made.clickhouse!r} {made.signer!r} {made.signer} {made.tables}"
    shown += made.clickhouse.identity()
    assert "hunter2" not in shown
    for line in pem.splitlines():
        assert line not in shown
    assert "hunter2-geheim" in made.secrets
    assert pem in made.secrets


def test_a_password_is_known_as_a_secret_as_written_and_as_meant(make: Make) -> None:
    made = make(clickhouse="clickhouse://u:p%40ss%2Fwort@h/x")
    assert {"p%40ss%2Fwort", "p@ss/wort"} <= set(made.secrets)


@pytest.mark.parametrize(
    "url",
    [
        "clickhouse://u:hunter2@h:port/x",
        "clickhouse://u:hun/ter2@h/x",
        "clickhouse://u:hun#ter2@h/x",
        "clickhouse://u:hun?ter2@h/x",
        "clickhouse://u:hunter2@/x",
        "http://u:hunter2@h/x",
        "clickhouse://u:hunter2@h/not-an-identifier",
        "clickhouse://u:12/hunter2@h/x",
    ],
)
def test_no_password_shows_in_a_mistake(url: str, make: Make) -> None:
    error = mistake(lambda: make(clickhouse=url))
    said = error.message + error.hint
    assert "hunter2" not in said
    assert "ter2" not in said


@pytest.mark.parametrize("sign", ["#", "?"])
def test_an_unescaped_sign_in_the_password_is_a_mistake(sign: str, make: Make) -> None:
    mistake(lambda: make(clickhouse=f"clickhouse://u:12{sign}34@h:9000/x"))


@pytest.mark.parametrize(
    "url",
    [
        "https://me:hunter2@h/x",
        "ftp://me:hunter2@h/x",
        "https://:hunter2@h/x",
    ],
)
def test_no_password_in_the_api_url_shows_or_is_taken(url: str, make: Make) -> None:
    error = mistake(lambda: make(api_url=url))
    assert "hunter2" not in error.message + error.hint


@hypothesis_settings(max_examples=100, deadline=None)
@given(st.text(max_size=80))
def test_any_text_as_a_key_is_a_settings_error_at_worst(text: str) -> None:
    for pem in (text, f"-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n"):
        with pytest.raises(SettingsError) as caught:
            read_private_key(pem, "here")
        assert "here" in caught.value.message


def test_a_key_whose_parts_do_not_belong_together_is_a_settings_error() -> None:
    right = RSA_KEY.private_numbers()
    public = rsa.RSAPublicNumbers(right.public_numbers.e + 2, right.public_numbers.n)
    mixed = rsa.RSAPrivateNumbers(
        right.p, right.q, right.d, right.dmp1, right.dmq1, right.iqmp, public
    ).private_key(unsafe_skip_rsa_key_validation=True)
    pem = mixed.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    with pytest.raises(SettingsError, match="the private key in here cannot be read"):
        read_private_key(pem, "here")


@hypothesis_settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["clickhouse", "api-url"]),
    st.sampled_from(["", "clickhouse://", "https://", "http://", "u:p@h"]),
    st.text(max_size=20),
)
def test_any_text_as_an_url_is_a_settings_error_at_worst(
    option: str, start: str, text: str
) -> None:
    mistakes = Mistakes()
    options = {"clickhouse": URL, "env-file": None, option: start + text}
    build(options, {}, mistakes, folder=Path("/nowhere"))
    try:
        mistakes.raise_if_any()
    except SettingsError as error:
        assert error.hint  # noqa: PT017  # it may also be right


# Keys


def test_a_key_in_place_of_its_path_is_a_mistake_that_does_not_show_it(make: Make) -> None:
    for text in (pem_of(ED_KEY), pem_of(ED_KEY).replace("\n", "\\n")):
        error = mistake(lambda text=text: make(api_key_id="id", private_key=text))
        assert "KALSHI_PRIVATE_KEY" in error.message
        assert "BEGIN" not in error.message + error.hint

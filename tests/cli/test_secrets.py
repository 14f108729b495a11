"""A secret that stands in the wrong place is never repeated: in no text, JSON or log."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import re
import string
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.commandline import Done

from kalshi_fills.__main__ import command_line
from kalshi_fills.cli.settings import build
from kalshi_fills.errors import Mistakes, SettingsError
from kalshi_fills.host.printable import is_plain, looks_like_key, quoted, redact, visible

Cli = Callable[..., Done]

PEM = (
    rsa.generate_private_key(public_exponent=65537, key_size=2048)
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode()
)
ED = Ed25519PrivateKey.generate()
ED_PEM = ED.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
BODY = "".join(PEM.splitlines()[1:-1])
KEY_TEXTS = {
    "PEM": PEM,
    "PEM with written line ends": PEM.replace("\n", "\\n"),
    "PEM without its last line": PEM.rpartition("-----END")[0],
    "body": BODY,
    "body in lines": "\n".join(PEM.splitlines()[1:-1]),
    "body with written line ends": "\\n".join(PEM.splitlines()[1:-1]),
    "one line": PEM.splitlines()[3],
    "last line": PEM.splitlines()[-2],
    "Ed25519 body": ED_PEM.splitlines()[1],
    "hex": ED.private_bytes_raw().hex(),
    "quoted PEM": f'"{PEM}"',
}
COMMAND_OF = {
    "--overlap": "sync",
    "--rate-share": "sync",
    "--since": "sync",
    "--until": "sync",
    "--query": "diagnose",
    "--report": "diagnose",
    "--before": "truncate",
    "--restore": "truncate",
}
SHARED = ["--table", "--cluster", "--api-url", "--api-key-id", "--private-key", "--env-file"]
SHARED += ["--format", "--log-format", "--clickhouse"]
VARIABLES = ["KALSHI_FILLS_TABLE", "CLICKHOUSE_CLUSTER", "KALSHI_API_URL", "KALSHI_API_KEY_ID"]
VARIABLES += ["KALSHI_PRIVATE_KEY_PATH", "KALSHI_FILLS_FORMAT", "KALSHI_FILLS_LOG_FORMAT"]


def pieces(text: str) -> list[str]:
    """The parts of a key's text that nobody may see, however it is cut."""
    return [part for part in re.split(r"-----[A-Z ]+-----|\s|\\n|\"", text) if len(part) > 11]


def run_here(words: list[str], variables: dict[str, str]) -> Done:
    """Run the command line in this process, where a test tries hundreds of them."""
    out, err = io.StringIO(), io.StringIO()
    before, argv = dict(os.environ), sys.argv
    for name in list(os.environ):
        if name.startswith(("KALSHI", "CLICKHOUSE")):
            del os.environ[name]
    os.environ.update(variables)
    sys.argv = ["kalshi-fills", *words]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = command_line().run(words)
    finally:
        os.environ.clear()
        os.environ.update(before)
        sys.argv = argv
    return Done(code, out.getvalue(), err.getvalue())


def assert_silent(done: Done, *secrets: str) -> None:
    for secret in secrets:
        assert secret not in done.out + done.err
        assert json.dumps(secret)[1:-1] not in done.out + done.err
    assert "Traceback" not in done.err
    assert "a bug" not in done.err


# A key's text


@pytest.mark.sampled(9)
@pytest.mark.parametrize("form", ["table", "json"])
@pytest.mark.parametrize("kind", KEY_TEXTS)
def test_a_key_as_its_own_path_is_refused_and_not_shown(kind: str, form: str, cli: Cli) -> None:
    for way in (
        {"words": ("--private-key", KEY_TEXTS[kind])},
        {"env": {"KALSHI_PRIVATE_KEY_PATH": KEY_TEXTS[kind]}},
    ):
        words = way.get("words", ())
        done = cli("sync", *words, "--format", form, env=way.get("env"))  # type: ignore[arg-type]
        assert done.code == 2
        assert_silent(done, *pieces(KEY_TEXTS[kind]), "PRIVATE KEY--")
        assert "KALSHI_PRIVATE_KEY" in done.err or "--private-key" in done.err


@pytest.mark.sampled(3)
@pytest.mark.parametrize("kind", [kind for kind in KEY_TEXTS if kind != "last line"])
def test_a_key_as_its_id_is_refused_and_not_shown(kind: str, cli: Cli, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_text(ED_PEM)
    key.chmod(0o600)
    for words, env in (
        (("--api-key-id", KEY_TEXTS[kind]), {}),
        ((), {"KALSHI_API_KEY_ID": KEY_TEXTS[kind]}),
    ):
        done = cli("sync", "--private-key", str(key), *words, "--format", "json", env=env)
        assert done.code == 2
        assert "KALSHI_API_KEY_ID" in done.err
        assert_silent(done, *pieces(KEY_TEXTS[kind]), "PRIVATE KEY--")


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", KEY_TEXTS)
@pytest.mark.parametrize("option", [*SHARED, *COMMAND_OF])
def test_a_key_as_any_other_value_is_not_shown(kind: str, option: str, tmp_path: Path) -> None:
    command = COMMAND_OF.get(option, "sync")
    environment = {"HOME": str(tmp_path), "KALSHI_FILLS_FORMAT": "json"}
    environment["CLICKHOUSE_URL"] = f"clickhouse://127.0.0.1:1/{'a-b'}"  # nothing is ever opened
    done = run_here([command, option, KEY_TEXTS[kind]], environment)
    assert done.code == 2
    assert_silent(done, *pieces(KEY_TEXTS[kind]))


@pytest.mark.parametrize("line", [f"aB3{'xY7z' * 15}Q", "d41d8cd98f00b204" * 4])
def test_a_line_of_a_key_that_happens_to_be_a_name_is_refused(line: str, tmp_path: Path) -> None:
    for option in ("table", "cluster"):
        mistakes = Mistakes()
        build({option: line if line[0].isalpha() else f"a{line}"}, {}, mistakes, folder=tmp_path)
        with pytest.raises(SettingsError) as caught:
            mistakes.raise_if_any()
        assert line not in caught.value.message


# A URL's password


SECRET = "Tr0ub4dor-zebra"
URLS = [
    f"clickhouse://user:{SECRET}@db.example:9000/kalshi",
    f"clickhouses://user:{SECRET}@db.example/kalshi?x=y",
    f"postgres://user:{SECRET}@h",
    f"user:{SECRET}@h:9000",
    f"http://{SECRET}@h/x",
]


@pytest.mark.sampled(5)
@pytest.mark.parametrize("form", ["table", "json"])
@pytest.mark.parametrize("url", URLS)
def test_a_url_where_another_value_is_due_is_refused_and_not_shown(
    url: str, form: str, tmp_path: Path
) -> None:
    environment = {"HOME": str(tmp_path), "CLICKHOUSE_URL": "clickhouse://127.0.0.1:1/a-b"}
    environment["KALSHI_FILLS_FORMAT"] = form
    tries = [[COMMAND_OF.get(option, "sync"), option, url] for option in (*COMMAND_OF, *SHARED)]
    tries += [[words[0], f"{words[1]}={words[2]}"] for words in tries]
    tries += [
        ["sync", url],
        [url],
        [url, "sync"],
        ["sync", "--", url],
        ["sync", f"--clickhous={url}"],
        ["sync", f"--click-house={url}"],
        ["sync", "--clickhous", url],
        ["sync", f"-c{url}"],
        ["sync", f"-clickhouse={url}"],
        ["sync", f"--{url}"],
        ["sync", f"--full={url}"],
        ["sync", "--rate-share", url],
        ["sync", url, url, "--full"],
        ["sync", "--table", "a", "--table", url],
        ["sync", *url.replace("user:", "user: ").split()],
        ["sync", f"'{url}'"],
        ["migrate", f"CLICKHOUSE_URL={url}"],
        ["--format", url, "sync"],
        ["sync", "--since", f"24h {url}"],
    ]
    for words in tries:
        done = run_here(words, environment)
        assert done.code == 2, words
        assert_silent(done, SECRET, SECRET.lower())
    for name in VARIABLES:
        done = run_here(["sync"], environment | {name: url})
        assert done.code == 2, name
        assert_silent(done, SECRET, SECRET.lower())


def test_usage_errors_of_the_command_line_itself_show_no_secret_in_a_process(cli: Cli) -> None:
    for words in (["sync", URLS[0]], ["sync", "--rate-share", URLS[0]], [URLS[0]]):
        done = cli(*words, "--format", "json")
        assert done.code == 2
        assert_silent(done, SECRET)


SECRETS = st.one_of(
    st.binary(min_size=32, max_size=64)
    .filter(lambda raw: len(set(raw)) > 20)
    .map(lambda raw: base64.b64encode(raw).decode()),
    st.builds(
        "{}://{}:{}@host/db".format,
        st.sampled_from(["clickhouse", "clickhouses", "chdb", "http", "https", "x"]),
        st.just("user"),
        st.text(string.ascii_letters + string.digits + "!$%&*-_.~", min_size=8, max_size=30),
    ),
    st.binary(min_size=32, max_size=64).filter(lambda raw: len(set(raw)) > 20).map(bytes.hex),
)
POSITIONS = st.sampled_from(
    [
        *((COMMAND_OF.get(option, "sync"), option) for option in (*SHARED, *COMMAND_OF)),
        ("sync", ""),
        ("", ""),
        ("diagnose", "--no-such-option"),
        *(("sync", name) for name in VARIABLES),
    ]
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(position=POSITIONS, secret=SECRETS, form=st.sampled_from(["json", "table"]))
@example(position=("sync", "--since"), secret="clickhouse://user:abcdefgh@host/db", form="json")
def test_no_secret_in_any_position_is_ever_shown(
    position: tuple[str, str], secret: str, form: str, tmp_path: Path
) -> None:
    command, place = position
    environment = {"HOME": str(tmp_path), "KALSHI_FILLS_FORMAT": form}
    environment["CLICKHOUSE_URL"] = "clickhouse://127.0.0.1:1/a-b"
    words = [command] if command else []
    if place.startswith("-"):
        words += [place, secret]
    elif place:
        environment[place] = secret
    else:
        words.append(secret)
    done = run_here(words, environment)
    assert_silent(done, secret, secret.partition("://")[2].partition("@")[0] or secret)


# The rule


@pytest.mark.parametrize(
    "value",
    [
        *("surplus", "yesterday", "a b", "1st", "2026-13-01", "2026-11-20T15:00:00Z", "x.env"),
        *("20261120T150000Z", "/no/such/key.pem", "${HOME}", "production", "a-b", "MM_FILLS"),
        *("30d", "24H", "1table"),
    ],
)
def test_short_plain_values_are_quoted(value: str) -> None:
    assert quoted(value) == f" '{value}'"


@pytest.mark.parametrize(
    "value",
    [
        *("u:p@h", "//u:p", "aB3dE5gH", "hunter22", "a=b", "x" * 101, "a\nb", "\u202eabc", ""),
        *("a\\nb", "-----BEGIN", "tail/Q+8=="),
    ],
)
def test_other_values_are_not(value: str) -> None:
    assert quoted(value) == ""
    assert not is_plain(value)


def test_what_looks_like_a_key() -> None:
    for kind, text in KEY_TEXTS.items():
        assert looks_like_key(text) or kind == "last line"
    for name in ("mm_fills", "X" * 128, "mm_fills_backup_20261120T150000Z", "practice-key-id"):
        assert not looks_like_key(name)
    assert not looks_like_key("7c9e6679-7425-40de-944b-e07fc1f90ae7")


# Known secrets, as the last step


@pytest.mark.parametrize("password", ["a", "ab", "abc"])
def test_a_password_of_a_few_letters_is_hidden_in_a_url_and_destroys_no_text(password: str) -> None:
    text = f"cannot reach clickhouse://user:{password}@host/db, a bad cab"
    assert redact(text, (password,)) == "cannot reach clickhouse://***@host/db, a bad cab"


def test_a_password_is_hidden_in_every_spelling() -> None:
    password = 'p"ä\nß\x07word'
    spellings = [password, json.dumps(password)[1:-1], repr(password)[1:-1], visible(password)]
    for spelling in spellings:
        assert spelling not in redact(f"<{spelling}>", (password,))


def test_user_information_of_any_url_is_hidden_although_nobody_knew_it() -> None:
    said = redact("proxy http://me:hunter2@proxy:3128 refused; https://h/x@y is none", ())
    assert said == "proxy http://***@proxy:3128 refused; https://h/x@y is none"


def test_a_key_in_an_exception_is_hidden_line_by_line() -> None:
    lines = PEM.splitlines()
    assert redact(f"x {PEM} y {lines[4]}", (PEM,)).count(lines[4]) == 0
    assert lines[2] not in redact(f"cause: {PEM}", ())
    assert redact("keep -----BEGIN RSA PRIVATE KEY-----\\nabc", ()) == "keep ***"

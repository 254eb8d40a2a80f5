"""User, password and TLS reach the server, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

import pytest

from config.campaign import StoreSettings
from config.errors import ConfigError, SabatierError, StoreError
from pipeline.store import address as addresses
from pipeline.store import connection as connections
from pipeline.store import open_store
from pipeline.store.address import (
    PASSWORD_VARIABLE,
    URI_VARIABLE,
    USERNAME_VARIABLE,
    ServerAddress,
    read_password,
    server_address,
)

from . import examples
from .servers import OPENSSL, PASSWORD, USER, certificates, server

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Port of a server that asks for a password."""
    with server(tmp_path_factory.mktemp("server")) as number:
        yield number


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (URI_VARIABLE, USERNAME_VARIABLE, PASSWORD_VARIABLE):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\n")
    path.chmod(0o600)
    return path


def uses(settings: StoreSettings, home: Path) -> None:
    with open_store(settings, home) as store:
        store.plan([examples.a_calculation()])
        assert store.calculation("calc-0001") == examples.a_calculation()
        seen = [str(store), repr(store.connection), repr(store.connection.database), repr(vars(store))]
        assert not any(PASSWORD in text for text in seen)


def test_user_and_password_of_the_campaign_file(port: int, tmp_path: Path, password_file: Path) -> None:
    uri = f"mongodb://127.0.0.1:{port}"
    uses(StoreSettings(uri=uri, username=USER, password_file=str(password_file)), tmp_path)


def test_user_and_password_of_the_environment_come_first(
    port: int, tmp_path: Path, password_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(USERNAME_VARIABLE, USER)
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    password_file.write_text("another\n")
    uri = f"mongodb://127.0.0.1:{port}"
    uses(StoreSettings(uri=uri, username="nobody", password_file=str(password_file)), tmp_path)


def test_an_address_of_the_environment_may_hold_both(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URI_VARIABLE, f"mongodb://{USER}:{quote_plus(PASSWORD)}@127.0.0.1:{port}/?appName=x")
    monkeypatch.setenv(PASSWORD_VARIABLE, "another")
    uses(StoreSettings(username="nobody"), tmp_path)


def test_a_wrong_password_gives_one_line_without_it(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(USERNAME_VARIABLE, USER)
    monkeypatch.setenv(PASSWORD_VARIABLE, "wr0ng-p4ss")
    with pytest.raises(StoreError, match=r"Authentication failed.*store\.password_file") as caught:
        open_store(StoreSettings(uri=f"mongodb://127.0.0.1:{port}"), tmp_path)
    text = str(caught.value)
    assert "\n" not in text
    assert not {"wr0ng-p4ss", USER} & set(text.replace(",", " ").split())
    assert caught.value.__suppress_context__


def test_without_a_login_the_server_refuses(port: int, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=f"127.0.0.1:{port}.* refuses: .*requires authentication"):
        open_store(StoreSettings(uri=f"mongodb://127.0.0.1:{port}"), tmp_path)


@pytest.mark.skipif(OPENSSL is None, reason="needs openssl")
def test_an_encrypted_connection_checks_the_server(
    tmp_path: Path, password_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "FIRST_CONTACT_MS", 1500)
    ca, pem = certificates(tmp_path)
    options = ("--tlsMode", "requireTLS", "--tlsCertificateKeyFile", str(pem))
    tls = {"tls": True, "tlsCAFile": str(ca)}
    with server(tmp_path, *options, client_options=tls) as port:
        base = StoreSettings(
            uri=f"mongodb://127.0.0.1:{port}", username=USER, password_file=str(password_file), tls=True
        )
        uses(base.model_copy(update={"tls_ca_file": str(ca)}), tmp_path)
        with pytest.raises(StoreError, match=r"certificate verify failed.*store\.tls_ca_file"):
            open_store(base, tmp_path)
        with pytest.raises(StoreError, match="cannot reach"):
            open_store(base.model_copy(update={"tls": False}), tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_password_file_that_others_can_read_is_refused(password_file: Path, mode: int) -> None:
    password_file.chmod(mode)
    with pytest.raises(ConfigError, match=f"chmod 600 {password_file}"):
        read_password(password_file)


def test_a_password_file_must_hold_a_password(tmp_path: Path) -> None:
    path = tmp_path / "password"
    with pytest.raises(ConfigError, match="No such file"):
        read_password(path)
    os.mkfifo(path, 0o600)
    with pytest.raises(ConfigError, match="not a regular file"):
        read_password(path)
    path.unlink()
    for content in (b"", b"\nsecret\n"):
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(ConfigError, match="empty first line"):
            read_password(path)
    path.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ConfigError, match="not text") as caught:
        read_password(path)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("text", [" with spaces ", "pä55wörd", 'quo"te', "a" * 1000])
def test_any_password_is_read_as_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "password"
    path.write_text(f"{text}\r\n", newline="")
    path.chmod(0o600)
    assert read_password(path) == text


def test_a_password_without_a_user_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "secret-word")
    with pytest.raises(ConfigError, match="but no user") as caught:
        server_address(StoreSettings(uri="mongodb://host"))
    assert "secret-word" not in str(caught.value)


def test_files_that_are_missing_are_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.pem")
    for key in ("tls_ca_file", "tls_certificate_key_file"):
        settings = StoreSettings(uri="mongodb://host", tls=True, **{key: missing})
        with pytest.raises(ConfigError, match=rf"store\.{key} .*missing\.pem"):
            server_address(settings)


def test_what_an_address_says_of_tls_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = StoreSettings(uri="mongodb://host", tls=True)
    assert server_address(settings).tls == {"tls": True}
    monkeypatch.setenv(URI_VARIABLE, "mongodb://other/?tls=false")
    assert server_address(settings).tls == {}


@pytest.mark.parametrize("uri", ["mongodb://zelda:secret:word@h/", "mongodb://zelda:secret/word@h/"])
def test_an_address_that_is_not_escaped_says_how(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URI_VARIABLE, uri)
    with pytest.raises(SabatierError, match="%40") as caught:
        server_address(StoreSettings())
    assert "secret" not in str(caught.value)
    assert "zelda" not in str(caught.value)


def test_every_form_of_a_secret_is_scrubbed() -> None:
    address = ServerAddress("mongodb://h/?tlsCertificateKeyFilePassword=key-word", "zelda", PASSWORD)
    text = f"{PASSWORD} {quote_plus(PASSWORD)} zelda key-word h"
    assert address.scrub(text) == "*** *** *** *** h"
    assert PASSWORD not in repr(address)
    assert "key-word" not in repr(address) + str(address)
    assert addresses.mask("ann:secret@host") == "***"

"""The ``store`` section: addresses without passwords, paths, and what belongs together."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.campaign import StoreSettings, holds_password
from config.errors import ConfigError
from config.loader import parse_campaign

MINIMAL = "name: try\nbulks: {ids: [mp-30]}\nadsorbates: {CO: {}}\nrecipe: emt\n"


def load(section: str) -> StoreSettings:
    return parse_campaign(f"{MINIMAL}store: {section}\n", "try.yaml", Path("/folder")).store


def complaint(section: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(section)
    assert caught.value.__cause__ is None  # which would show the value in a traceback
    return str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "mongodb://me:hunter2@db",
        "mongodb+srv://me:hunter2@cluster.example.org/x?tls=true",
        "mongodb://me:hunter2@a:27017,b:27017/?replicaSet=r",
        "mongodb://:hunter2@db",
        "mongodb://me:hun@ter2@db:27017",
        "mongodb://me:hun/ter2@db",
        "mongodb://me:hun?ter2@db",
        "mongodb://db/?tlsCertificateKeyFilePassword=hunter2",
        "mongodb://me@db/?authMechanismProperties=AWS_SESSION_TOKEN:hunter2",
    ],
)
def test_a_password_in_the_address_is_refused_and_not_repeated(uri: str) -> None:
    message = complaint(f"{{uri: '{uri}'}}")
    assert "must hold no password" in message
    assert "password_file" in message
    assert "SABATIER_MONGODB_URI" in message
    assert not any(part in message for part in ("hunter2", "hun", "ter2"))


@pytest.mark.parametrize(
    "uri",
    [
        "mongodb://db",
        "mongodb://db:27017,db2:27018/?replicaSet=r",
        "mongodb://me@db:27017",
        "mongodb+srv://cluster.example.org",
        "mongodb://%2Ftmp%2Fmongodb-27017.sock",
        "mongodb://[::1]:27017/",
        "mongodb://db:27017/?appName=me@home",
    ],
)
def test_an_address_without_a_password_is_taken(uri: str) -> None:
    assert load(f"{{uri: '{uri}'}}").uri == uri


@settings(deadline=None)
@given(
    user=st.text(st.characters(exclude_characters=":=", codec="utf-8")),
    password=st.text(st.characters(exclude_characters="=", codec="utf-8")),
    host=st.from_regex(r"\A[a-z]{1,8}(:[0-9]{1,5})?(/[a-z]*)?\Z"),
)
def test_no_password_goes_unseen_however_badly_it_is_escaped(user: str, password: str, host: str) -> None:
    uri = f"mongodb://{user}:{password}@{host}"
    assert holds_password(uri)


def test_paths_count_from_the_campaign_files_folder() -> None:
    store = load(
        "{password_file: secret, tls: true, tls_ca_file: ../ca.pem, tls_certificate_key_file: /k.pem}"
    )
    assert store.password_file == "/folder/secret"
    assert store.tls_ca_file == "/ca.pem"
    assert store.tls_certificate_key_file == "/k.pem"
    assert load("{folder: ~/db}").folder == str(Path("~/db").expanduser())
    assert load("{}").folder is None


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("{password: hunter2}", "store.password: unknown key (did you mean 'password_file'?)"),
        ("{password_file: ''}", 'store.password_file: got ""; is empty; leave the key out instead'),
        ("{folder: ' '}", 'store.folder: got " "; is empty'),
        ("{tls: 1}", "store.tls: got 1; allowed: true or false"),
        ("{outage_minutes: -1}", "store.outage_minutes: got -1; allowed: number, 0 to 10080"),
        ("{uri: 'mongodb://db', folder: x}", "store: folder is of the embedded server"),
        ("'mongodb://me:hunter2@db'", 'store: got "mongodb://***@db"; allowed: section with keys of its own'),
    ],
)
def test_a_bad_key_is_named_with_what_is_allowed(section: str, expected: str) -> None:
    message = complaint(section)
    assert expected in message
    assert "hunter2" not in message

"""The connection: which server, what happens when it dies, and that it keeps its secrets."""

from __future__ import annotations

import multiprocessing
import threading
import time
from typing import TYPE_CHECKING

import pytest

from config.campaign import StoreSettings
from config.errors import ConfigError, StoreError
from pipeline.domain import CalculationState
from pipeline.store import connection as connections
from pipeline.store import documents, open_store
from pipeline.store.address import URI_VARIABLE, ServerAddress, mask
from pipeline.store.connection import is_transient
from pipeline.store.server import EmbeddedServer

from . import examples
from .test_server import home, kill_server, pid_of

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.store.repository import Store

__all__ = ["home"]
S = CalculationState


def test_an_address_is_used_instead_of_the_embedded_server(mongo_home: Path, tmp_path: Path) -> None:
    server = EmbeddedServer(mongo_home)
    uri = server.acquire()
    with open_store(StoreSettings(uri=uri, database="by_address"), tmp_path) as store:
        store.plan([examples.a_calculation()])
        assert store.transition("calc-0001", S.PLANNED, S.SUBMITTING) is not None
        store.connection.database.client.drop_database("by_address")
    assert list(tmp_path.iterdir()) == []
    server.release()


def test_the_environment_variable_comes_before_the_settings(
    mongo_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = EmbeddedServer(mongo_home)
    monkeypatch.setenv(URI_VARIABLE, server.acquire())
    settings = StoreSettings(uri="mongodb://nowhere.invalid:1/", database="by_variable")
    with open_store(settings, tmp_path) as store:
        assert store.campaigns() == []
        store.connection.database.client.drop_database("by_variable")
    server.release()


@pytest.mark.parametrize(
    "uri",
    [
        "mongodb://zelda:se%20cret@127.0.0.1:1/?authSource=admin",
        "mongodb://zelda:se%20cret@127.0.0.1:port/",
        "mongodb://zelda:se%20cret@/",
        "mongodb://zelda:se%20cret@127.0.0.1:1/?tls=perhaps",
        "mongodb://zelda:se%20cret:@127.0.0.1:1/",
        "mongodb://zelda:se/cret@127.0.0.1:1/",
        "mongodb://zelda:se@cret@127.0.0.1:1/",
    ],
)
def test_an_unusable_address_fails_soon_and_keeps_its_credentials(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "FIRST_CONTACT_MS", 300)
    monkeypatch.setenv(URI_VARIABLE, uri)
    started = time.monotonic()
    with pytest.raises(StoreError, match=r"MongoDB|mongodb") as caught:
        open_store(StoreSettings(), tmp_path)
    assert time.monotonic() - started < 5
    for secret in ("zelda", "cret"):
        assert secret not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_variable_that_holds_no_address_is_named_and_its_value_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URI_VARIABLE, "nonsense://zelda:secret@127.0.0.1/")
    with pytest.raises(ConfigError, match=f"{URI_VARIABLE} must start with mongodb://") as caught:
        open_store(StoreSettings(), tmp_path)
    assert "zelda" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_short_credentials_do_not_garble_the_text_of_errors() -> None:
    told = ServerAddress("mongodb://host/", "a", "b").scrub("a bad bargain")
    assert told == "a bad bargain"


def test_a_masked_address_keeps_the_hosts_only() -> None:
    assert (
        mask("mongodb://ann:secret@a:1,b:2/db?replicaSet=x&tlsCertificateKeyFilePassword=y")
        == "mongodb://a:1,b:2/db"
    )
    assert mask("mongodb://host") == "mongodb://host"
    assert mask("ann:secret@host") == "***"


@pytest.mark.parametrize(
    ("version", "remedy"), [(documents.SCHEMA_VERSION + 1, "upgrade Sabatier"), (0, "another database")]
)
def test_another_schema_is_refused(store: Store, mongo_home: Path, version: int, remedy: str) -> None:
    database = store.connection.database
    database["meta"].update_one({"_id": "schema"}, {"$set": {"version": version}})
    with pytest.raises(
        StoreError, match=f"schema version {version}, .* version {documents.SCHEMA_VERSION}: .*{remedy}"
    ):
        open_store(StoreSettings(database=database.name), mongo_home)


def test_two_stores_in_one_process_do_not_mix(store: Store, mongo_home: Path) -> None:
    with open_store(StoreSettings(database="the_other"), mongo_home) as other:
        other.plan([examples.a_calculation(1)])
        store.plan([examples.a_calculation(2)])
        assert [c.id for c in other.calculations()] == ["calc-0001"]
        assert [c.id for c in store.calculations()] == ["calc-0002"]
        other.connection.database.client.drop_database("the_other")


def test_a_closed_store_says_so(mongo_home: Path) -> None:
    store = open_store(StoreSettings(), mongo_home)
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.campaigns()


def test_an_iterator_is_not_lost_at_the_second_try(home: Path) -> None:
    with open_store(StoreSettings(), home) as store:
        kill_server(home)
        assert store.plan(examples.a_calculation(n) for n in range(5)) == 5
        kill_server(home)
        assert len(store.calculations(ids=(f"calc-{n:04d}" for n in range(5)))) == 5


def test_a_server_killed_between_calls_is_started_again(home: Path) -> None:
    with open_store(StoreSettings(), home) as store:
        store.plan([examples.a_calculation()])
        for source, target in [
            (S.PLANNED, S.SUBMITTING),
            (S.SUBMITTING, S.SUBMITTED),
            (S.SUBMITTED, S.RUNNING),
        ]:
            kill_server(home)
            assert store.transition("calc-0001", source, target).state is target
        assert [m.state for m in store.history("calc-0001")] == [
            S.PLANNED,
            S.SUBMITTING,
            S.SUBMITTED,
            S.RUNNING,
        ]


def test_no_acknowledged_write_is_lost_when_the_server_is_killed(home: Path) -> None:
    """Three threads write; the server is killed three times under them."""
    with open_store(StoreSettings(), home) as store:
        written: list[int] = []
        stop = threading.Event()

        def write(first: int) -> None:
            number = first
            while not stop.is_set():
                store.plan([examples.a_calculation(number)])
                moved = store.transition(f"calc-{number:04d}", S.PLANNED, S.SUBMITTING, job_id=str(number))
                assert moved is not None
                written.append(number)
                number += 3

        threads = [threading.Thread(target=write, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(3):
            enough = len(written) + 20
            while len(written) < enough:
                time.sleep(0.01)
            kill_server(home)
        time.sleep(0.3)
        stop.set()
        for thread in threads:
            thread.join(60)
    assert pid_of(home) is None
    with open_store(StoreSettings(), home) as store:
        found = {c.id: c for c in store.calculations(states=[S.SUBMITTING])}
        assert len(written) >= 60
        assert all(found[f"calc-{n:04d}"].job_id == str(n) for n in written)


def test_a_server_by_address_that_stays_away_is_reported(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "FIRST_CONTACT_MS", 500)
    server = EmbeddedServer(home)
    with open_store(StoreSettings(uri=server.acquire()), tmp_path, patience_seconds=0.5) as store:
        kill_server(home)
        with pytest.raises(StoreError, match="lost mongodb://"):
            store.campaigns()
        server.acquire()
        assert store.campaigns() == []
    server.release()


# Python 3.12 and later warn of a fork while threads run; pymongo has some, and Luigi forks.
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_child_uses_the_store_and_leaves_the_server_running(home: Path) -> None:
    def child(store: Store) -> None:
        store.plan([examples.a_calculation(2)])
        store.close()

    with open_store(StoreSettings(), home) as store:
        store.plan([examples.a_calculation(1)])
        process = multiprocessing.get_context("fork").Process(target=child, args=(store,))
        process.start()
        process.join(60)
        assert process.exitcode == 0
        assert pid_of(home) is not None
        assert [c.id for c in store.calculations()] == ["calc-0001", "calc-0002"]


def test_the_server_outlives_a_parent_whose_child_still_uses_it(home: Path) -> None:
    parent_closed = multiprocessing.get_context("fork").Event()

    def child(store: Store) -> None:
        parent_closed.wait(60)
        store.plan([examples.a_calculation(2)])
        store.close()

    store = open_store(StoreSettings(), home)
    process = multiprocessing.get_context("fork").Process(target=child, args=(store,))
    process.start()
    pid = pid_of(home)
    store.close()
    assert pid_of(home) == pid
    parent_closed.set()
    process.join(60)
    assert process.exitcode == 0
    assert pid_of(home) is None


def test_what_will_not_pass_is_not_tried_again() -> None:
    from pymongo.errors import AutoReconnect, BulkWriteError, OperationFailure

    assert is_transient(AutoReconnect("gone"))
    assert is_transient(OperationFailure("cursor", 43))
    assert is_transient(BulkWriteError({"writeErrors": [{"code": 11000}], "writeConcernErrors": []}))
    assert is_transient(OperationFailure("28: No space left on device", 8))
    assert not is_transient(OperationFailure("unknown", 8))
    assert not is_transient(OperationFailure("not authorized", 13))
    assert not is_transient(BulkWriteError({"writeErrors": [{"code": 11000}, {"code": 2}]}))

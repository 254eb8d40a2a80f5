"""Heartbeats, leases and the pause: told by the server's clock, and by one driver at a time."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from config.campaign import StoreSettings
from config.errors import StoreError
from pipeline.store import documents, open_store
from pipeline.store.records import DriverRecord, utc_now

if TYPE_CHECKING:
    from pipeline.store.repository import Store

DRIVER = DriverRecord("login1/boot-1/42/7", "one", "login1", 42, utc_now(), "run")


def test_drivers_are_told_with_the_age_of_their_last_beat(store: Store) -> None:
    other = replace(DRIVER, id="login2/boot-2/43/8", host="login2", mode="run --once")
    store.beat(DRIVER)
    store.beat(other)
    store.beat(replace(DRIVER, id="another campaign's", campaign="two"))
    collection = store.connection.database["drivers"]
    beat_at = collection.find_one({"_id": DRIVER.id})["beat_at"]
    collection.update_one({"_id": DRIVER.id}, {"$set": {"beat_at": beat_at - timedelta(seconds=90)}})
    assert store.drivers("one") == [other, DRIVER]
    young, old = (d.age_seconds for d in store.drivers("one"))
    assert 0.0 <= young < 30.0
    assert 90.0 <= old < 120.0
    store.beat(DRIVER)
    assert all(d.age_seconds < 30.0 for d in store.drivers("one"))


def test_a_driver_that_ends_is_forgotten_with_those_long_silent(store: Store) -> None:
    for name in ("me", "silent", "other"):
        store.beat(replace(DRIVER, id=name))
    collection = store.connection.database["drivers"]
    long_ago = utc_now() - timedelta(days=2)
    collection.update_one({"_id": "silent"}, {"$set": {"beat_at": long_ago}})
    store.forget_driver("me")
    store.forget_driver("me")
    assert [d.id for d in store.drivers("one")] == ["other"]


def test_a_pause_is_seen_by_all_and_survives_a_new_run(store: Store) -> None:
    store.save_campaign("one", {"name": "one"}, "digest", Path("/home"))
    assert store.campaign("one").paused is False
    store.set_paused("one", True)
    store.set_paused("one", True)
    assert store.campaign("one").paused is True
    assert store.save_campaign("one", {"name": "one"}, "digest", Path("/home")).paused is True
    store.set_paused("one", False)
    assert store.campaign("one").paused is False
    with pytest.raises(StoreError, match="no campaign 'two'"):
        store.set_paused("two", True)


def test_one_driver_at_a_time_has_a_lease(store: Store) -> None:
    assert store.lease_owner("choose") is None
    assert store.take_lease("choose", "$me", 60.0)
    assert not store.take_lease("choose", "other", 60.0)
    assert store.take_lease("choose", "$me", 60.0)
    assert store.take_lease("another", "other", 60.0)
    assert store.lease_owner("choose") == "$me"
    store.release_lease("choose", "other")
    assert store.lease_owner("choose") == "$me"
    store.release_lease("choose", "$me")
    store.release_lease("choose", "$me")
    assert store.lease_owner("choose") is None
    assert store.take_lease("choose", "other", 60.0)


def test_a_lease_that_is_over_can_be_taken_and_one_renewed_cannot(store: Store) -> None:
    assert store.take_lease("choose", "asleep", 0.3)
    assert store.take_lease("choose", "asleep", 0.6)
    time.sleep(0.4)
    assert not store.take_lease("choose", "other", 60.0)
    time.sleep(0.4)
    assert store.lease_owner("choose") is None
    assert store.take_lease("choose", "other", 60.0)
    assert not store.take_lease("choose", "asleep", 60.0)


def test_of_many_drivers_exactly_one_gets_the_lease(store: Store) -> None:
    n_threads = 6
    for number in range(10):
        barrier = threading.Barrier(n_threads)

        def race(owner: int, name: str = f"lease-{number}", barrier: threading.Barrier = barrier) -> bool:
            barrier.wait()
            return store.take_lease(name, str(owner), 60.0)

        with ThreadPoolExecutor(n_threads) as pool:
            assert sum(pool.map(race, range(n_threads))) == 1


def test_a_database_of_version_1_is_read_and_marked(store: Store, mongo_home: Path) -> None:
    """As a release before drivers and leases left it."""
    from . import examples

    store.save_campaign("one", {"name": "one"}, "digest", Path("/home"))
    store.plan([examples.a_calculation()])
    database = store.connection.database
    new = {"owner": 1, "since": 1, "memory_factor": 1, "forgiven": 1, "fresh_after": 1}
    database["calculations"].update_many({}, {"$unset": new})
    database["campaigns"].update_many({}, {"$unset": {"paused": 1}})
    database["meta"].update_one({"_id": "schema"}, {"$set": {"version": 1}})
    for name in ("drivers", "leases"):
        database.drop_collection(name)
    with open_store(StoreSettings(database=database.name), mongo_home) as opened:
        assert opened.calculation("calc-0001") == examples.a_calculation()
        assert opened.campaign("one").paused is False
        assert opened.drivers("one") == []
        assert opened.take_lease("choose", "me", 1.0)
    assert database["meta"].find_one({"_id": "schema"})["version"] == documents.SCHEMA_VERSION == 3

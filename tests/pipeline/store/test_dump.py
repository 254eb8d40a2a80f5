"""A dumped campaign comes back whole or not at all, and never takes a result away."""

from __future__ import annotations

import gzip
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.campaign import StoreSettings
from config.errors import ConfigError, StoreError
from dft.codes import FailureCode
from dft.jobs import CalculationKind, JobResult
from pipeline.domain import CalculationState
from pipeline.store import documents, open_store
from pipeline.store.dump import PAGE, dump_campaign
from pipeline.store.dumpfile import DumpReader, from_json, to_json
from pipeline.store.load import load_campaign
from pipeline.store.records import DriverRecord, RoundRecord, Selection, utc_now

from . import examples

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.store.repository import Store

S = CalculationState
NAME = "campaign"
MOMENT = utc_now()


@pytest.fixture
def other(mongo_home: Path, store: Store) -> Iterator[Store]:
    """Open another empty store."""
    name = f"{store.connection.database.name}_other"
    with open_store(StoreSettings(database=name), mongo_home) as opened:
        yield opened
        opened.connection.database.client.drop_database(name)


def a_result(number: int, energy: float = -1.5) -> JobResult:
    return JobResult(
        calculation_id=f"calc-{number:04d}",
        kind=CalculationKind.ADSLAB,
        attempt=1,
        state="DONE",
        energy=energy,
        details={"odd key": [1, 2.5, None, "ü"], "n": 2**40},
    )


def fill(store: Store, n: int = 3) -> None:
    """Put a campaign into a store, and things beside it that are none of its own."""
    for name in (NAME, f"{NAME}-2", "campaig"):
        store.save_campaign(name, {"name": name, "seed": 2**40}, "digest", Path("/homes") / name)
        store.save_bulks(name, [examples.a_bulk()])
        store.save_surfaces(name, [examples.a_surface()])
        store.save_sites(name, [examples.a_site(k) for k in range(n)])
    required = [examples.a_calculation(9001), examples.a_calculation(9002)]
    deepest = replace(examples.a_calculation(8000), requires=())
    required = [replace(required[0], requires=("calc-8000",)), replace(required[1], requires=())]
    chosen = [examples.a_calculation(k) for k in range(1, n + 1)]
    store.plan([deepest, *required, *chosen, examples.a_calculation(7777)])
    selections = tuple(Selection(c.id, f"site-{k}", "CO", 0.5) for k, c in enumerate(chosen))
    store.create_round(RoundRecord(NAME, 0, selections, 7, "digest", {"gpaw": "26.7.0"}))
    store.save_model(examples.a_model())
    for number in (1, 7777):
        move(store, number, S.SUBMITTING, S.DONE, S.VALID, attempt=1)
        store.save_result(a_result(number))
        store.save_observation(examples.an_observation(number))
    move(store, 2, S.SUBMITTING, S.SUBMITTED, attempt=1, job_dir="/jobs/2", job_id="7")


def move(store: Store, number: int, *states: CalculationState, **changes: Any) -> None:
    for state in states:
        before = store.calculation(f"calc-{number:04d}").state
        assert store.transition(f"calc-{number:04d}", before, state, **changes)


def dumped(store: Store, path: Path, campaign: str = NAME) -> list[bytes]:
    with path.open("wb") as target:
        dump_campaign(store, campaign, target)
    return gzip.decompress(path.read_bytes()).splitlines(keepends=True)


def test_what_is_dumped_and_loaded_is_dumped_the_same(store: Store, other: Store, tmp_path: Path) -> None:
    fill(store)
    first = dumped(store, tmp_path / "one.gz")
    counts = load_campaign(other, DumpReader(tmp_path / "one.gz"))
    second = dumped(other, tmp_path / "two.gz")
    assert second[1:] == first[1:]
    header, again = json.loads(first[0]), json.loads(second[0])
    assert {**header, "created_at": again["created_at"]} == again
    assert counts == {**json.loads(first[-1])["counts"], "kept": 0}
    assert counts["calculations"] == 6
    assert counts["sites"] == 3


def test_a_loaded_campaign_is_the_same_to_the_store(store: Store, other: Store, tmp_path: Path) -> None:
    fill(store)
    dumped(store, tmp_path / "one.gz")
    load_campaign(other, DumpReader(tmp_path / "one.gz"))
    assert other.campaigns() == [store.campaign(NAME)]
    for read in (
        lambda s: s.bulks(NAME),
        lambda s: s.sites(NAME),
        lambda s: s.rounds(NAME),
        lambda s: s.models(NAME),
        lambda s: s.history("calc-0001"),
        lambda s: s.result("calc-0001"),
        lambda s: s.calculation("calc-0002"),
        lambda s: s.observations(calculation_ids=["calc-0001"]),
    ):
        assert read(other) == read(store)
    assert other.calculation("calc-7777") is None
    assert other.surface(NAME, "surface-0001") == store.surface(NAME, "surface-0001")
    # A job that was under way can be settled by the next driver.
    assert other.transition("calc-0002", S.SUBMITTED, S.RUNNING, at_attempt=1) is not None


ODD_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
ODD_KEY = ODD_TEXT.filter(lambda t: t and not t.startswith("$"))
ODD_VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.just(float("nan"))
    | ODD_TEXT
    | st.binary(max_size=8)
    | st.datetimes(timezones=st.just(MOMENT.tzinfo)).map(
        lambda t: t.replace(microsecond=t.microsecond // 1000 * 1000)
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD_KEY, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(details=st.dictionaries(ODD_KEY, ODD_VALUE, max_size=4))
def test_any_value_that_the_database_holds_survives(
    store: Store, other: Store, tmp_path: Path, details: dict[str, Any]
) -> None:
    from bson import BSON

    store.save_campaign(NAME, {"name": NAME}, "digest", Path("/home"))
    collection = store.connection.database["models"]
    document = {"_id": f"{NAME}/0/CO", "campaign": NAME, "record": details}
    collection.replace_one({"_id": document["_id"]}, document, upsert=True)
    first = dumped(store, tmp_path / "one.gz")
    load_campaign(other, DumpReader(tmp_path / "one.gz"), replace=True)
    assert dumped(other, tmp_path / "two.gz")[1:] == first[1:]
    one, two = (s.connection.database["models"].find_one() for s in (store, other))
    assert BSON.encode(one) == BSON.encode(two)
    assert BSON.encode(from_json(to_json(one))) == BSON.encode(one)


@pytest.mark.parametrize("cut", [0.0, 0.2, 0.9, 0.999])
def test_a_file_that_was_cut_short_is_refused(store: Store, other: Store, tmp_path: Path, cut: float) -> None:
    fill(store)
    path = tmp_path / "one.gz"
    dumped(store, path)
    path.write_bytes(path.read_bytes()[: int(cut * path.stat().st_size)])
    with pytest.raises(StoreError, match=r"not a whole dump|no dump of Sabatier"):
        load_campaign(other, DumpReader(path))
    assert sum(other.document_counts().values()) == 1


def rewrite(path: Path, change: Any) -> None:
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    path.write_bytes(gzip.compress(b"".join(change(lines))))


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[:-1],
        lambda lines: [*lines[:5], *lines[6:]],
        lambda lines: [*lines, b"more\n"],
        lambda lines: [line.replace(b"12.5", b"11.5") for line in lines],
        lambda lines: [*lines[:5], b"\xff\xfe{\n", *lines[5:]],
    ],
    ids=["no trailer", "a line less", "a line more", "another value", "garbage"],
)
def test_a_file_that_was_changed_is_refused(store: Store, other: Store, tmp_path: Path, change: Any) -> None:
    fill(store)
    dumped(store, tmp_path / "one.gz")
    rewrite(tmp_path / "one.gz", change)
    with pytest.raises(StoreError, match="not a whole dump"):
        load_campaign(other, DumpReader(tmp_path / "one.gz"))
    assert other.campaigns() == []


def test_one_flipped_byte_anywhere_is_noticed(store: Store, tmp_path: Path) -> None:
    fill(store)
    path = tmp_path / "one.gz"
    dumped(store, path)
    whole = path.read_bytes()
    for place in range(12, len(whole), 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x40]) + whole[place + 1 :])
        with pytest.raises(StoreError):
            DumpReader(path).verify()


def test_something_else_is_no_dump(tmp_path: Path) -> None:
    for number, content in enumerate([b"", b"text", gzip.compress(b"{}\n"), gzip.compress(b"[1]\n")]):
        path = tmp_path / str(number)
        path.write_bytes(content)
        with pytest.raises(StoreError, match=r"dump"):
            DumpReader(path)


@pytest.mark.parametrize(("key", "value"), [("schema_version", 99), ("version", 2)])
def test_a_file_of_a_later_release_is_refused(
    store: Store, other: Store, tmp_path: Path, key: str, value: int
) -> None:
    fill(store)
    dumped(store, tmp_path / "one.gz")
    rewrite(
        tmp_path / "one.gz",
        lambda lines: [json.dumps({**json.loads(lines[0]), key: value}).encode() + b"\n", *lines[1:]],
    )
    with pytest.raises(StoreError, match=r"upgrade Sabatier|format 2"):
        load_campaign(other, DumpReader(tmp_path / "one.gz"))


def test_a_campaign_that_is_there_is_replaced_only_if_asked(store: Store, tmp_path: Path) -> None:
    fill(store)
    first = dumped(store, tmp_path / "one.gz")
    store.save_sites(NAME, [examples.a_site(500)])
    store.create_round(examples.a_round(1))
    reader = DumpReader(tmp_path / "one.gz")
    with pytest.raises(ConfigError, match="--replace"):
        load_campaign(store, reader)
    assert store.round(NAME, 1) is not None
    load_campaign(store, reader, replace=True)
    assert dumped(store, tmp_path / "two.gz")[1:] == first[1:]
    assert store.count(f"{NAME}-2", "sites") == store.count("campaig", "sites") == 3


def test_a_campaign_that_is_being_driven_is_not_replaced(store: Store, tmp_path: Path) -> None:
    fill(store)
    dumped(store, tmp_path / "one.gz")
    store.beat(DriverRecord("me", NAME, "login1", 42, MOMENT, "run"))
    with pytest.raises(ConfigError, match=r"process 42 on login1 is driving"):
        load_campaign(store, DumpReader(tmp_path / "one.gz"), replace=True)


def test_a_shared_calculation_keeps_what_got_further(store: Store, other: Store, tmp_path: Path) -> None:
    fill(store, n=6)
    dumped(store, tmp_path / "one.gz")
    ids = {k: examples.a_calculation(k) for k in range(1, 7)}
    other.plan([replace(c, state=S.PLANNED, attempt=1) for c in ids.values()])
    move(other, 1, S.SUBMITTING)  # file: VALID; here a driver is at work on it
    move(other, 3, S.SUBMITTING, S.DONE, S.VALID, energy=-9.0)  # file: PLANNED
    other.save_result(a_result(3, energy=-9.0))
    other.save_observation(examples.an_observation(3))
    move(other, 4, S.FAILED, code=FailureCode.CRASHED)  # file: PLANNED, attempt 2
    counts = load_campaign(other, DumpReader(tmp_path / "one.gz"))
    assert counts["kept"] == 4  # calc-0002 too, which is at attempt 1 in both
    assert other.calculation("calc-0001").state is S.SUBMITTING
    assert other.observations(calculation_ids=["calc-0001"]) == []
    assert (other.calculation("calc-0003").energy, other.result("calc-0003").energy) == (-9.0, -9.0)
    assert len(other.observations(calculation_ids=["calc-0003"])) == 1
    assert other.calculation("calc-0004").code is FailureCode.CRASHED
    assert other.calculation("calc-0005").attempt == 2


def test_a_result_of_the_file_comes_where_there_was_none(store: Store, other: Store, tmp_path: Path) -> None:
    fill(store)
    dumped(store, tmp_path / "one.gz")
    other.plan([examples.a_calculation(1)])
    assert load_campaign(other, DumpReader(tmp_path / "one.gz"))["kept"] == 0
    assert other.calculation("calc-0001").state is S.VALID
    assert other.result("calc-0001") == store.result("calc-0001")


def test_an_interrupted_load_can_be_repeated(
    store: Store, other: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped before each of its writes in turn: no campaign, no calculation without its result."""
    from pymongo.collection import Collection

    fill(store)
    first = dumped(store, tmp_path / "one.gz")
    genuine = Collection.bulk_write
    reader = DumpReader(tmp_path / "one.gz")
    stopped_before = 0
    while True:
        writes = []

        def stops(self: Any, *args: Any, limit: int = stopped_before, made: Any = writes, **kw: Any) -> Any:
            made.append(self.name)
            if len(made) > limit:
                raise KeyboardInterrupt
            return genuine(self, *args, **kw)

        monkeypatch.setattr(Collection, "bulk_write", stops)
        try:
            load_campaign(other, reader)
        except KeyboardInterrupt:
            assert other.campaigns() == []
            done = other.calculations(states=[S.VALID])
            assert all(other.result(c.id) for c in done)
            stopped_before += 1
        else:
            break
    assert stopped_before > 7
    assert dumped(other, tmp_path / "two.gz")[1:] == first[1:]


def test_a_campaign_of_several_pages_is_dumped_in_order(store: Store, other: Store, tmp_path: Path) -> None:
    n = 2 * PAGE + 7
    store.save_campaign(NAME, {"name": NAME}, "digest", Path("/home"))
    calculations = [replace(examples.a_calculation(k), requires=(f"gas-{k % 3}",)) for k in range(n)]
    store.plan([*calculations, *(replace(examples.a_calculation(), id=f"gas-{k}") for k in range(3))])
    selections = tuple(Selection(c.id, "site", "CO") for c in calculations)
    store.create_round(RoundRecord(NAME, 0, selections, 7, "digest", {}))
    store.save_sites(NAME, [examples.a_site(k) for k in range(n)])
    first = dumped(store, tmp_path / "one.gz")
    lines = [json.loads(line) for line in first[1:-1]]
    for collection, expected in (("sites", n), ("calculations", n + 3)):
        keys = [line["document"]["_id"] for line in lines if line["collection"] == collection]
        assert keys == sorted(keys)
        assert len(set(keys)) == len(keys)
        assert len(keys) == expected
    load_campaign(other, DumpReader(tmp_path / "one.gz"))
    assert dumped(other, tmp_path / "two.gz")[1:] == first[1:]


def test_a_dump_survives_the_death_of_the_reader(store: Store) -> None:
    fill(store)

    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        dump_campaign(store, NAME, Full())
    assert store.campaign(NAME) is not None


def test_an_unknown_campaign_cannot_be_dumped(store: Store) -> None:
    with pytest.raises(StoreError, match="no campaign 'nobody'"):
        dump_campaign(store, "nobody", io.BytesIO())


def test_a_dump_of_this_release_says_its_schema(store: Store, tmp_path: Path) -> None:
    fill(store)
    header = json.loads(dumped(store, tmp_path / "one.gz")[0])
    assert header["schema_version"] == documents.SCHEMA_VERSION
    assert header["counts"]["sites"] == 3

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, graphene, molecule
from ase.db import connect
from ase.io import write
from pymatgen.core import Lattice, Structure

from config.campaign import BulkSelection
from config.errors import ConfigError, MissingExtraError, StructureError
from pipeline.structures.bulks import load_bulks, make_bulk, primitive_cell
from pipeline.structures.library import library, library_bulk, pure_metals
from pipeline.structures.sources import check_crystal
from tests.pipeline.structures.crystals import NO_FILES

PURE_ONLY = {"with_pure_elements": False}


def load(tmp_path=NO_FILES, **selection):
    return load_bulks(BulkSelection(**selection), tmp_path)


def periodic(atoms):
    atoms.pbc = True
    return atoms


def bare(slab):
    return Atoms(slab.numbers, slab.positions, cell=slab.cell, pbc=True)


class TestLibrary:
    def test_holds_intermetallics_only(self):
        assert len(library()) == 5666  # OC20: 218 elemental, 2220 binary, 3228 ternary
        elements = set().union(*(b.elements for b in library().values()))
        assert len(elements) == 45
        assert not elements & {"H", "B", "C", "N", "O", "P", "S", "Se", "Te", "As", "Cl"}

    def test_attribution_is_shipped(self):
        from importlib.resources import files

        text = (files("pipeline.structures") / "data" / "ATTRIBUTION").read_text()
        assert "10.1021/acscatal.0c04525" in text
        assert "CC-BY-4.0" in text

    @pytest.mark.parametrize(
        ("element", "mpid"),
        [
            ("Cu", "mp-30"), ("Pd", "mp-2"), ("Ag", "mp-124"), ("Al", "mp-134"), ("Ni", "mp-23"),
            ("Fe", "mp-13"), ("Zn", "mp-79"), ("Au", "mp-81"), ("Pt", "mp-126"), ("Ti", "mp-46"),
            ("Co", "mp-54"), ("Ru", "mp-33"), ("W", "mp-91"),
        ],
    )  # fmt: skip
    def test_pure_metals_are_the_ambient_phases(self, element, mpid):
        assert pure_metals()[element].id == mpid

    def test_every_element_has_a_pure_metal(self):
        assert set(pure_metals()) == set().union(*(b.elements for b in library().values()))

    def test_unknown_id_names_near_ones(self):
        with pytest.raises(ConfigError, match=r"'mp-31'.*nearest: mp-"):
            library_bulk("mp-31")


class TestSelection:
    def test_ids_bring_their_pure_metals(self):
        found = load(ids=("mp-1487",))
        assert [(b.formula, b.source_id) for b in found] == [
            ("Al", "mp-134"), ("Ni", "mp-23"), ("AlNi", "mp-1487")
        ]  # fmt: skip
        assert [b.is_element for b in found] == [True, True, False]
        assert [b.formula for b in load(ids=("mp-1487",), **PURE_ONLY)] == ["AlNi"]

    def test_elements_filter(self):
        found = load(elements=("Cu", "Pd"), max_atoms=8, **PURE_ONLY)
        assert {b.elements for b in found} == {("Cu",), ("Pd",), ("Cu", "Pd")}
        assert all(len(primitive_cell(b.atoms)) <= 8 for b in found)
        only = load(elements=("Cu", "Pd"), max_components=1, **PURE_ONLY)
        assert all(b.is_element for b in only)

    def test_same_crystal_from_two_sources_is_one_bulk(self, tmp_path):
        write(tmp_path / "copper.cif", library_bulk("mp-30").atoms().repeat((2, 1, 1)))
        found = load(tmp_path, ids=("mp-30",), files=("copper.cif",))
        assert [b.source_id for b in found] == ["mp-30"]

    @pytest.mark.parametrize(
        ("selection", "named"),
        [
            ({"elements": ("O",)}, "bulks.elements"),
            ({"elements": ("Cu", "Pd"), "max_atoms": 1, "max_components": 1}, None),
            ({"elements": ("Mn",), "max_components": 1, "max_atoms": 1}, None),
        ],
    )
    def test_empty_selection_names_the_filter(self, selection, named):
        if named is None:
            assert load(**selection)
        else:
            with pytest.raises(ConfigError, match=named):
                load(**selection)

    def test_order_is_by_size_formula_id(self):
        found = load(elements=("Cu", "Zn"), max_atoms=20)
        keys = [(len(b.elements), b.formula, b.id) for b in found]
        assert keys == sorted(keys)


class TestFiles:
    @pytest.mark.parametrize(
        "name", ["cu.cif", "POSCAR", "CONTCAR_relaxed", "cu.vasp", "cu.extxyz", "cu.xyz"]
    )
    def test_formats(self, tmp_path, name):
        file_format = {"POSCAR": "vasp", "CONTCAR_relaxed": "vasp", "cu.xyz": "extxyz"}.get(name)
        write(tmp_path / name, bulk("Cu", "fcc", a=3.61, cubic=True), format=file_format)
        (found,) = load(tmp_path, files=(name,), **PURE_ONLY)
        assert (found.formula, found.source_id, found.source) == ("Cu", name, "file")

    def test_folder_of_files_and_database(self, tmp_path):
        folder = tmp_path / "crystals" / "deep"
        folder.mkdir(parents=True)
        write(folder / "a.cif", bulk("Cu", "fcc", a=3.6))
        (folder / "notes.txt").write_text("not a structure")
        with connect(folder / "more.db") as database:
            database.write(bulk("Pd", "fcc", a=3.9))
            database.write(bulk("Ag", "fcc", a=4.1))
        found = load(tmp_path, files=("crystals",), **PURE_ONLY)
        assert [b.source_id for b in found] == ["more.db#2", "a.cif", "more.db#1"]

    @pytest.mark.parametrize(
        ("atoms", "reason"),
        [
            (Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2.5]]), "no three-dimensional unit cell"),
            (Atoms("Cu", cell=[3, 3, 12], pbc=(True, True, False)), "not periodic in all three directions"),
            (Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 0.1]], cell=[4] * 3, pbc=True), r"overlap: 0.10 Å"),
            (Atoms("Cu", cell=[0.9, 4, 4], pbc=True), "overlap"),
            (Atoms("Cu", cell=[2.5] * 3), r"\(pbc F F F\)"),
            (molecule("H2O", cell=[8] * 3, pbc=True), "connect in 0 of three directions"),
            (Atoms("Cu", cell=[2.5, 9, 9], pbc=True), "connect in 1 of three directions"),
            (periodic(graphene(vacuum=3.35)), "connect in 2 of three directions"),
            (bare(fcc111("Cu", (1, 1, 3), vacuum=6, periodic=True)), "connect in 2 of three directions"),
            (Atoms("XCu", positions=[[0, 0, 0], [0, 0, 2.5]], cell=[5] * 3, pbc=True), "unknown element"),
        ],
    )
    def test_unusable_structures_are_refused_by_name(self, tmp_path, atoms, reason):
        write(tmp_path / "bad.extxyz", atoms)
        with pytest.raises(StructureError, match=rf"bad\.extxyz: .*({reason})"):
            load(tmp_path, files=("bad.extxyz",))

    def test_partial_occupancy_is_refused(self, tmp_path):
        mixed = Structure.from_spacegroup("Fm-3m", Lattice.cubic(3.8), [{"Cu": 0.5, "Au": 0.5}], [[0, 0, 0]])
        (tmp_path / "mixed.cif").write_text(mixed.to(fmt="cif"))
        with pytest.raises(StructureError, match=r"mixed\.cif: a site is partly occupied"):
            load(tmp_path, files=("mixed.cif",))

    @pytest.mark.parametrize("unstated", [".", "?"])
    def test_an_occupancy_that_is_not_stated_is_full(self, tmp_path, unstated):
        write(tmp_path / "cu.cif", bulk("Cu", "fcc", a=3.61))
        text = (tmp_path / "cu.cif").read_text()
        assert text.count("1.0000") == 1
        (tmp_path / "cu.cif").write_text(text.replace("1.0000", unstated))
        assert [b.formula for b in load(tmp_path, files=("cu.cif",), **PURE_ONLY)] == ["Cu"]

    def test_pure_metals_and_every_fortieth_crystal_of_the_library_pass(self):
        entries = [*pure_metals().values(), *list(library().values())[::40]]
        for entry in entries:
            if entry.elements == {"Hg"}:  # RPBE does not bind mercury: its atoms are 4.2 Å apart
                continue
            check_crystal(entry.atoms(), entry.id)

    @pytest.mark.parametrize(
        ("name", "told"),
        [("bad.cif", "as cif; allowed: CIF"), ("x.foo", "of a known format"), ("x.txt", "allowed")],
    )
    def test_an_unreadable_file_is_told_the_formats(self, tmp_path, name, told):
        (tmp_path / name).write_text("hello")
        with pytest.raises(StructureError, match=told) as caught:
            load(tmp_path, files=(name,))
        assert str(caught.value).endswith("allowed: CIF, POSCAR, extxyz, ASE db")

    def test_not_a_structure_file(self, tmp_path):
        (tmp_path / "bad.cif").write_text("data_x\nloop_\n_atom_site_label\nfoo bar\n")
        (tmp_path / "empty").mkdir()
        (tmp_path / "notes.txt").write_text("hello")
        for name in ("bad.cif", "notes.txt", "absent.cif", "empty"):
            with pytest.raises(StructureError, match=name):
                load(tmp_path, files=(name,))


class MPRest:
    """Answers as mp_api.client.MPRester does: summary documents with ``material_id`` and ``structure``."""

    known = {"mp-30": Structure.from_spacegroup("Fm-3m", Lattice.cubic(3.58), ["Cu"], [[0, 0, 0]])}  # noqa: RUF012

    def __init__(self, api_key, mute_progress_bars=False):
        assert api_key == "k" * 32
        self.materials = SimpleNamespace(summary=self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def search(self, material_ids, fields):
        assert fields == ["material_id", "structure"]
        return [
            SimpleNamespace(material_id=m, structure=self.known[m]) for m in material_ids if m in self.known
        ]


class TestMaterialsProject:
    @pytest.fixture
    def service(self, monkeypatch):
        package, client = ModuleType("mp_api"), ModuleType("mp_api.client")
        client.MPRester = MPRest
        monkeypatch.setitem(sys.modules, "mp_api", package)
        monkeypatch.setitem(sys.modules, "mp_api.client", client)
        monkeypatch.setenv("MP_API_KEY", "k" * 32)

    @pytest.mark.usefixtures("service")
    def test_downloads_structures(self):
        (found,) = load(materials_project=("mp-30",), **PURE_ONLY)
        assert (found.source, found.source_id, found.formula) == ("materials_project", "mp-30", "Cu")
        assert len(found.atoms) == 4
        assert found.atoms.cell.cellpar() == pytest.approx([3.58] * 3 + [90] * 3)

    @pytest.mark.usefixtures("service")
    def test_names_what_does_not_exist(self):
        with pytest.raises(ConfigError, match="no such material: mp-31"):
            load(materials_project=("mp-30", "mp-31"))

    @pytest.mark.usefixtures("service")
    def test_needs_a_key(self, monkeypatch):
        monkeypatch.delenv("MP_API_KEY")
        with pytest.raises(ConfigError, match="MP_API_KEY"):
            load(materials_project=("mp-30",))

    def test_needs_the_extra(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "mp_api", None)
        with pytest.raises(MissingExtraError, match=r"sabatier\[mp\]"):
            load(materials_project=("mp-30",))


def test_bulk_holds_the_conventional_cell():
    iron = make_bulk(bulk("Fe", "bcc", a=2.87), "x")
    assert len(iron.atoms) == 2
    assert iron.atoms.cell.cellpar() == pytest.approx([2.87] * 3 + [90] * 3)
    assert len(primitive_cell(iron.atoms)) == 1
    assert primitive_cell(iron.atoms).cell.volume == pytest.approx(2.87**3 / 2)


def test_slightly_broken_symmetry_is_mended():
    noisy = bulk("Cu", "fcc", a=3.6, cubic=True).repeat(2)
    noisy.positions += np.random.default_rng(0).normal(scale=1e-3, size=noisy.positions.shape)
    assert len(make_bulk(noisy, "x").atoms) == 4


class TestVariants:
    def test_a_strained_variant_is_not_dropped_silently(self, tmp_path):
        for name, ratio in (("a", 1.335), ("b", 1.365)):
            length = (50.0 / ratio) ** (1 / 3)
            cell = np.array([length, length, length * ratio])
            write(tmp_path / f"{name}.cif", Atoms("AlCu", [(0, 0, 0), cell / 2], cell=cell, pbc=True))
        with pytest.raises(StructureError, match=r"b\.cif.*a\.cif.*variants of one crystal"):
            load(tmp_path, files=("a.cif", "b.cif"), **PURE_ONLY)

    def test_the_same_crystal_from_two_files_is_one_bulk(self, tmp_path):
        copper = bulk("Cu", cubic=True)
        write(tmp_path / "a.cif", copper)
        write(tmp_path / "b.cif", copper.repeat((2, 1, 1)))
        assert len(load(tmp_path, files=("a.cif", "b.cif"), **PURE_ONLY)) == 1

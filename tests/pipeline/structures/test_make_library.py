import pickle
import zipfile

import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from pipeline.structures.make_library import MEMBER, read_bulks, write_library


def wheel_of(path, content: bytes):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MEMBER, content)
    return path


def entry(name: str, atoms, energy: float):
    atoms.calc = SinglePointCalculator(atoms, energy=energy)
    return {"atoms": atoms, "src_id": name, "bulk_sampling_str": "0"}


def test_reads_intermetallics_with_energies(tmp_path):
    salt = entry("mp-3", bulk("NaCl", "rocksalt", a=5.6), -6.0)
    alloy = entry("mp-20", bulk("CuPd", "cesiumchloride", a=3.0), -8.0)
    metal = entry("mp-4", bulk("Cu", "fcc", a=3.6), -3.5)
    (metal_read, alloy_read) = read_bulks(wheel_of(tmp_path / "w.whl", pickle.dumps([salt, alloy, metal])))
    assert (metal_read["id"], alloy_read["id"]) == ("mp-4", "mp-20")
    assert alloy_read["energy_per_atom"] == -4.0
    assert alloy_read["numbers"] == [29, 46]
    assert alloy_read["scaled"] == [[0, 0, 0], [0.5, 0.5, 0.5]]


def test_pickle_cannot_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("pwned",))

    with pytest.raises(pickle.UnpicklingError, match=r"builtins\.print"):
        read_bulks(wheel_of(tmp_path / "w.whl", pickle.dumps([Evil()])))


def test_library_bytes_are_reproducible(tmp_path):
    bulks = read_bulks(
        wheel_of(tmp_path / "w.whl", pickle.dumps([entry("mp-4", bulk("Cu", "fcc", a=3.6), -3.5)]))
    )
    for name in ("a", "b"):
        write_library(bulks, tmp_path / name)
    for file in ("oc20_bulks.json.gz", "ATTRIBUTION"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()

from __future__ import annotations

import subprocess
import sys

import pytest

from config.recipe import RecipeSettings
from dft.setups import SETUP_OF_FUNCTIONAL, fingerprints, missing_setups, unsupported_elements


def test_lanthanides_have_pbe_but_no_rpbe_setups():
    assert missing_setups(["La", "Cu", "Gd", "La"], "RPBE") == ["Gd", "La"]
    assert missing_setups(["La", "Cu", "Gd"], "PBE") == []


def test_elements_beyond_the_setups_are_missing_everywhere():
    for xc in SETUP_OF_FUNCTIONAL:
        assert missing_setups(["Pu", "Pd"], xc) == ["Pu"]


@pytest.mark.gpaw
@pytest.mark.parametrize("xc", SETUP_OF_FUNCTIONAL)
def test_setup_names_are_those_that_gpaw_itself_asks_for(xc):
    from gpaw.xc import XC

    assert XC(xc).get_setup_name() == SETUP_OF_FUNCTIONAL[xc]


def test_emt_knows_its_own_elements_only(emt_recipe):
    assert unsupported_elements(["Cu", "Zn", "H"], emt_recipe) == ["Zn"]
    assert unsupported_elements(["Cu", "Zn", "H"], RecipeSettings()) == []


def test_asking_does_not_import_the_heavy_parts_of_gpaw():
    code = "import sys, dft.setups as s; s.missing_setups(['Cu'], 'RPBE'); print('scipy' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


@pytest.mark.gpaw
def test_fingerprints_are_those_in_gpaws_own_log(tmp_path):
    from ase.build import bulk
    from gpaw.new.ase_interface import GPAW

    GPAW(mode={"name": "pw", "ecut": 200}, xc="RPBE", txt=tmp_path / "log.txt").get_potential_energy(
        bulk("Al", a=4.05)
    )
    name, told = fingerprints(["Al"], "RPBE")["Al"].split(" md5:")
    assert name.startswith("Al.RPBE")
    assert f"id:      {told}" in (tmp_path / "log.txt").read_text()


def test_elements_without_setup_have_no_fingerprint():
    assert set(fingerprints(["Pu", "Cu", "H"], "RPBE")) == {"H", "Cu"}

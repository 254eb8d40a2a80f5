"""Which elements a recipe can compute: PAW setups of GPAW, parameters of EMT.

Asked before anything runs, so this looks for files only: ``import gpaw`` itself takes 30 ms, reading a
setup would import the rest.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from config.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from config.recipe import RecipeSettings

SETUP_OF_FUNCTIONAL = {"RPBE": "RPBE", "PBE": "PBE", "BEEF-vdW": "PBE"}
"""The functional that GPAW generated the setups with, for each functional of a recipe."""


def _setup_file(symbol: str, xc: str) -> Path | None:
    """File of an element's setup in GPAW's setup paths; None if there is none."""
    import gpaw

    name = f"{symbol}.{SETUP_OF_FUNCTIONAL[xc]}"
    files = (Path(folder) / file for folder in gpaw.setup_paths for file in (name, f"{name}.gz"))
    return next((file for file in files if file.exists()), None)


def _content(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


@cache
def _fingerprint(symbol: str, xc: str) -> str | None:
    path = _setup_file(symbol, xc)
    if path is None:
        return None
    return f"{path.name} md5:{hashlib.md5(_content(path), usedforsecurity=False).hexdigest()}"


def fingerprints(symbols: Iterable[str], xc: str) -> dict[str, str]:
    """Name and content of the PAW setups that a calculation uses.

    Returns
    -------
    dict of str
        Symbol -> ``Cu.RPBE.gz md5:...``, sorted, elements without a setup left out. The MD5 is that of the
        uncompressed file, which GPAW's log calls ``id``.
    """
    found = {symbol: _fingerprint(symbol, xc) for symbol in sorted(set(symbols))}
    return {symbol: told for symbol, told in found.items() if told is not None}


@cache
def valence_electrons(symbol: str, xc: str) -> float:
    """Electrons of an element that GPAW treats explicitly, read from its setup.

    Raises
    ------
    ConfigError
        If there is no setup.
    """
    path = _setup_file(symbol, xc)
    if path is None:
        message = f"GPAW has no PAW setup of {symbol} for {xc}"
        raise ConfigError(message)
    found = re.search(rb'<atom [^>]*valence="([0-9.]+)"', _content(path))
    assert found is not None, f"{path} is no PAW setup"
    return float(found.group(1))


def missing_setups(symbols: Iterable[str], xc: str) -> list[str]:
    """Elements without a PAW setup for a functional in GPAW's setup paths.

    Parameters
    ----------
    symbols
        Chemical symbols.
    xc
        A functional of :data:`SETUP_OF_FUNCTIONAL`.

    Returns
    -------
    list of str
        Sorted symbols that GPAW cannot compute.
    """
    return sorted(symbol for symbol in set(symbols) if _setup_file(symbol, xc) is None)


def unsupported_elements(symbols: Iterable[str], recipe: RecipeSettings) -> list[str]:
    """Elements that a recipe's engine cannot compute, sorted."""
    if recipe.engine == "gpaw":
        return missing_setups(symbols, recipe.xc)
    from ase.calculators.emt import parameters

    return sorted(set(symbols) - set(parameters))

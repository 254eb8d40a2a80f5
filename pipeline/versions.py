"""Versions of everything that can change a result, recorded with every round."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    "sabatier",
    "ase",
    "gpaw",
    "numpy",
    "pymatgen",
    "scikit-learn",
    "scipy",
    "luigi",
    "mongoengine",
    "qtoolkit",
)


def package_versions() -> dict[str, str]:
    """Version of Python and of each package that matters; ``missing`` for one not installed."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "missing"
    return versions

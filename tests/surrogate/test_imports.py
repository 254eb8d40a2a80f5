from __future__ import annotations

import subprocess
import sys

HEAVY = ("sklearn", "scipy", "pymatgen", "ase", "mongoengine", "luigi", "pipeline")


def test_importing_the_surrogate_loads_nothing_heavy():
    code = (
        "import sys, surrogate.models, surrogate.acquisition, surrogate.metrics, surrogate.explain\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

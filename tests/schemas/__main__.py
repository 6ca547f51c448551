"""./returns schemas: see compose/verbs/schemas."""

import sys
from pathlib import Path

from store import Store

root = Path(sys.argv[1])
command, store = sys.argv[2], Store(root)

if command == "record":
    for file in store.record():
        print(f"recorded {store.shown(file)}; commit it")
if command == "history":
    for name in store.files():
        print(name)
        for version, words in store.changes(name):
            print(f"  {version}  {words}")
if command == "check":
    store.check()
for fault in store.faults:
    print(fault, file=sys.stderr)
if store.faults:
    sys.exit(f"{len(store.faults)} of them. Nothing was registered, and nothing recorded.")
if command == "check":
    files = store.files()
    print(f"{len(files)} schemas, {sum(len(store.versions(name)) for name in files)} versions: each can read every other")

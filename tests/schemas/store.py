"""schemas/ and the history of every version that was ever registered."""

import hashlib
import json
import subprocess
from pathlib import Path

from rules import breaches, ignored_meanings, lost_meanings, parse

HISTORY, ASIDE = "history", ("history", "drill")


class Store:
    def __init__(self, root):
        self.root, self.schemas = Path(root), Path(root) / "schemas"
        self.faults = []

    def fault(self, path, text):
        self.faults.append(f"{self.shown(path)}: {text}")

    def shown(self, path):
        return str(Path(path).relative_to(self.root))

    def files(self):
        """{full name: the newest version's file}."""
        found = {}
        for path in sorted(self.schemas.rglob("*.avsc")):
            if path.relative_to(self.schemas).parts[0] not in ASIDE:
                found[self.name_of(path)] = path
        return found

    def name_of(self, path):
        """By its place, which is what its content has to agree with."""
        return f"returns.{path.relative_to(self.schemas).parts[0]}.{path.stem}"

    def versions(self, name):
        """The files of all that were recorded, from 1."""
        folder, found = self.schemas / HISTORY / name, []
        while (path := folder / f"{len(found) + 1}.avsc").exists():
            found.append(path)
        for path in folder.glob("*"):
            if path not in found:
                self.fault(path, f"is no version: after {len(found)} must come {len(found) + 1}.avsc")
        return found

    def parsed(self, path, name):
        try:
            schema = parse(path.read_text())
        except ValueError as e:
            return self.fault(path, str(e))
        if schema.type != "record" or schema.fullname != name:
            return self.fault(path, f"is the schema of \"{getattr(schema, 'fullname', schema.type)}\"; here must be the record \"{name}\"")
        return schema

    # What is asked

    def check(self):
        """What is wrong, a line each."""
        self.faults = []
        files = self.files()
        for name, path in files.items():
            self.check_type(name, path)
        for folder in sorted((self.schemas / HISTORY).iterdir()):
            if folder.name not in files:
                self.fault(folder, "there is no schema of that name any more; its readers live on, so keep the file")
        self.check_append_only()
        return self.faults

    def check_type(self, name, path):
        stored = self.versions(name)
        changed = not stored or stored[-1].read_bytes() != path.read_bytes()
        every = [(self.parsed(file, name), file, f"version {n}") for n, file in enumerate(stored, 1)]
        if changed:
            every.append((self.parsed(path, name), path, "this file"))
        every, before = [one for one in every if one[0]], len(self.faults)
        for i, (newer, file, said) in enumerate(every):
            for older, other, other_said in every[:i]:
                self.compare(file, newer, f"a reader with {said}", older, f"what {other_said} wrote")
                self.compare(file, older, f"a reader with {other_said}", newer, f"what {said} writes")
                for b in lost_meanings(other.read_text(), file.read_text()):
                    self.fault(file, f'field "{b.field}": {b.rule} ({b.detail}): {other_said} and {said} mean different things by it, though the '
                               f"registry takes both. To do: {b.advice}")
        for b in ignored_meanings(path.read_text()) if every and every[-1][1] == path else ():
            self.fault(path, f'field "{b.field}": {b.rule} ({b.detail}). To do: {b.advice}')
        if changed and before == len(self.faults):
            was = f"differs from version {len(stored)}, compatibly" if stored else "is not recorded yet"
            self.fault(path, f"{was}. ./returns schemas record stores it as version {len(stored) + 1}; commit both")

    def compare(self, file, reader, who, writer, what):
        for b in breaches(reader, writer):
            of = f'field "{b.field}"' if b.field else "the record"
            self.fault(file, f"{of}: {b.rule} ({b.detail}): {who} cannot read {what}. To do: {b.advice}")

    def check_append_only(self):
        """As far as git knows: against the last commit, and in every commit before it."""
        stored = self.git("ls-tree", "-r", "-z", "HEAD", "--", f"schemas/{HISTORY}")
        for entry in filter(None, stored.split("\0")):
            meta, path = entry.split("\t")
            file = self.root / path
            if not file.exists():
                self.fault(file, "was removed; a version that was registered stays. To do: git checkout HEAD -- " + path)
            elif git_hash(file.read_bytes()) != meta.split()[2]:
                self.fault(file, "was changed; a version that was registered stays as it is. To do: git checkout HEAD -- " + path)
        log = self.git("log", "--no-renames", "--diff-filter=MDT", "--format=commit %h", "--name-only", "--", f"schemas/{HISTORY}")
        for line in filter(None, log.splitlines()):
            if line.startswith("commit "):
                commit = line.split()[1]
            else:
                self.fault(self.root / line, f"was changed or removed by commit {commit}. To do: restore it as it was before")

    def git(self, *words):
        """Its answer; "" where there is no repository."""
        try:
            return subprocess.run(["git", "-C", self.root, *words], capture_output=True, text=True, timeout=20, check=True).stdout
        except (OSError, subprocess.SubprocessError):
            return ""

    def record(self):
        """Stores what is new. The files that it made; nothing while anything else is wrong."""
        made = []
        wrong = [fault for fault in self.check() if "./returns schemas record" not in fault]
        if wrong:
            return made
        for name, path in self.files().items():
            stored = self.versions(name)
            if stored and stored[-1].read_bytes() == path.read_bytes():
                continue
            file = self.schemas / HISTORY / name / f"{len(stored) + 1}.avsc"
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(path.read_bytes())
            made.append(file)
        self.faults = []
        return made

    def changes(self, name):
        """(version, in words what it changed), from the first."""
        before = None
        for n, path in enumerate(self.versions(name), 1):
            now = described(json.loads(path.read_text()))
            yield n, changes(before, now) if before else f"{len(now)} fields"
            before = now


def git_hash(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def described(record):
    return {field["name"]: field for field in record["fields"]}


def changes(before, now):
    words = [f"+ {name}" for name in now if name not in before] + [f"- {name}" for name in before if name not in now]
    words += [f"~ {name}" for name in now if name in before and now[name] != before[name]]
    return ", ".join(words) or "words alone"

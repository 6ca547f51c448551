"""Writes the catalogue of all events as Markdown: catalogue.py SCHEMAS API

SCHEMAS: the folder of the .avsc files, with their history. API: the services' AsyncAPI documents. What the documents do
not name is not in the catalogue."""

import collections
import json
import sys
from pathlib import Path

COMMON = ["event_id", "return_id", "version", "occurred_at", "caused_by"]


def words(kind):
    """An Avro type as people would say it."""
    if isinstance(kind, list):
        return " or ".join(words(k) for k in sorted(kind, key=lambda k: k == "null"))
    if isinstance(kind, str):
        return kind
    logical = kind.get("logicalType")
    if logical == "decimal":
        return f"decimal({kind['precision']}, {kind['scale']})"
    if logical:
        return {"timestamp-millis": "moment (ms)"}.get(logical, logical)
    if kind["type"] == "array":
        return f"list of {words(kind['items'])}"
    if kind["type"] == "enum":
        return f"{kind['name']}: {', '.join(kind['symbols'])}"
    if kind["type"] == "record":
        return f"{kind['name']} ({', '.join(f['name'] for f in kind['fields'])})"
    return kind["type"]


def records_in(kind):
    """Every record of that type, which may be a list of records, or one of several."""
    kinds = kind if isinstance(kind, list) else [kind]
    for k in kinds:
        if isinstance(k, dict) and k["type"] == "array":
            yield from records_in(k["items"])
        elif isinstance(k, dict) and k["type"] == "record":
            yield k


def flat(record, before=""):
    """{path: field} of all fields, those of records in it too."""
    found = {}
    for field in record["fields"]:
        found[before + field["name"]] = field
        for inner in records_in(field["type"]):
            found |= flat(inner, f"{before}{field['name']}.")
    return found


def default(field):
    return f", default {json.dumps(field['default'])}" if "default" in field else ""


def changes(old, new):
    """What became of the fields of old in new, in words."""
    was, now, said = flat(old), flat(new), []
    known = lambda path, fields: path.rpartition(".")[0] in fields or "." not in path
    for path in now:
        if path not in was:
            if known(path, was):
                said.append(f"`{path}` came ({words(now[path]['type'])}{default(now[path])})")
        elif words(was[path]["type"]) != words(now[path]["type"]):
            said.append(f"`{path}` is now {words(now[path]['type'])}; it was {words(was[path]['type'])}")
        elif default(was[path]) != default(now[path]):
            said.append(f"`{path}` has another default{default(now[path])}")
    said += [f"`{path}` went" for path in was if path not in now and known(path, now)]
    return "; ".join(said) or "only what is said about it"


def reads_from(projection, versions):
    """The lowest version from which on each has all that the reader requires."""
    needs = [field["path"] for field in projection if "fallback" not in field]
    able = [all(path in flat(schema) for path in needs) for schema in versions]
    return len(able) - next((i for i, can in enumerate(reversed(able)) if not can), len(able)) + 1


def projected(projection):
    """The fields in words."""
    if not projection:
        return "that it came"
    return ", ".join(f"`{f['path']}`" + (f" (else {f['fallback']})" if "fallback" in f else "") for f in projection)


class Catalogue:
    def __init__(self, schemas, api):
        self.schemas = schemas
        self.documents = {p.name.partition(".")[0]: json.loads(p.read_text()) for p in sorted(api.glob("*.asyncapi.json"))}
        self.readers, self.published = {}, []
        for name, document in self.documents.items():
            for operation in document["operations"].values():
                for message in operation["messages"]:
                    self.note(name, document, operation["action"], message["$ref"])
        most = collections.Counter()
        for message, readers in self.readers.items():
            most[message.split(".")[1]] += len(readers)
        self.published.sort(key=lambda p: -most[p[0]])  # what is read most comes first
        self.everything = [
            name for name, document in self.documents.items()
            if any(operation.get("x-handled") for operation in document["operations"].values())
        ]

    def note(self, service, document, action, ref):
        _, _, channel, _, short = ref.split("/")
        message = document["channels"][channel]["messages"][short]
        if action == "receive" and "x-projection" in message:
            self.readers.setdefault(message["name"], {})[service] = message["x-projection"]
        if action == "send" and "payload" in message:
            self.published.append((service, channel, message))

    def versions(self, message):
        """Its schemas, oldest first."""
        history = self.schemas / "history" / message["name"]
        kept = [json.loads((history / f"{n}.avsc").read_text()) for n in range(1, len(list(history.glob("*.avsc"))) + 1)]
        newest = json.loads((self.schemas / message["payload"]["schema"]["$ref"].partition("schemas/")[2]).read_text())
        return kept if kept and kept[-1] == newest else [*kept, newest]

    def readers_of(self, message):
        """By name, but for those that read everything and take nothing by name."""
        return {name: p for name, p in self.readers.get(message["name"], {}).items() if p or name not in self.everything}

    def row(self, service, channel, message):
        short = message["name"].rpartition(".")[2]
        readers = ", ".join(self.readers_of(message)) or "–"
        return f"| [{short}](#{short.lower()}) | {message['summary']} | {channel} | {readers} |"

    def section(self, service, channel, message):
        versions = self.versions(message)
        lines = [f"### {message['name'].rpartition('.')[2]}", "", message["summary"], ""]
        key = message["bindings"]["kafka"]["key"].get("x-field")
        lines += [f"`{message['name']}`, version {len(versions)}, in `{channel}`, key `{key}`.", ""]
        own = [f for f in versions[-1]["fields"] if f["name"] not in COMMON]
        if own:
            lines += ["| field | type | what it is |", "| --- | --- | --- |"]
            lines += [f"| `{f['name']}` | {words(f['type'])}{default(f)} | {f.get('doc', '')} |" for f in own] + [""]
        for n, (old, new) in enumerate(zip(versions, versions[1:]), 2):
            lines += [f"- Version {n}: {changes(old, new)}."]
        reads = collections.defaultdict(list)
        for name, projection in self.readers_of(message).items():
            reads[f"from version {reads_from(projection, versions)} on: {projected(projection)}"].append(name)
        lines += [f"- Read by {', '.join(names)}, {what}." for what, names in reads.items()]
        return "\n".join(lines).rstrip() + "\n"

    def table(self, rows):
        return "\n".join(["| event | what it says | topic | read by |", "| --- | --- | --- | --- |", *(self.row(*r) for r in rows)])

    def text(self):
        events = [p for p in self.published if p[1].endswith(".events")]
        others, seen = [], set()
        for service, channel, message in self.published:
            if not channel.endswith(".events") and message["name"] not in seen:
                seen.add(message["name"])
                several = sum(m["name"] == message["name"] for _, _, m in self.published) > 1
                others.append((service, "SERVICE." + channel.partition(".")[2] if several else channel, message))
        return TEXT.format(
            everything=" and ".join(self.everything),
            events=self.table(events),
            others=self.table(others),
            sections="\n".join(self.section(*p) for p in [*events, *others]),
        )


TEXT = """# Event catalogue

Made by `./returns contracts` from [schemas/](../schemas), their [history](../schemas/history) and what each service says of
itself ([docs/api](api)); not to be edited.

Every event, of whatever type and version, is read by {everything}, and by `./returns tail` and `export`. The others read what
is named here, and skip the rest of the topics that they subscribe to.

{events}

Each event has `event_id` (UUIDv7; a reader that has seen it ignores a second one), `version` (of what it is about; a team's event
carries the one that it reacts to), `occurred_at` and `caused_by` (the `event_id` of what it reacts to; null: a person caused it); if
it is about a return, `return_id`. Every reader reads these; they are not repeated below. *From version N on* means: the reader
needs no field that an older version lacks. A field with *else* may be missing.

Published besides, which are no events:

{others}

## Each of them

{sections}"""

if __name__ == "__main__":
    print(Catalogue(Path(sys.argv[1]), Path(sys.argv[2])).text(), end="")

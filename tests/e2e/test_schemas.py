"""./returns schemas: what it finds, and that it says of every change what the registry says."""

import copy
import json
import re
import shutil
import subprocess
import sys
import uuid

import pytest

from stack import ROOT, http

sys.path.insert(0, str(ROOT / "tests/schemas"))
from rules import ADVICE, breaches, parse  # noqa: E402

# --- The registry says the same

BASE = {
    "type": "record", "name": "Event", "namespace": "t", "fields": [
        {"name": "text", "type": "string"},
        {"name": "whole", "type": "int"},
        {"name": "wide", "type": "long"},
        {"name": "real", "type": "double"},
        {"name": "raw", "type": "bytes"},
        {"name": "sum", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "spare", "type": "string", "default": ""},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["A", "B", "C"], "default": "A"}, "default": "A"},
        {"name": "strict", "type": {"type": "enum", "name": "Strict", "symbols": ["X", "Y"]}},
        {"name": "maybe", "type": ["null", "string"], "default": None},
        {"name": "part", "type": {"type": "record", "name": "Part", "fields": [
            {"name": "x", "type": "long"}, {"name": "y", "type": "string", "default": ""}]}},
        {"name": "four", "type": {"type": "fixed", "name": "Four", "size": 4}},
        {"name": "list", "type": {"type": "array", "items": "string"}},
        {"name": "map", "type": {"type": "map", "values": "int"}},
    ],
}


def field(schema, name):
    return next(f for f in schema["fields"] if f["name"] == name)


def added(schema, **of):
    schema["fields"].append(of)


def removed(schema, name):
    schema["fields"].remove(field(schema, name))


def typed(schema, name, type):
    field(schema, name)["type"] = type


def inner(schema, name):
    return field(schema, name)["type"]


FINE = None
CHANGES = {  # {what: (change, field and rule of one breach, or FINE)}
    "nothing": (lambda s: None, FINE),
    "words": (lambda s: s.update(doc="Another."), FINE),
    "a field with a default": (lambda s: added(s, name="new", type="int", default=0), FINE),
    "a field without": (lambda s: added(s, name="new", type="int"), "new READER_FIELD_MISSING_DEFAULT_VALUE"),
    "a field that may be null, without": (lambda s: added(s, name="new", type=["null", "int"]), "new READER_FIELD_MISSING_DEFAULT_VALUE"),
    "an enum without a default of the field": (
        lambda s: added(s, name="new", type={"type": "enum", "name": "N", "symbols": ["A"], "default": "A"}),
        "new READER_FIELD_MISSING_DEFAULT_VALUE"),
    "a field with a default is gone": (lambda s: removed(s, "spare"), FINE),
    "a field without is gone": (lambda s: removed(s, "text"), "text READER_FIELD_MISSING_DEFAULT_VALUE"),
    "another name": (lambda s: field(s, "text").update(name="words"), "words READER_FIELD_MISSING_DEFAULT_VALUE"),
    "another name with an alias": (lambda s: field(s, "text").update(name="words", aliases=["text"]), "text READER_FIELD_MISSING_DEFAULT_VALUE"),
    "another order": (lambda s: s["fields"].reverse(), FINE),
    "another default": (lambda s: field(s, "spare").update(default="none"), FINE),
    "a default more": (lambda s: field(s, "text").update(default="none"), FINE),
    "a default less": (lambda s: field(s, "spare").pop("default"), FINE),
    "int to long": (lambda s: typed(s, "whole", "long"), "whole TYPE_MISMATCH"),
    "long to int": (lambda s: typed(s, "wide", "int"), "wide TYPE_MISMATCH"),
    "double to float": (lambda s: typed(s, "real", "float"), "real TYPE_MISMATCH"),
    "string to bytes": (lambda s: typed(s, "text", "bytes"), FINE),
    "bytes to string": (lambda s: typed(s, "raw", "string"), FINE),
    "string to int": (lambda s: typed(s, "text", "int"), "text TYPE_MISMATCH"),
    "string to boolean": (lambda s: typed(s, "text", "boolean"), "text TYPE_MISMATCH"),
    "string to an enum": (lambda s: typed(s, "text", {"type": "enum", "name": "N", "symbols": ["A"], "default": "A"}), "text TYPE_MISMATCH"),
    "string to a record": (lambda s: typed(s, "text", {"type": "record", "name": "N", "fields": []}), "text TYPE_MISMATCH"),
    "another scale": (lambda s: inner(s, "sum").update(scale=3), FINE),
    "another precision": (lambda s: inner(s, "sum").update(precision=12), FINE),
    "a decimal no more": (lambda s: typed(s, "sum", "bytes"), FINE),
    "a time": (lambda s: typed(s, "wide", {"type": "long", "logicalType": "timestamp-millis"}), FINE),
    "a symbol more": (lambda s: inner(s, "kind")["symbols"].append("D"), FINE),
    "a symbol less": (lambda s: inner(s, "kind")["symbols"].remove("C"), FINE),
    "the default symbol less": (lambda s: (inner(s, "kind").update(symbols=["B", "C"], default="B"), field(s, "kind").update(default="B")), FINE),
    "another default symbol": (lambda s: inner(s, "kind").update(default="B"), FINE),
    "symbols in another order": (lambda s: inner(s, "kind")["symbols"].reverse(), FINE),
    "no default symbol": (lambda s: inner(s, "kind").pop("default"), FINE),
    "a symbol more without a default": (lambda s: inner(s, "strict")["symbols"].append("Z"), "strict MISSING_ENUM_SYMBOLS"),
    "a symbol less without a default": (lambda s: inner(s, "strict")["symbols"].remove("Y"), "strict MISSING_ENUM_SYMBOLS"),
    "a symbol more, and a default": (lambda s: inner(s, "strict").update(symbols=["X", "Y", "Z"], default="X"), "strict MISSING_ENUM_SYMBOLS"),
    "a symbol less, and no default": (lambda s: (inner(s, "kind")["symbols"].remove("C"), inner(s, "kind").pop("default")), "kind MISSING_ENUM_SYMBOLS"),
    "an enum's name": (lambda s: inner(s, "strict").update(name="Lax"), "strict NAME_MISMATCH"),
    "an enum to string": (lambda s: typed(s, "strict", "string"), "strict TYPE_MISMATCH"),
    "a branch more": (lambda s: typed(s, "maybe", ["null", "string", "int"]), "maybe MISSING_UNION_BRANCH"),
    "a branch less": (lambda s: typed(s, "maybe", ["null"]), "maybe MISSING_UNION_BRANCH"),
    "another branch": (lambda s: typed(s, "maybe", ["null", "int"]), "maybe MISSING_UNION_BRANCH"),
    "branches in another order": (lambda s: field(s, "maybe").update(type=["string", "null"], default=""), FINE),
    "a union no more": (lambda s: field(s, "maybe").update(type="string", default=""), "maybe TYPE_MISMATCH"),
    "may be null": (lambda s: typed(s, "text", ["null", "string"]), "text TYPE_MISMATCH"),
    "a part's field with a default": (lambda s: inner(s, "part")["fields"].append({"name": "z", "type": "int", "default": 0}), FINE),
    "a part's field without": (lambda s: inner(s, "part")["fields"].append({"name": "z", "type": "int"}), "part.z READER_FIELD_MISSING_DEFAULT_VALUE"),
    "a part's field is gone": (lambda s: inner(s, "part")["fields"].pop(0), "part.x READER_FIELD_MISSING_DEFAULT_VALUE"),
    "a part's field's type": (lambda s: inner(s, "part")["fields"][0].update(type="string"), "part.x TYPE_MISMATCH"),
    "a part's name": (lambda s: inner(s, "part").update(name="Piece"), "part NAME_MISMATCH"),
    "a part's name with an alias": (lambda s: inner(s, "part").update(name="Piece", aliases=["Part"]), "part NAME_MISMATCH"),
    "a size": (lambda s: inner(s, "four").update(size=8), "four FIXED_SIZE_MISMATCH"),
    "a fixed's name": (lambda s: inner(s, "four").update(name="Tetra"), "four NAME_MISMATCH"),
    "items": (lambda s: inner(s, "list").update(items="int"), "list TYPE_MISMATCH"),
    "items as bytes": (lambda s: inner(s, "list").update(items="bytes"), FINE),
    "values": (lambda s: inner(s, "map").update(values="long"), "map TYPE_MISMATCH"),
    "the event's name": (lambda s: s.update(name="Another"), " NAME_MISMATCH"),
    "a namespace": (lambda s: s.update(namespace="u"), FINE),
}


def changed(change):
    schema = copy.deepcopy(BASE)
    change(schema)
    return json.dumps(schema)


def found(text):
    """Both ways, as FULL_TRANSITIVE asks."""
    old, new = parse(json.dumps(BASE)), parse(text)
    return {f"{b.field} {b.rule}" for b in breaches(old, new) + breaches(new, old)}


def registered(registry, subject, text):
    answer = http.post(f"{registry}/subjects/{subject}/versions", json={"schema": text})
    assert answer.status_code in (200, 409), f"{answer.status_code}: {answer.text}"
    return answer.status_code == 200


@pytest.mark.parametrize("what", CHANGES)
def test_the_check_names_field_and_rule(what):
    change, expected = CHANGES[what]
    said = found(changed(change))
    assert expected in said if expected else not said, said
    assert {s.split(" ")[1] for s in said} <= ADVICE.keys()


def test_the_registry_says_the_same_of_every_change(stack):
    differ = []
    for what, (change, expected) in CHANGES.items():
        subject = f"change-{uuid.uuid4().hex[:8]}"
        http.put(f"{stack.registry}/config/{subject}", json={"compatibility": "FULL_TRANSITIVE"}).raise_for_status()
        assert registered(stack.registry, subject, json.dumps(BASE))
        if registered(stack.registry, subject, changed(change)) != (expected is FINE):
            differ.append(what)
    assert not differ


# --- The files

@pytest.fixture
def tree(tmp_path):
    shutil.copytree(ROOT / "schemas", tmp_path / "schemas")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "Begin")
    return tmp_path


def git(tree, *words):
    done = subprocess.run(
        ["git", "-C", tree, "-c", "user.name=T", "-c", "user.email=t@example.org", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def schemas(tree, command="check"):
    """(exit status, what it said)"""
    done = subprocess.run([sys.executable, ROOT / "tests/schemas", tree, command], capture_output=True, text=True, timeout=20)
    return done.returncode, done.stdout + done.stderr


REQUEST, NEWEST = "schemas/support/RefundRequest.avsc", max((ROOT / "schemas/history/returns.support.RefundRequest").iterdir()).stem


def edit(tree, path, old, new):
    file = tree / path
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))


def test_the_repository_s_own_fit():
    status, said = schemas(ROOT)
    assert status == 0 and re.match(r"\d+ schemas, \d+ versions: each can read every other", said), said


def test_a_breach_is_named_with_what_to_do(tree):
    edit(tree, REQUEST, '"name": "location", "type": "string"', '"name": "location", "type": "long"')
    status, said = schemas(tree)
    assert status == 1
    assert f'{REQUEST}: field "location": TYPE_MISMATCH' in said and "a reader with version 1 cannot read what this file writes" in said
    assert "a reader with this file cannot read what version 1 wrote. To do: keep its type" in said
    assert schemas(tree, "record")[0] == 1 and not (tree / f"schemas/history/returns.support.RefundRequest/{int(NEWEST) + 1}.avsc").exists()


AMOUNT = '{"type": "bytes", "logicalType": "decimal", "precision": 15, "scale": 2}'
MOMENT = '{"type": "long", "logicalType": "timestamp-millis"}'


@pytest.mark.parametrize("old, new, says", [
    (AMOUNT, '"bytes"', 'field "cost.amount": LOGICAL_TYPE_CHANGED (decimal(15, 2) and none)'),
    (AMOUNT, '"bytes", "logicalType": "decimal", "precision": 15, "scale": 2',
     'field "cost.amount": LOGICAL_TYPE_IGNORED ("decimal" stands beside the field\'s type)'),
    (AMOUNT, AMOUNT.replace("decimal", "Decimal"), 'LOGICAL_TYPE_IGNORED ("Decimal" is no logical type of bytes)'),
    (AMOUNT, AMOUNT.replace('"precision": 15, ', ""), "is no logical type of bytes without a precision"),
    (MOMENT, MOMENT.replace("millis", "micros"), 'field "occurred_at": LOGICAL_TYPE_CHANGED (timestamp-millis and timestamp-micros)'),
    (MOMENT, '"long"', 'field "occurred_at": LOGICAL_TYPE_CHANGED (timestamp-millis and none)'),
])
def test_a_type_that_means_something_else_is_named(tree, old, new, says):
    """The registry takes each of them."""
    edit(tree, REQUEST, old, new)
    status, said = schemas(tree)
    assert status == 1 and f"{REQUEST}: " in said and says in said, said
    assert schemas(tree, "record")[0] == 1


def test_transitive_means_every_version(tree):
    """What the newest version alone would allow: the field that version 1 wrote without comes back without a default."""
    history = tree / "schemas/history/returns.support.RefundRequest"
    edit(tree, REQUEST, '"name": "channel", "type": "string", "default": "unknown"', '"name": "channel", "type": "string"')
    status, said = schemas(tree)
    assert status == 1 and 'field "channel": READER_FIELD_MISSING_DEFAULT_VALUE' in said
    assert "version 1 wrote" in said and f"version {NEWEST} wrote" not in said and history.exists()


def test_a_change_that_fits_is_recorded_and_then_kept(tree):
    edit(tree, REQUEST, "\n  ]\n}", ',\n    {"name": "new", "type": "string", "default": ""}\n  ]\n}')
    status, said = schemas(tree)
    assert status == 1 and f"{REQUEST}: differs from version {NEWEST}, compatibly. ./returns schemas record" in said
    status, said = schemas(tree, "record")
    stored = f"schemas/history/returns.support.RefundRequest/{int(NEWEST) + 1}.avsc"
    assert status == 0 and f"recorded {stored}" in said and (tree / stored).read_text() == (tree / REQUEST).read_text()
    assert schemas(tree)[0] == 0
    assert f"{int(NEWEST) + 1}  + new" in schemas(tree, "history")[1]
    git(tree, "add", "-A")
    git(tree, "commit", "-qm", "Add a field")
    edit(tree, stored, '"default": ""', '"default": "x"')
    assert "was changed; a version that was registered stays as it is. To do: git checkout HEAD -- " + stored in schemas(tree)[1]
    git(tree, "commit", "-qam", "Change a stored version")
    shutil.copy(tree / stored, tree / REQUEST)
    status, said = schemas(tree)
    assert status == 1 and f"{stored}: was changed or removed by commit" in said


def test_a_new_event_is_recorded_from_version_one(tree):
    (tree / "schemas/legal").mkdir()
    (tree / "schemas/legal/ClaimFiled.avsc").write_text(
        '{"type": "record", "name": "ClaimFiled", "namespace": "returns.legal", "fields": [{"name": "a", "type": "string"}]}')
    assert "schemas/legal/ClaimFiled.avsc: is not recorded yet" in schemas(tree)[1]
    assert schemas(tree, "record")[0] == 0 and schemas(tree)[0] == 0
    assert (tree / "schemas/history/returns.legal.ClaimFiled/1.avsc").exists()


@pytest.mark.parametrize("path, text, says", [
    ("schemas/sales/OrderRefunded.avsc", "{", "is no Avro schema"),
    ("schemas/sales/OrderRefunded.avsc", '"string"', 'here must be the record "returns.sales.OrderRefunded"'),
    ("schemas/sales/OrderRefunded.avsc", '{"type": "record", "name": "Other", "namespace": "returns.sales", "fields": []}',
     'is the schema of "returns.sales.Other"'),
    ("schemas/history/returns.sales.OrderRefunded/9.avsc", "{}", "is no version: after 1 must come 2.avsc"),
])
def test_what_is_no_schema_is_named(tree, path, text, says):
    (tree / path).write_text(text)
    status, said = schemas(tree)
    assert status == 1 and f"{path}: " in said and says in said, said


def test_nothing_is_removed(tree):
    (tree / "schemas/history/returns.support.RefundRequest/1.avsc").unlink()
    assert "RefundRequest/1.avsc: was removed; a version that was registered stays" in schemas(tree)[1]
    shutil.rmtree(tree / "schemas/accounting")
    assert "there is no schema of that name any more" in schemas(tree)[1]


def test_the_drill_s_versions_are_what_they_are_for():
    """Compatible with all versions there are, and not."""
    for folder, fits in (("next", True), ("refused", False)):
        drilled = parse((ROOT / f"schemas/drill/{folder}/RefundRequest.avsc").read_text())
        for stored in (ROOT / "schemas/history/returns.support.RefundRequest").iterdir():
            other = parse(stored.read_text())
            assert (not breaches(drilled, other) and not breaches(other, drilled)) == fits, stored

"""Avro's rules of who can read what whom wrote, by Apache's own library, and where and why they are broken."""

import json
from dataclasses import dataclass

import avro.schema
from avro.compatibility import ReaderWriterCompatibilityChecker, lookup_writer_field, schema_name_equals
from avro.errors import AvroException

INCOMPATIBLE = "incompatible"
ADVICE = {
    "READER_FIELD_MISSING_DEFAULT_VALUE": "give the field a default; one that has none stays for ever",
    "TYPE_MISMATCH": "keep its type, and add a field of another name for the other type",
    "NAME_MISMATCH": "keep the name; what has another name is another event",
    "MISSING_ENUM_SYMBOLS": 'keep all symbols, or give the enum a "default" that a reader takes for those it does not know',
    "MISSING_UNION_BRANCH": "keep all branches; a union may neither gain nor lose any",
    "FIXED_SIZE_MISMATCH": "keep its size",
    "LOGICAL_TYPE_CHANGED": "keep what the type means, and add a field of another name for the other meaning",
    "LOGICAL_TYPE_IGNORED": 'write it into the type: {"type": {"type": "bytes", "logicalType": "decimal", "precision": 15, "scale": 2}}',
}


@dataclass(frozen=True)
class Breach:
    field: str  # "cost.amount"; "": the record itself
    rule: str  # Avro's own name
    detail: str  # what the library says of it

    @property
    def advice(self):
        return ADVICE.get(self.rule, "take the change back")


def parse(text):
    """Raises ValueError."""
    try:
        return avro.schema.parse(text)
    except (AvroException, ValueError) as e:
        raise ValueError(f"is no Avro schema: {e}") from None


def breaches(reader, writer):
    """Why a reader with the one cannot read all that the other may write; none: it can."""
    if _result(reader, writer).compatibility.name != INCOMPATIBLE:
        return []
    return _explain(reader, writer, ()) or [_breach(reader, writer, ())]


def _result(reader, writer):
    return ReaderWriterCompatibilityChecker().get_compatibility(reader, writer)


def _breach(reader, writer, path):
    said = _result(reader, writer)
    rule = said.incompatibilities[0].name.upper()
    return Breach(".".join(path), rule, ", ".join(sorted(map(str, said.messages))))


def _explain(reader, writer, path):
    """Field by field, as the library tells of several in one breath."""
    if _result(reader, writer).compatibility.name != INCOMPATIBLE:
        return []
    if reader.type != "record" or writer.type != "record":
        return [_breach(reader, writer, path)]
    found = []
    if not schema_name_equals(reader, writer):
        found.append(Breach(".".join(path), "NAME_MISMATCH", f"{reader.fullname} and {writer.fullname}"))
    for field in reader.fields:
        written, here = lookup_writer_field(writer, field), (*path, field.name)
        if written:
            found += _explain(field.type, written.type, here)
        elif not field.has_default:
            found.append(Breach(".".join(here), "READER_FIELD_MISSING_DEFAULT_VALUE", "what was written has no such field"))
    return found


# --- What a type means, which Avro's rules do not look at: a decimal that becomes plain bytes is compatible to them

LOGICAL = {  # on which types each counts
    "decimal": ("bytes", "fixed"), "uuid": ("string", "fixed"), "duration": ("fixed",), "date": ("int",), "time-millis": ("int",),
    **dict.fromkeys(("time-micros", *(f"{local}timestamp-{unit}" for local in ("", "local-") for unit in ("millis", "micros", "nanos"))), ("long",))}


def lost_meanings(older, newer):
    """Of two schemas' texts: the fields that both have, and that mean something else in each."""
    before, now = meanings(older)[0], meanings(newer)[0]
    return [Breach(path, "LOGICAL_TYPE_CHANGED", f"{' or '.join(before[path]) or 'none'} and {' or '.join(now[path]) or 'none'}")
            for path in before if path in now and before[path] != now[path]]


def ignored_meanings(text):
    return [Breach(path, "LOGICAL_TYPE_IGNORED", why) for path, why in meanings(text)[1]]


def meanings(text):
    """({path of a field: its logical types}, [(path, why one counts for nothing)])."""
    found, ignored, named = {}, [], {}

    def walk(kind, path):
        if isinstance(kind, list):
            return [one for branch in kind for one in walk(branch, path)]
        if not isinstance(kind, dict):
            return walk(named[kind], path) if kind in named else []
        base = kind.get("type")
        if isinstance(base, (dict, list)):
            return walk(base, path)
        if "name" in kind:
            space = kind.get("namespace")
            for name in (kind["name"], f"{space}.{kind['name']}"):
                named.setdefault(name, kind)
        if base == "record":
            for field in kind["fields"]:
                place = f"{path}.{field['name']}".lstrip(".")
                if "logicalType" in field:
                    ignored.append((place, f"\"{field['logicalType']}\" stands beside the field's type"))
                found[place] = sorted(walk(field["type"], place))
            return []
        if base in ("array", "map"):
            return walk(kind["items" if base == "array" else "values"], path)
        return meaning(kind, base, path)

    def meaning(kind, base, path):
        name = kind.get("logicalType")
        if name is None:
            return walk(named[base], path) if base in named else []
        decimal = name == "decimal"
        fits = base in LOGICAL.get(name, ()) and (not decimal or isinstance(kind.get("precision"), int))
        if not fits:
            ignored.append((path, f"\"{name}\" is no logical type of {base}" + (" without a precision" if decimal and base in LOGICAL[name] else "")))
            return []
        return [f"decimal({kind['precision']}, {kind.get('scale', 0)})" if decimal else name]

    walk(json.loads(text), "")
    return found, ignored

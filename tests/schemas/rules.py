"""Avro's rules of who can read what whom wrote, by Apache's own library, and where and why they are broken."""

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

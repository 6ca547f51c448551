"""The event catalogue: made of the schemas and the services' documents, and right about who can read which version."""

import sys

from stack import ROOT

sys.path.insert(0, str(ROOT / "compose/local"))
from catalogue import Catalogue, changes, reads_from  # noqa: E402


def schema(*fields):
    return {"type": "record", "name": "Filed", "fields": list(fields)}


def field(name, kind="string", **more):
    return {"name": name, "type": kind} | more


def money(*names):
    return {"type": "record", "name": "Money", "fields": [field(name) for name in names]}


def test_it_is_as_the_documents_say():
    made = Catalogue(ROOT / "schemas", ROOT / "docs/api").text()
    assert made == (ROOT / "docs/event-catalogue.md").read_text(), "run ./returns contracts"


def test_a_version_is_readable_from_where_nothing_required_is_missing():
    versions = [schema(field("a")), schema(field("a"), field("cost", money("amount"))), schema(field("a"), field("cost", money("amount", "code")))]
    assert reads_from([], versions) == 1
    assert reads_from([{"path": "a"}], versions) == 1
    assert reads_from([{"path": "a"}, {"path": "cost"}], versions) == 2
    assert reads_from([{"path": "cost.code"}], versions) == 3
    assert reads_from([{"path": "cost.code", "fallback": "EUR"}], versions) == 1
    assert reads_from([{"path": "a"}], [*versions, schema(field("b")), schema(field("a"))]) == 5, "it was away in between"


def test_changes_are_told_in_words():
    optional = ["null", money("amount", "code")]
    assert changes(schema(field("a")), schema(field("a"), field("cost", optional, default=None))) == \
        "`cost` came (Money (amount, code) or null, default null)"
    assert changes(schema(field("cost", money("amount"))), schema(field("cost", money("amount", "code")))) == \
        "`cost` is now Money (amount, code); it was Money (amount); `cost.code` came (string)"
    assert changes(schema(field("a"), field("b")), schema(field("a", default="x"))) == "`a` has another default, default \"x\"; `b` went"
    assert changes(schema(field("a")), schema(field("a", doc="Another word."))) == "only what is said about it"

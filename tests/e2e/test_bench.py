"""The bench itself: a wrong row turns it red."""

import json
import os
import subprocess
import sys

import pytest

from stack import ROOT

sys.path.insert(0, str(ROOT / "tests/bench"))

import contenders
import records
import tables

SHORT = ["--only", "catch-up", "--events", "3000", "--rounds", "1"]


def bench(tmp_path, *words, seconds=600):
    """(exit status, the outcome, what it said)."""
    report = tmp_path / "bench.json"
    env = {k: v for k, v in os.environ.items() if k != "RETURNS_HOME"}
    done = subprocess.run([ROOT / "returns", "bench", *words, "--json", report], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=seconds)
    return done.returncode, json.loads(report.read_text()) if report.exists() else None, done.stdout


def test_a_digest_finds_every_difference():
    rows = [("support.events", 0, n, f"event {n}", f"R-{n}", "RefundRequest") for n in range(50)]

    def of(*those):
        digest = records.Digest()
        for row in those:
            digest.add(*row)
        return digest

    whole = of(*rows)
    assert whole == of(*reversed(rows)), "their order is no difference"
    assert whole != of(*rows[1:]) and whole != of(*rows, rows[0]) and whole != of(*rows[1:], rows[1])
    for n in range(6):
        changed = (*rows[7][:n], "other", *rows[7][n + 1:])
        assert whole != of(*rows[:7], changed, *rows[8:]), f"field {n}"


def test_ids_are_as_support_makes_them():
    events = list(records.requests(300, True))
    ids, returns = ([e[key] for e in events] for key in ("event_id", "return_id"))
    assert ids == sorted(set(ids)) and returns == sorted(set(returns)) and {i[14] for i in ids} == {"7"}
    assert all(len(r) == 15 for r in returns)
    other = [e["event_id"] for e in records.requests(300, False)]
    assert other != sorted(other) and {i[14] for i in other} == {"4"} and {i[19] for i in other} <= set("89ab")


def test_a_wrong_word_starts_nothing(tmp_path):
    for word in (["--only", "nothing"], ["--with", "cobol"], ["--events", "0"], ["--rounds", "x"]):
        status, outcome, said = bench(tmp_path, *word, seconds=60)
        assert status == 2 and outcome is None and word[1] in said


def test_who_cannot_be_built_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(contenders, "MADE", tmp_path)
    with pytest.raises(contenders.LeftOut, match="no cobol here"):
        contenders.tool("cobol")

    def broken(folder, log):
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("line 1\nundefined: everything\n")

    with pytest.raises(contenders.LeftOut, match="undefined: everything"):
        contenders.made("test", "stamp", broken)
    outcome = {"machine": {"processors": 2, "cpu": "", "memory_mb": 1, "load_before": 0.0}, "options": {"rounds": 1, "events": 1},
               "left_out": {"go": "there is no go here"}, "parts": {}, "failures": ["a digest differs"]}
    assert "Left out: go: there is no go here" in tables.text(outcome) and "FAILED: a digest differs" in tables.text(outcome)


@pytest.mark.full
def test_what_was_stored_is_compared(tmp_path):
    status, outcome, said = bench(tmp_path, *SHORT, "--with", "audit-only,c")
    assert status == 0 and not outcome["failures"], said
    assert set(outcome["parts"]["catch-up"]) == {"ours, audit only", "plain C"}
    for peer in ("audit-only", "c"):
        status, outcome, said = bench(tmp_path, *SHORT, "--with", peer, "--spoil", {"audit-only": "bench-audit"}.get(peer, peer))
        assert status == 1 and "differs" in outcome["failures"][0] and not outcome["parts"]["catch-up"], said

"""The kit over all of ours, a careful subscriber, and one that is careless for each mistake there is."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from node import NODE
from stack import DECLARED, ROOT

CARELESS = Path(__file__).resolve().parent / "careless.py"
INTEROP = {"warranty": ["python", "tests/interop/warranty.py"], "carrier": [str(NODE), "tests/interop/carrier.js"]}

# By flag: in which checks it must fall, and in which it may besides, as its mistake shows there by chance.
CRASHES = {"kill -9", "rebalances", "broker outage"}
MISTAKES = {
    "commit-first": ({"kill -9"}, CRASHES),
    "no-ids": ({"duplicates", "replays"}, CRASHES),
    "forgets": ({"replays"}, CRASHES),
    "own-schema": ({"new version"}, set()),
    "ends-on-poison": ({"poison"}, {"lives"}),
    "swallows-poison": ({"poison"}, set()),
    "unknown-types": ({"unknown types"}, set()),
    "threads": ({"order"}, set()),
    "skips-registry": ({"registry outage"}, set()),
    "skips-broker": ({"broker outage"}, CRASHES),
}


def conform(*words, seconds=60):
    done = subprocess.run([ROOT / "returns", "conform", *words], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=seconds)
    return done.returncode, done.stdout, done.stderr


def command(name, *flags):
    return f"{name}=python {CARELESS} {name} {' '.join(f'--{flag}' for flag in flags)}"


def judged(words):
    code, out, err = conform("--json", *words, seconds=900)
    print(err, file=sys.stderr)
    assert code in (0, 1), out + err
    return json.loads(out)


@pytest.fixture(scope="module")
def outcome():
    return judged([*DECLARED, *(f"{n}={' '.join(c)}" for n, c in INTEROP.items()), command("careful")])


@pytest.fixture(scope="module")
def mistaken():
    return judged([command(f"c-{flag}", flag) for flag in MISTAKES])


def fallen(outcome, name):
    return {check: c["evidence"][:3] for check, c in outcome["subscribers"][name]["checks"].items() if c["verdict"] == "fell"}


def test_one_of_each_kind_holds():
    """One of ours, one in Python, and one in JavaScript."""
    outcome = judged(["sales", *(f"{n}={' '.join(c)}" for n, c in INTEROP.items())])
    names = ["sales", *INTEROP]
    assert {name: fallen(outcome, name) for name in names} == {name: {} for name in names}


@pytest.mark.full
@pytest.mark.alone
def test_ours_hold(outcome):
    assert {name: fallen(outcome, name) for name in DECLARED} == {name: {} for name in DECLARED}
    for name in DECLARED:
        assert outcome["subscribers"][name]["audited"]
        checks = outcome["subscribers"][name]["checks"]
        assert {check for check, c in checks.items() if c["verdict"] == "-"} <= {"its events"}, checks


@pytest.mark.full
@pytest.mark.alone
def test_the_careful_and_the_foreign_hold(outcome):
    others = ["careful", *INTEROP]
    assert {name: fallen(outcome, name) for name in others} == {name: {} for name in others}


@pytest.mark.full
@pytest.mark.alone
@pytest.mark.parametrize("flag", MISTAKES)
def test_a_mistake_is_found_where_it_belongs(mistaken, flag):
    must, may = MISTAKES[flag]
    found = fallen(mistaken, f"c-{flag}")
    assert must <= found.keys() <= must | may, found


def test_every_mistake_has_a_line_in_its_help():
    assert set(re.findall(r"^  --([a-z-]+) ", CARELESS.read_text(), re.MULTILINE)) == MISTAKES.keys()


@pytest.mark.parametrize("words, quoted", [
    (["nobody"], "nobody"), (["Sales"], "Sales"), (["sales", "sales"], "twice"), (["x="], "x="), (["sales", "--"], "command"),
    (["sales", "--", "true"], "command"), (["--fast"], "--fast"),
])
def test_a_wrong_word_is_quoted(words, quoted):
    code, _, err = conform(*words)
    assert code == 2 and quoted in err, err

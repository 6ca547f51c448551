"""The proof itself, in short; and the checker, which must report what is planted."""

import copy
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from stack import ROOT, SERVICES

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import chaos
import checks
import load
import plants

GOOD = json.loads((HERE / "recorded.json").read_text())


def prove(*words, seconds=170):
    process = subprocess.Popen(
        [ROOT / "returns", "prove", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said, _ = process.communicate(timeout=seconds)
    except BaseException:  # it takes its stack down, which subprocess.run() would not let it
        process.terminate()
        process.wait(120)
        raise
    return process.returncode, said


def test_a_good_outcome_has_no_findings():
    findings, ledger = checks.check(GOOD)
    assert not findings
    assert {line["events"] for line in ledger.values()} == {len(GOOD["accepted"])}


@pytest.mark.parametrize(
    "fault, kind, service", [p[1:] for p in plants.each_plant()], ids=[p[0] for p in plants.each_plant()]
)
def test_a_planted_fault_is_reported(fault, kind, service):
    findings = plants.plant(GOOD, fault, service)
    assert (kind, service) in {(f.kind, f.team) for f in findings}, findings


def test_no_check_is_idle():
    """Each of them reports some planted fault that no other one reports as that."""
    alone = set()
    for _, fault, kind, service in plants.each_plant():
        seen = copy.deepcopy(GOOD)
        fault(seen, service)
        o = checks.Outcome(seen)
        reporters = [one for one in checks.CHECKS if any((f.kind, f.team) == (kind, service) for f in one(o))]
        if len(reporters) == 1:
            alone.add(reporters[0])
    assert alone == set(checks.CHECKS)


@pytest.mark.parametrize(
    "numbers, wrong",
    [
        ([], 0),
        ([1, 2, 2, 3], 0),
        ([1, 9, 2, 3, 4], 1),
        ([2, 3, 4, 1, 5], 1),
        ([1, 2, 5, 6, 3, 4, 7], 2),
        ([3, 2, 1], 2),
    ],
)
def test_only_what_is_out_of_turn_counts_as_reordered(numbers, wrong):
    found = checks.out_of_order(numbers)
    assert len(found) == wrong
    left = [n for i, n in enumerate(numbers) if i not in found]
    assert left == sorted(left)


def test_the_ledger_counts_returns_not_findings():
    seen = json.loads(json.dumps(GOOD))
    return_id = seen["accepted"][0]["return_id"]
    seen["services"]["sales"]["tables"]["refund"] = [
        r for r in seen["services"]["sales"]["tables"]["refund"] if r["return_id"] != return_id
    ]
    seen["topics"]["sales"] = [r for r in seen["topics"]["sales"] if r["data"]["return_id"] != return_id]
    findings, ledger = checks.check(seen)
    assert len(findings) > 2 and ledger["sales"]["lost"] == 1


def test_a_seed_says_what_happens():
    for kills in (0, 1, 15, 400):
        steps = chaos.plan(7, kills, 1.5 * kills)
        assert steps == chaos.plan(7, kills, 1.5 * kills) == sorted(steps)
        assert sum(target in SERVICES for _, _, target in steps) == kills
        assert {"kafka", "registry"} <= {target for _, _, target in steps}
    assert chaos.plan(7, 15, 30) != chaos.plan(8, 15, 30)
    kafka = [at for at, _, target in chaos.plan(7, 400, 600) if target == "kafka"]
    assert len(kafka) > 10 and all(later - at > 30 for at, later in zip(kafka, kafka[1:]))
    assert load.wanted_return(7, 3) == load.wanted_return(7, 3) != load.wanted_return(8, 3)
    wanted = [load.wanted_return(7, n) for n in range(1000)]
    assert len({w["serial_number"] for w in wanted}) == 1000 and len({w["reason"] for w in wanted}) == len(load.REASONS)


def test_the_self_test_finds_every_fault():
    code, said = prove("--self-test")
    assert (
        code == 0 and f"{len(plants.each_plant())} faults were planted" in said and "; 0 were not reported" in said
    ), said


@pytest.mark.parametrize(
    "words", [["--returns", "many"], ["--kills", "-1"], ["--seed", "x"], ["--sometimes"], ["--returns", "0"]]
)
def test_a_wrong_argument_is_quoted(words):
    code, said = prove(*words)
    assert code == 2 and words[-1] in said, said


@pytest.mark.parametrize("returns, kills", [(100, 5), pytest.param(300, 15, marks=pytest.mark.full)])
def test_a_short_proof_holds_and_leaves_nothing_behind(tmp_path, returns, kills):
    """Its own outcome, with its own schema of today, is good enough to plant every fault in."""
    report, record = tmp_path / "report.json", tmp_path / "seen.json"
    before = {p.name for p in Path(tempfile.gettempdir()).glob("returns-prove-*")}
    code, said = prove(
        "--returns", str(returns), "--kills", str(kills), "--seed", "11", "--report", str(report), "--record", str(record),
        seconds=600
    )
    assert code == 0, said
    outcome = json.loads(report.read_text())
    assert outcome["ok"] and outcome["accepted"] == returns and outcome["load"]["published_again"] >= kills // 3
    assert sum(n for name, n in outcome["load"]["faults"].items() if name in SERVICES) == kills
    assert outcome["load"]["faults"]["kafka"] == outcome["load"]["faults"]["registry"] == 1
    for line in outcome["ledger"].values():
        assert line["events"] == line["audited"] == line["effects"] == returns
        assert not any(line[kind] for kind in checks.KINDS)
    if returns >= 300:  # with fewer, not every fault can be planted so that it shows
        assert plants.missed(json.loads(record.read_text())) == []
    assert {p.name for p in Path(tempfile.gettempdir()).glob("returns-prove-*")} <= before

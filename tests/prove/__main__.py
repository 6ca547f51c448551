"""./returns prove: a stack of its own, a load on it, faults meanwhile, and then the comparison from outside."""

import argparse
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import chaos
import checks
import load
import observe
import plants
import report
from stack import ROOT, SERVICES, Stack, no_more_interrupts, take_interrupts

RETURNS_PER_SECOND = 150
SECONDS_PER_KILL = 1.0
QUIET_SECONDS = 180
RECONCILE_SECONDS = 60
RECORDED = Path(__file__).resolve().parent / "recorded.json"


def whole(least):
    def read(text):
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f'"{text}": must be a whole number, {least} or more')
        return int(text)

    return read


def arguments():
    parser = argparse.ArgumentParser(prog="./returns prove", add_help=False, allow_abbrev=False)
    parser.add_argument("--returns", type=whole(1), default=1000)
    parser.add_argument("--kills", type=whole(0), default=40)
    parser.add_argument("--seed", type=whole(0), default=random.SystemRandom().randrange(100_000))
    parser.add_argument("--report", type=Path, default=ROOT / "var/prove.json")
    parser.add_argument("--record", type=Path, help=argparse.SUPPRESS)  # the observation, for the self-test
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--only-parse", action="store_true", help=argparse.SUPPRESS)  # before anything is built
    return parser.parse_args()


def self_test():
    good = json.loads(RECORDED.read_text())
    missed = plants.missed(good)
    print(*missed, sep="\n", end="\n" * bool(missed))
    print(
        f"{len(plants.each_plant())} faults were planted in a good outcome of {len(good['accepted'])} returns; "
        f"{len(missed)} were not reported."
    )
    return not missed


def disturb(stack, options, progress):
    """The load, with faults meanwhile. Returns (what was accepted, what others published, a summary, what failed)."""
    seconds = max(options.returns / RETURNS_PER_SECOND, options.kills * SECONDS_PER_KILL, 1)
    topics = [stack.topic(f"{service}.events") for service in SERVICES]
    returns = load.Load(stack.ports["SUPPORT"], options.seed, options.returns, seconds)
    faults = chaos.Chaos(stack, chaos.plan(options.seed, options.kills, seconds))
    copies = max(5, int(options.returns * chaos.DUPLICATE_SHARE))
    duplicates = chaos.Duplicates(stack.kafka, topics, options.seed, copies, seconds)
    parts = [returns, faults, duplicates]
    progress.begin(f"Submitting {options.returns} returns over {seconds:.0f} s")
    try:
        for part in parts:
            part.start()
        while any([part.running() for part in parts]):
            time.sleep(0.2)
            progress.show(
                f"{returns.done()} returns, {faults.killed()} of {options.kills} kills",
                returns.done() / options.returns,
            )
    finally:
        for part in parts:
            part.stop()
    progress.end(f"{len(returns.accepted)} accepted, {faults.killed()} kills of services")
    summary = {
        "seconds": round(returns.took, 1),
        "per_second": round(options.returns / returns.took, 1),
        "faults": faults.kills,
        "latest_s": round(faults.late, 1),
        "steps": faults.done,
        "published_again": len(duplicates.places),
        "unanswered": returns.unsure,
        "retried": returns.retries,
        "found_kept": returns.reconciled,
    }
    failures = returns.failures + [part.failure for part in (faults, duplicates) if part.failure]
    return returns.accepted, duplicates.places, summary, failures


def wait_until_quiet(stack, progress):
    """Nobody helps. Returns what is left after three minutes, else []."""
    progress.begin("Waiting until all is quiet")
    end = time.monotonic() + QUIET_SECONDS
    while True:
        try:
            left = observe.unquiet(stack)
        except Exception as e:  # a service that is just starting, a Kafka that does not answer
            left = [repr(e)]
        if not left or time.monotonic() > end:
            progress.end("done" if not left else "given up")
            return left
        progress.show(left[0])
        time.sleep(0.5)


def reconcile(stack, progress):
    """What the product itself says, from the topics alone, once every team has counted all. Returns what is wrong."""
    progress.begin("Reconciling")
    end = time.monotonic() + RECONCILE_SECONDS
    while True:
        done = subprocess.run(
            [ROOT / "returns", "reconcile", "--json"], env=stack.env, cwd=ROOT, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=RECONCILE_SECONDS,
        )
        result = json.loads(done.stdout) if done.returncode < 2 else {"teams": [], "findings": [done.stderr]}
        late = [team["team"] for team in result["teams"] if team["late"] or team["unsent"]]
        if done.returncode < 2 and not late or time.monotonic() > end:
            progress.end("done" if not late else "given up")
            return [f"reconcile: {team} is late" for team in late] + [f"reconcile: {f}" for f in result["findings"]]
        progress.show(f"{', '.join(late)} counted not all yet")
        time.sleep(1)


def keep_evidence(stack, seed):
    """Databases, logs and Kafka's data of a run that did not hold."""
    kept = ROOT / f"var/prove-{seed}"
    shutil.rmtree(kept, ignore_errors=True)
    for folder in ("data", "logs"):
        if (stack.home / folder).exists():
            shutil.copytree(stack.home / folder, kept / folder)
    print(f"Kept are the databases and logs: {kept}", flush=True)


def prove(stack, options):
    """Returns the report."""
    progress = report.Progress()
    progress.begin("Starting Kafka, the registry and services of its own")
    stack.verb("up", seconds=900)
    stack.await_connected()
    progress.end()
    accepted, outside, summary, failures = disturb(stack, options, progress)
    left = wait_until_quiet(stack, progress)
    summary["quiet_s"] = round(time.monotonic() - progress.began, 1)
    failures += [f"not quiet after {QUIET_SECONDS} s: {text}" for text in left]
    failures += reconcile(stack, progress)
    progress.begin("Comparing")
    seen = observe.observe(stack, accepted, outside)
    if options.record:
        options.record.write_text(json.dumps(seen, ensure_ascii=False, separators=(",", ":")))
    findings, ledger = checks.check(seen)
    progress.end()
    report.print_ledger(ledger)
    report.print_findings(findings)
    return {
        "ok": not findings and not failures,
        "returns": options.returns,
        "kills": options.kills,
        "seed": options.seed,
        "accepted": len(accepted),
        "load": summary,
        "ledger": ledger,
        "failures": failures,
        "findings": [finding._asdict() for finding in findings],
    }


def run(options):
    print(f"{options.returns} returns, {options.kills} kills, seed {options.seed}", flush=True)
    began, home = time.monotonic(), tempfile.mkdtemp(prefix="returns-prove-")
    stack, outcome = Stack(home), None
    del stack.env["RETURNS_UNKNOWN_ID_MS"]  # as people run it
    try:
        outcome = prove(stack, options)
    finally:
        no_more_interrupts()
        stack.verb("down", seconds=120)
        if not isinstance(sys.exc_info()[1], KeyboardInterrupt) and not (outcome and outcome["ok"]):
            keep_evidence(stack, options.seed)
        left = stack.processes()
        shutil.rmtree(home, ignore_errors=True)
    outcome["failures"] += [f"left running: {command}" for command in left.values()]
    outcome |= {"ok": outcome["ok"] and not left, "seconds": round(time.monotonic() - began)}
    options.report.parent.mkdir(parents=True, exist_ok=True)
    options.report.write_text(json.dumps(outcome, indent=1, ensure_ascii=False) + "\n")
    print(*outcome["failures"], sep="\n", end="\n" * bool(outcome["failures"]))
    lost, twice, order = (
        sum(line[kind] for line in outcome["ledger"].values()) for kind in ("lost", "duplicated", "reordered")
    )
    verdict = "It holds" if outcome["ok"] else "IT DOES NOT HOLD"
    print(
        f"{verdict}: {outcome['accepted']} returns, {lost} lost, {twice} duplicated, {order} reordered; "
        f"after {outcome['seconds']} s."
    )
    print(f"The report: {options.report}")
    return outcome["ok"]


if __name__ == "__main__":
    take_interrupts()
    given = arguments()
    if given.only_parse:
        sys.exit(0)
    try:
        sys.exit(0 if (self_test() if given.self_test else run(given)) else 1)
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):  # a terminal that was closed
            print("\nreturns: interrupted; nothing was proved", flush=True)
        os._exit(130)

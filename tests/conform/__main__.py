"""./returns conform: a stack of its own, subscribers on it, faults meanwhile, and a table of what held."""

import argparse
import contextlib
import json
import os
import re
import shlex
import shutil
import sys
import tempfile
import time
from pathlib import Path

from confluent_kafka import KafkaException
from httpx import HTTPError

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import table
from faults import Faults
from inputs import Inputs
from judge import Judge
from stack import DECLARED, ROOT, Ground, no_more_interrupts, take_interrupts
from supervisor import Subscriber, Supervisor
from watch import Watch


class CouldNotRun(Exception):
    pass


def arguments():
    """{name: command, or None for one of ours}, and the options."""
    words, command = sys.argv[1:], []
    if "--" in words:
        at = words.index("--")
        words, command = words[:at], words[at + 1:]
        if not command:
            usage("after -- comes the command of the subscriber; there is none")
    parser = argparse.ArgumentParser(prog="./returns conform", add_help=False, allow_abbrev=False)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--cwd", type=Path, default=Path.cwd(), help=argparse.SUPPRESS)
    parser.add_argument("--only-parse", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    options.commands = commands_of(options.names or DECLARED, command)
    return options


def commands_of(words, command):
    ours, commands = DECLARED, {}
    for word in words:
        name, equals, own = word.partition("=")
        if not re.fullmatch("[a-z][a-z0-9-]{0,62}", name):
            usage(f'"{name}": the name of a subscriber has the characters a-z 0-9 - and begins with a letter')
        if name in commands:
            usage(f'"{name}" is named twice')
        if equals and not shlex.split(own):
            usage(f'"{word}": after = comes its command; there is none')
        commands[name] = shlex.split(own) if equals else None
    foreign = [name for name, own in commands.items() if own is None and name not in ours]
    if command:
        if len(foreign) != 1:
            usage(f"the command after -- is of the one name that is no service of ours; there are {len(foreign)}")
        commands[foreign[0]] = command
    elif foreign:
        usage(f'"{foreign[0]}": no such service. There are: {" ".join(ours)}. A foreign one needs its command: '
              f"./returns conform {foreign[0]} -- COMMAND…")
    return commands


def usage(text):
    print(f"returns: {text}", file=sys.stderr)
    sys.exit(2)


def say(text):
    print(text, file=sys.stderr, flush=True)


def check(stack, commands, cwd):
    """Returns the outcome."""
    say("Starting Kafka and the registry ...")
    stack.verb("up", seconds=900)
    inputs = Inputs(stack.kafka, stack.registry, stack.topic("support.events"))
    subscribers = [Subscriber(name, command, stack, stack.home / "subscribers", cwd) for name, command in commands.items()]
    watch = Watch(stack.kafka, stack.registry, inputs.topic, subscribers)
    judge = Judge(inputs, watch, subscribers)
    with Supervisor(subscribers):
        for s in subscribers:
            s.start()
        faults = Faults(stack, inputs, judge, subscribers, say)
        if idle := faults.first():
            raise CouldNotRun("\n".join(
                f"{s.name} did not read 12 plain requests within 180 s, in the group {s.group}; the end of what it said:\n"
                f"{s.last_words()}" for s in idle))
        faults.run()
    watch.close()
    return {
        "ok": all(v != "fell" for of in judge.verdicts.values() for v, _ in of.values()),
        "checks": judge.done, "records": inputs.records, "subscribers": {
            s.name: {"publishes": s.publishes, "audited": s.audited} | judge.published[s.name] | {
                "checks": {c: {"verdict": v, "evidence": e[:table.KEPT], "findings": len(e)}
                           for c, (v, e) in judge.verdicts[s.name].items()}}
            for s in subscribers},
    }


def run(options):
    began, home, outcome = time.monotonic(), tempfile.mkdtemp(prefix="returns-conform-"), None
    stack = Ground(home)
    try:
        outcome = check(stack, options.commands, options.cwd)
    finally:
        no_more_interrupts()
        stack.verb("down", seconds=120)
        if not (outcome and outcome["ok"]):
            keep_logs(stack)
        shutil.rmtree(home, ignore_errors=True)
    outcome["seconds"] = round(time.monotonic() - began)
    print(json.dumps(outcome, indent=1) if options.json else table.text(outcome))
    return 0 if outcome["ok"] else 1


def keep_logs(stack):
    kept = ROOT / "var/logs/conform"
    shutil.rmtree(kept, ignore_errors=True)
    for log in stack.home.glob("subscribers/*/log"):
        kept.mkdir(parents=True, exist_ok=True)
        shutil.copy(log, kept / f"{log.parent.name}.log")
    say(f"The logs: {kept}")


if __name__ == "__main__":
    take_interrupts()
    given = arguments()
    if given.only_parse:
        sys.exit(0)
    try:
        sys.exit(run(given))
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):  # a terminal that was closed
            print("\nreturns: interrupted; nothing was found out", file=sys.stderr, flush=True)
        os._exit(130)
    except (CouldNotRun, RuntimeError, AssertionError, TimeoutError, KafkaException, HTTPError) as e:
        print(f"returns: could not be run: {e}", file=sys.stderr)
        sys.exit(2)

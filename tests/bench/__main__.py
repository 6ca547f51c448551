"""./returns bench: a stack of its own, our services and the same subscriber in other ecosystems on it, measured side by side."""

import argparse
import contextlib
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path

from confluent_kafka import KafkaException
from httpx import HTTPError

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import contenders
import parts
import tables
from stack import ROOT, Ground, no_more_interrupts, take_interrupts


def usage(text):
    print(f"returns: {text}", file=sys.stderr)
    sys.exit(2)


def among(known, what):
    def read(text):
        for word in (words := text.split(",")):
            if word not in known:
                raise argparse.ArgumentTypeError(f'"{word}": no such {what}. There are: {" ".join(known)}')
        return [name for name in known if name in words]

    return read


def whole(text):
    if not text.isdecimal() or not 1 <= int(text) <= 100_000_000:
        raise argparse.ArgumentTypeError(f'"{text}": must be a whole number, 1 or more')
    return int(text)


def steps(text):
    return sorted({whole(word) for word in text.split(",")})


def arguments():
    parser = argparse.ArgumentParser(prog="./returns bench", add_help=False, allow_abbrev=False)
    parser.add_argument("--only", type=among(parts.PARTS, "part"), default=list(parts.PARTS))
    parser.add_argument("--with", dest="those", type=among(list(contenders.ALL), "contender"), default=list(contenders.ALL))
    parser.add_argument("--events", type=whole, default=500_000)
    parser.add_argument("--rounds", type=whole, default=3)
    parser.add_argument("--rate", type=whole, default=100)
    parser.add_argument("--seconds", type=whole, default=60)
    parser.add_argument("--growth", type=steps, default=[10_000, 100_000, 1_000_000, 5_000_000])
    parser.add_argument("--subscribers", type=steps, default=[4, 40])
    parser.add_argument("--json", type=Path, default=ROOT / "var/bench.json")
    parser.add_argument("--cwd", type=Path, default=Path.cwd(), help=argparse.SUPPRESS)
    parser.add_argument("--spoil", help=argparse.SUPPRESS)  # of this contender one row is changed before it is compared
    parser.add_argument("--only-parse", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


class Bench:
    def __init__(self, options, stack):
        self.options, self.stack, self.home = options, stack, stack.home
        self.kafka, self.registry, self.sources = stack.kafka, stack.registry, {}
        self.outcome = {"machine": machine(), "options": {k: v for k, v in vars(options).items() if k not in ("cwd", "json", "only_parse", "spoil")},
                        "left_out": {}, "parts": {}, "failures": []}
        self.those = None

    def say(self, text):
        print(text, file=sys.stderr, flush=True)

    def begin(self, part):
        self.say(f"{part}: load of the machine {os.getloadavg()[0]:.1f}")

    def keep(self):
        """After each part, so that an interrupt loses only the one that it is in."""
        target = self.options.cwd / self.options.json
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(self.outcome, indent=1, ensure_ascii=False) + "\n")

    def failed(self, text):
        self.outcome["failures"].append(text)
        self.say(text)

    def audit_only(self):
        """All of them that can take part here; who cannot is named."""
        if self.those is None:
            self.those = []
            for name in self.options.those:
                self.say(f"Building {name}, unless it is there")
                try:
                    one = contenders.ALL[name]()
                    if one.warms:
                        parts.warm(self, one)
                        one = contenders.ALL[name]()
                    self.those.append(one)
                except contenders.LeftOut as e:
                    self.outcome["left_out"][name] = str(e)
                    self.say(f"{name} is left out: {e}")
        return self.those


def machine():
    cpu = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "?")
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // 1024
    return {"processors": os.cpu_count(), "cpu": cpu, "memory_mb": memory, "kernel": platform.release(), "load_before": os.getloadavg()[0]}


def run(options):
    began, home = time.monotonic(), tempfile.mkdtemp(prefix="returns-bench-", dir="/var/tmp")  # on a disk
    (options.cwd / options.json).unlink(missing_ok=True)
    stack = Ground(home)
    for setting in ("RETURNS_UNKNOWN_ID_MS", "RETURNS_KAFKA_JAVA"):
        del stack.env[setting]  # as people run it
    bench = Bench(options, stack)
    try:
        bench.say("Starting Kafka and the registry of its own")
        stack.verb("up", seconds=900)
        parts.run(bench)
    finally:
        no_more_interrupts()
        stack.verb("down", seconds=120)
        left = stack.processes()
        shutil.rmtree(home, ignore_errors=True)
    bench.outcome["failures"] += [f"left running: {command}" for command in left.values()]
    bench.outcome["seconds"] = round(time.monotonic() - began)
    bench.keep()
    print(tables.text(bench.outcome))
    print(f"All of it as JSON: {options.cwd / options.json}")
    return 1 if bench.outcome["failures"] else 0


if __name__ == "__main__":
    take_interrupts()
    given = arguments()
    if given.only_parse:
        sys.exit(0)
    try:
        sys.exit(run(given))
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):  # a terminal that was closed
            print(f"\nreturns: interrupted; what was measured before is in {given.cwd / given.json}", file=sys.stderr, flush=True)
        os._exit(130)
    except (RuntimeError, AssertionError, TimeoutError, KafkaException, HTTPError) as e:
        print(f"returns: could not be run: {e}", file=sys.stderr)
        sys.exit(2)

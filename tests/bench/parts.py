"""What is measured. Each part takes the bench and returns what goes into the report."""

import contextlib
import statistics
import time

import contenders
import open_loop
import records
from measure import Failed, Run, Source, catch_up, cpu_seconds, pss_mb
from stack import SERVICES, TEAMS

QUIET_SECONDS = 20  # after a start, before it counts as idle
IDLE_SECONDS = 10


def medians(runs):
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]} | {"runs": runs}


def rounds(bench, source, those, keep):
    """Interleaved: everybody once, then again the other way round, so that a slow minute of the machine is everybody's."""
    figures = {c.title: [] for c in those}
    for n in range(bench.options.rounds):
        for c in those[:: -1 if n % 2 else 1]:
            if figures[c.title] is None:
                continue
            try:
                one = catch_up(c, source, bench.home, bench.options.spoil)
            except Failed as e:
                bench.failed(str(e))
                figures[c.title] = None
                continue
            finally:
                records.clean(source.kafka, source.namespace, keep)
            figures[c.title].append(one)
            bench.say(f"  {c.title}, round {n + 1}: {one['events_per_s']:,.0f} events/s, {one['events_per_cpu_s']:,.0f} per CPU-second, "
                      f"{one['peak_mb']:.0f} MB")
    return {title: medians(runs) for title, runs in figures.items() if runs}


def source_of(bench, name, events, by_time):
    """Published once, and kept for further parts."""
    if (name, events) not in bench.sources:
        topic = f"{name}.support.events"
        bench.say(f"Publishing {events:,} events: {name}")
        records.publish(bench.kafka, bench.registry, topic, events, by_time)
        bench.sources[name, events] = Source.of(bench.kafka, bench.registry, name, [topic])
    return bench.sources[name, events]


def warm(bench, contender):
    """A run that does not count."""
    source = source_of(bench, "bench-warm", 1000, True)
    catch_up(contender, source, bench.home)


def audit_only(bench, by_time):
    source = source_of(bench, "bench-by-time" if by_time else "bench-random", bench.options.events, by_time)
    return rounds(bench, source, bench.audit_only(), source.topics)


def part_catch_up(bench):
    return audit_only(bench, True)


def part_random(bench):
    return audit_only(bench, False)


def part_teams(bench):
    source = source_of(bench, "bench-by-time", bench.options.events, True)
    return rounds(bench, source, contenders.teams(), source.topics)


def part_support(bench):
    """Four events a return, one of each team; support's own topic is empty, so it begins as a new one does."""
    name, keep = "bench-support", [f"bench-support.{team}.events" for team in TEAMS]
    source = source_of(bench, name, max(bench.options.events // 4, 1), True)
    bench.say("  The four teams publish what support is to read")
    with contextlib.ExitStack() as stack:
        runs = [stack.enter_context(Run(team, source, bench.home)) for team in contenders.teams()]
        for run in runs:
            run.finish()
    bench.sources.pop((name, source.events))
    records.clean(source.kafka, name, keep)
    return rounds(bench, Source.of(source.kafka, source.registry, name, keep), [contenders.support()], keep)


def part_growth(bench):
    """One subscriber over the longest topic: what an event costs between each size and the next."""
    sizes = bench.options.growth
    source, steps = source_of(bench, "bench-growth", sizes[-1], True), []
    with Run(contenders.subscribers(1)[0], source, bench.home) as run:
        before = run.wait(1)
        for size in sizes:
            now = run.wait(size)
            if not (n := now[2] - before[2]):
                continue  # one batch held them all
            steps.append({"events": size, "us_per_event": (now[1] - before[1]) / n * 1e6,
                          "events_per_s": n / max(now[0] - before[0], 1e-9), "pss_mb": pss_mb(run.process.pid)})
            bench.say(f"  to {size:,}: {steps[-1]['us_per_event']:.1f} µs an event, {steps[-1]['events_per_s']:,.0f} events/s")
            before = now
        run.stop()
        run.verify()
    records.clean(source.kafka, source.namespace, source.topics)
    return steps


def part_subscribers(bench):
    """That many at the same time, each from the first event on."""
    source, found = source_of(bench, "bench-many", min(bench.options.events, 50_000), True), []
    for n in bench.options.subscribers:
        those = contenders.subscribers(n)
        kafka = next(pid for pid, said in bench.stack.processes().items() if "kafka.Kafka" in said)
        with contextlib.ExitStack() as stack:
            broker, began = cpu_seconds(kafka), time.monotonic()
            runs = [stack.enter_context(Run(one, source, bench.home)) for one in those]
            cpu = sum(run.finish()[1] for run in runs)
            took = time.monotonic() - began
            broker = cpu_seconds(kafka) - broker
            pss = sum(pss_mb(run.process.pid) for run in runs)
            for run in runs:
                run.stop()
                run.verify()
        records.clean(source.kafka, source.namespace, source.topics)
        events = n * source.events
        found.append({"subscribers": n, "events_each": source.events, "seconds": took, "events_per_s": events / took,
                      "us_per_event": cpu / events * 1e6, "kafka_us_per_event": broker / events * 1e6, "pss_mb_each": pss / n})
        bench.say(f"  {n} subscribers: {took:.1f} s, {cpu / events * 1e6:.1f} µs of theirs and {broker / events * 1e6:.1f} of Kafka's an event")
    return found


def by_name(stack):
    """{name: pid} of what runs."""
    names = dict.fromkeys([*SERVICES, "kafka", "registry"])
    for pid, said in stack.processes().items():
        words = said.split()
        if words[0].rsplit("/", 1)[-1] in SERVICES:
            names[words[0].rsplit("/", 1)[-1]] = pid
        elif "kafka.Kafka" in said:
            names["kafka"] = pid
        elif "apicurio" in said:
            names["registry"] = pid
    return {name: pid for name, pid in names.items() if pid}


def services_up(bench):
    """The demo's five; those that only look on stay away."""
    if not all(name in by_name(bench.stack) for name in SERVICES):
        bench.stack.verb("start", *SERVICES)
        bench.stack.await_connected(seconds=120)
        time.sleep(QUIET_SECONDS)
    return by_name(bench.stack)


def used(pids):
    return {name: cpu_seconds(pid) for name, pid in pids.items()}


def part_idle(bench):
    pids = services_up(bench)
    before = used(pids)
    time.sleep(IDLE_SECONDS)
    return {name: {"pss_mb": pss_mb(pid), "cpu_percent": (cpu_seconds(pid) - before[name]) / IDLE_SECONDS * 100} for name, pid in pids.items()}


def percentiles(values):
    values = sorted(values)
    at = lambda share: values[min(len(values) - 1, int(len(values) * share))] * 1000  # noqa: E731
    return {"p50_ms": at(0.5), "p99_ms": at(0.99), "max_ms": values[-1] * 1000} if values else {}


def part_rate(bench):
    """Returns at the given rate, over the whole stack."""
    pids = services_up(bench)
    files = {team: next((bench.stack.home / "data").glob(f"*{team}.db")) for team in TEAMS}
    port, rate, seconds = bench.stack.ports["SUPPORT"], bench.options.rate, bench.options.seconds
    open_loop.run(port, files, rate, 5, "warm")
    before = used(pids)
    done, seen, after = open_loop.run(port, files, rate, seconds, "bench")
    spent = {name: cpu - before[name] for name, cpu in used(pids).items()}
    accepted = [(returned, due, answered) for returned, due, answered in done if answered]
    for text in [returned for returned, _, answered in done if not answered][:3]:
        bench.failed(f"rate: a return was not accepted: {text}")
    everywhere = [(due, max(seen[team][r] for team in TEAMS) - due) for r, due, _ in accepted if all(r in seen[team] for team in TEAMS)]
    if lacking := len(accepted) - len(everywhere):
        bench.failed(f"rate: of {len(accepted)} returns {lacking} were not in all four audit logs {open_loop.AFTER_SECONDS} s after the last one")
    half = sorted(everywhere)[len(everywhere) // 2:]
    n = max(len(accepted), 1)
    return {
        "rate": rate, "seconds": seconds, "accepted": len(accepted), "drained_s": after, "submit": percentiles([a - d for _, d, a in accepted]),
        "audits": percentiles([delay for _, delay in everywhere]), "audits_second_half": percentiles([delay for _, delay in half]),
        "cpu_ms_per_return": {name: s / n * 1000 for name, s in spent.items()} | {"all": sum(spent.values()) / n * 1000},
        "pss_mb": {name: pss_mb(pid) for name, pid in pids.items()},
    }


def services_down(bench):
    if any(name in by_name(bench.stack) for name in SERVICES):
        bench.stack.verb("stop", *SERVICES)


WHOLE = {"idle": part_idle, "rate": part_rate}  # first, while Kafka is as it started
PARTS = WHOLE | {"catch-up": part_catch_up, "random": part_random, "teams": part_teams, "support": part_support,
                 "growth": part_growth, "subscribers": part_subscribers}


def run(bench):
    for name in bench.options.only:
        bench.begin(name)
        began = time.monotonic()
        if name not in WHOLE:
            services_down(bench)
        try:
            bench.outcome["parts"][name] = PARTS[name](bench)
        except Failed as e:
            bench.failed(f"{name}: {e}")
        bench.keep()
        bench.say(f"  {name}: {time.monotonic() - began:.0f} s")

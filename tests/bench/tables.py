"""The outcome as tables for people."""

CATCH_UP = [("events/s", "events_per_s", ",.0f"), ("events/CPU-s", "events_per_cpu_s", ",.0f"), ("hot", "hot_events_per_cpu_s", ",.0f"),
            ("peak MB", "peak_mb", ".0f"), ("first commit s", "first_commit_s", ".2f")]

BESIDE = ("kafka", "registry")


def rows(title, head, body):
    """A Markdown table whose columns stand below each other."""
    lines = [head, *body]
    widths = [max(len(str(line[i])) for line in lines) for i in range(len(head))]
    shown = ["| " + " | ".join(str(cell).ljust(w) for cell, w in zip(line, widths)) + " |" for line in lines]
    return "\n".join([f"\n{title}\n", shown[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *shown[1:]])


def rate(part):
    """Delays, and what one return costs each process."""
    cost = part["cpu_ms_per_return"]
    delays = [[title, *(f"{part[key].get(p, 0):.1f}" for p in ("p50_ms", "p99_ms", "max_ms"))] for title, key in (
        ("submit", "submit"), ("submit to four audits", "audits"), ("the same, second half", "audits_second_half"))]
    return (rows(f"{part['rate']} returns a second for {part['seconds']} s, each due at its own moment; all had all {part['drained_s']:.1f} s after the last",
                 ["delay, ms", "p50", "p99", "max"], delays)
            + "\n" + rows("Processor time of one return, ms", list(cost), [[f"{v:.2f}" for v in cost.values()]]))


def catch_up(title, part):
    body = [[name, *(format(f[key], how) for _, key, how in CATCH_UP)] for name, f in part.items()]
    return rows(title, ["", *(head for head, _, _ in CATCH_UP)], body)


def text(outcome):
    parts, options, machine = outcome["parts"], outcome["options"], outcome["machine"]
    said = [f"{machine['processors']} processors ({machine['cpu']}), {machine['memory_mb']} MB; load before {machine['load_before']:.1f}; "
            f"medians of {options['rounds']} interleaved rounds; hot: from the first commit on"]
    for name, title in {
        "catch-up": f"Catch-up of {options['events']:,} events, audit only; ids sort by time, as support makes them",
        "random": f"The same with random ids (UUIDv4); {options['events']:,} events",
        "teams": f"Catch-up of our teams, with their business, outbox and publishing; {options['events']:,} events",
        "support": "Catch-up of support: the events of four teams",
    }.items():
        if name in parts:
            said.append(catch_up(title, parts[name]))
    if "idle" in parts:
        idle = parts["idle"]
        ours = [f["pss_mb"] for name, f in idle.items() if name not in BESIDE]
        said.append(rows(f"Idle, right after the start; all services together {sum(ours):.0f} MB (PSS)", ["", "PSS MB", "% of a processor"],
                         [[name, f"{f['pss_mb']:.1f}", f"{f['cpu_percent']:.1f}"] for name, f in idle.items()]))
    if "rate" in parts:
        said.append(rate(parts["rate"]))
    if "growth" in parts:
        said.append(rows("Growth: an audit-only subscriber, from each size to the next", ["events", "µs of processor time an event", "events/s", "PSS MB"],
                         [[f"{s['events']:,}", f"{s['us_per_event']:.1f}", f"{s['events_per_s']:,.0f}", f"{s['pss_mb']:.0f}"] for s in parts["growth"]]))
    if "subscribers" in parts:
        said.append(rows("Audit-only subscribers at the same time, each from the first event on",
                         ["subscribers", "events each", "seconds", "events/s in all", "their µs an event", "Kafka's µs", "PSS MB each"],
                         [[s["subscribers"], f"{s['events_each']:,}", f"{s['seconds']:.1f}", f"{s['events_per_s']:,.0f}", f"{s['us_per_event']:.1f}",
                           f"{s['kafka_us_per_event']:.1f}", f"{s['pss_mb_each']:.1f}"] for s in parts["subscribers"]]))
    said += [f"\nLeft out: {name}: {why}" for name, why in outcome["left_out"].items()]
    said += [f"\nFAILED: {why}" for why in outcome["failures"]]
    return "\n".join(said)

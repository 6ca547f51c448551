"""The outcome as people read it."""

import shutil

KEPT = 20  # pieces of evidence of one check in the JSON
SHOWN = 3  # of them in the table's evidence


def blocks(names, width, first):
    """As many columns side by side as fit."""
    block, used = [], first
    for name in names:
        if block and used + max(len(name), 5) + 2 > width:
            yield block
            block, used = [], first
        block.append(name)
        used += max(len(name), 5) + 2
    yield block


def text(outcome):
    subscribers, checks, lines = outcome["subscribers"], outcome["checks"], []
    first = max(map(len, checks)) + 2
    for block in blocks(subscribers, shutil.get_terminal_size((120, 24)).columns, first):
        lines.append(" " * first + "".join(f"{name:<{max(len(name), 5) + 2}}" for name in block))
        for check in checks:
            cells = ((subscribers[name]["checks"][check]["verdict"], max(len(name), 5) + 2) for name in block)
            lines.append((f"{check:<{first}}" + "".join(f"{cell:<{width}}" for cell, width in cells)).rstrip())
        lines.append("")
    lines += [f"{check:<{first}}{done}" for check, done in checks.items()]
    lines += ["", *evidence(subscribers), *notes(subscribers)]
    fallen = sum(c["verdict"] == "fell" for s in subscribers.values() for c in s["checks"].values())
    lines.append(f"{'All held' if outcome['ok'] else f'{fallen} fell'}: {outcome['records']} records, "
                 f"{len(subscribers)} subscribers; after {outcome['seconds']} s.")
    return "\n".join(lines)


def evidence(subscribers):
    for name, s in subscribers.items():
        for check, c in s["checks"].items():
            if c["verdict"] == "fell":
                yield f"{name}, {check}:"
                yield from (f"  {line}" for line in c["evidence"][:SHOWN])
                if c["findings"] > SHOWN:
                    yield f"  and {c['findings'] - SHOWN} more; --json has {KEPT}"
                yield ""


def notes(subscribers):
    for name, s in subscribers.items():
        if s["records again"]:
            yield f"{name} published {s['records again']} events twice, each under its one event_id, as at-least-once may."
        if s["ended by itself"]:
            yield f"{name} ended by itself {s['ended by itself']} times, and was started again."
        if not s["publishes"] and not s["audited"]:
            yield f"{name} publishes nothing and has no audit log: a dash is what cannot be observed of it."

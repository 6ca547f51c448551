"""What people see: the progress, the ledger, the findings."""

import sys
import time

from checks import KINDS

PLAIN_SECONDS = 15
SHOWN = 10  # findings of one kind
BAR = 24


class Progress:
    """On a terminal one line with a bar, written over; elsewhere plain lines, every 15 seconds."""

    def __init__(self):
        self.terminal, self.began, self.last = sys.stdout.isatty(), time.monotonic(), 0.0
        self.title = ""

    def begin(self, title):
        self.title, self.began, self.last = title, time.monotonic(), time.monotonic()
        if self.terminal:
            self.show("")
        else:
            print(f"{title} ...", flush=True)

    def show(self, text, share=None):
        now = time.monotonic()
        if self.terminal:
            full = int((share or 0) * BAR)
            bar = "" if share is None else f" [{'#' * full}{'.' * (BAR - full)}]"
            print(
                f"\r\033[K[{now - self.began:3.0f} s]{bar} {self.title}{': ' * bool(text)}{text}"[:160],
                end="",
                flush=True,
            )
        elif now - self.last >= PLAIN_SECONDS:
            self.last = now
            print(f"{self.title}: {text}, {now - self.began:.0f} s so far", flush=True)

    def end(self, text="done"):
        took = time.monotonic() - self.began
        start = "\r\033[K" if self.terminal else ""
        print(f"{start}{self.title}: {text} in {took:.0f} s", flush=True)
        return round(took, 1)


def print_ledger(ledger):
    """ignored: records that a service took for duplicates."""
    columns = [
        "events",
        "audited",
        "effects",
        "ignored",
        "lost",
        "duplicated",
        "reordered",
        "offsets",
        "invariant",
        "stray",
        "chain",
    ]
    assert set(KINDS) <= set(columns)
    widths = {column: max(7, len(column)) + 1 for column in columns}
    print("\n" + " " * 14 + "".join(f"{column:>{widths[column]}}" for column in columns))
    for service, line in ledger.items():
        print(f"{service:<14}" + "".join(f"{line[column]:>{widths[column]}}" for column in columns))
    outside, resent = (sum(line[name] for line in ledger.values()) for name in ("outside", "resent"))
    print(f"\nRecords that repeat an event: {outside} published from outside, {resent} sent twice by a relay.")


def print_findings(findings):
    for kind in KINDS:
        of_kind = [f for f in findings if f.kind == kind]
        for f in of_kind[:SHOWN]:
            print(f"{kind}: {f.team}{': return ' + f.return_id if f.return_id else ''}: {f.text}")
        if len(of_kind) > SHOWN:
            print(f"{kind}: and {len(of_kind) - SHOWN} more; the report has them all")

"""What held, and what did not, by the facts that the watch has collected. Each finding says what was expected and seen."""

import time
from collections import defaultdict

QUIET_SECONDS = 4  # one that read all and says nothing more for so long has said all
CAP = 5  # times as long as one may stand still
EFFECTS = ("handled", "declined", "skipped")
FIELDS = {"event_id", "return_id", "version", "occurred_at", "caused_by"}
HEADERS = {"ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time", "content-type", "traceparent"}
SAME = ("return_id", "version", "order_id", "model", "shipment_id", "serial_number")  # as they were asked for

HELD, FELL, NOT_SEEN = "held", "fell", "-"


class Judge:
    def __init__(self, inputs, watch, subscribers):
        self.inputs, self.watch, self.subscribers = inputs, watch, subscribers
        self.verdicts = {s.name: {} for s in subscribers}  # check: (verdict, [evidence])
        self.done = {}  # check: what was done
        self.published = {}  # {name: figures}

    def note(self, s, check, faults, observable=True):
        self.verdicts[s.name][check] = (FELL if faults else HELD if observable else NOT_SEEN, faults)

    # --- Effects

    def reactions(self, s, event):
        """Its distinct reactions to the event, each by its first record, in order."""
        found = {}
        for r in self.watch.reactions[s.name].get(event.event_id, []):
            found.setdefault(str(r.data.get("event_id")), r)
        return list(found.values())

    def effect_faults(self, s, event, rows):
        """Why the event does not have exactly one effect there; rows: of its audit log, or None."""
        if s.publishes:
            found = self.reactions(s, event)
            if len(found) != 1:
                yield f"{event}: expected one reaction, saw {len(found) or 'none'}{self.places(found)}"
            for r in found[:1]:
                for name in SAME:
                    if name in r.data and r.data[name] != event.data[name]:
                        yield f"{event}: its reaction says {name}={r.data[name]!r}, the event {event.data[name]!r}"
        if s.audited:
            outcomes = [row["outcome"] for row in (rows or {}).get(event.event_id, [])]
            effects = [o for o in outcomes if o in EFFECTS]
            if len(effects) != 1 and effects[:1] != ["skipped"]:
                yield f"{event}: expected one audit row of an effect, saw {outcomes or 'none'}"

    def rows(self, s, seconds=30):
        """Its audit log, which one that has just been started has not at once; None: it keeps none."""
        end = time.monotonic() + seconds
        while s.audited:
            rows = self.watch.audit(s)
            if rows is not None or time.monotonic() > end:
                return rows
            time.sleep(0.1)
        return None

    @staticmethod
    def places(reactions):
        return "".join(f", {r.data['event_id']} at {r.place[0]}@{r.place[1]}" for r in reactions[:3])

    def faults(self, s, events, rows):
        return [text for event in events for text in self.effect_faults(s, event, rows)]

    # --- Waiting

    def look(self):
        self.watch.poll()
        self.watch.offsets()
        for s in self.subscribers:
            s.publishes = s.publishes or self.watch.seen[s.name] > 0

    def settle(self, events, seconds):
        """Until each has its effects, or has read all and is silent, or has not moved for so many seconds."""
        moved, left, end = {}, list(self.subscribers), time.monotonic() + CAP * seconds
        while left and time.monotonic() < end:
            self.look()
            left = [s for s in left if not self.settled(s, events, seconds, moved)]
            time.sleep(0.1)
        self.look()

    def settled(self, s, events, seconds, moved):
        """moved: {name: (how far it was, since when)}"""
        far = self.watch.progress(s.name)
        if moved.get(s.name, (None,))[0] != far:
            moved[s.name] = far, time.monotonic()
        silent, passed = time.monotonic() - moved[s.name][1], self.watch.passed(s.name, self.inputs.ends)
        if passed and not self.faults(s, events, self.rows(s, 0)):
            return True
        return silent > seconds or passed and not s.audited and silent > QUIET_SECONDS

    # --- Verdicts

    def effects_once(self, check, events=None):
        events = events if events is not None else self.inputs.of(check)
        for s in self.subscribers:
            faults = self.faults(s, events, self.rows(s))
            if not self.watch.passed(s.name, self.inputs.ends):
                faults.append(self.behind(s))
            self.note(s, check, faults, s.publishes or s.audited)

    def behind(self, s):
        left = {p: (self.watch.committed[s.name].get(p, 0), e) for p, e in self.inputs.ends.items()
                if self.watch.committed[s.name].get(p, 0) < e}
        return "its group has not come to the end: " + ", ".join(
            f"partition {p} at {at} of {e}" for p, (at, e) in sorted(left.items()))

    def duplicates(self, check):
        """Where there is an audit log, each further record is in it, as a duplicate."""
        self.effects_once(check)
        for s in self.subscribers:
            rows = self.rows(s)
            for event in self.inputs.of(check) if rows is not None else []:
                outcomes = [row["outcome"] for row in rows.get(event.event_id, [])]
                if outcomes[:1] != ["skipped"] and outcomes.count("duplicate") != len(event.places) - 1:
                    self.note(s, check, self.verdicts[s.name][check][1] + [
                        f"{event}: expected {len(event.places) - 1} rows of a duplicate, saw {outcomes or 'none'}"])

    def order(self, check):
        """Of each return, what was done comes in the order of its events."""
        later = {e.return_id: e for e in self.inputs.of(check, "cancel")}
        self.effects_once(check)
        for s in self.subscribers:
            rows, faults, compared = self.rows(s), list(self.verdicts[s.name][check][1]), 0
            for first in self.inputs.of(check):
                second = later[first.return_id]
                a, b = self.reactions(s, first)[:1], self.reactions(s, second)[:1]
                if a and b and a[0].place[0] == b[0].place[0]:
                    compared += 1
                    if a[0].place > b[0].place:
                        faults.append(f"{first} came before {second}; its reactions are{self.places(b + a)[1:]}")
                if rows is not None:
                    compared += 1
                    ids = [min((row["id"] for row in rows.get(e.event_id, [])), default=None) for e in (first, second)]
                    if None in ids or ids[0] > ids[1]:
                        faults.append(f"{first} came before {second}; their audit rows are {ids[0]} and {ids[1]}")
            self.note(s, check, faults, compared > 0)

    def strangers(self, check):
        for s in self.subscribers:
            rows, faults = self.rows(s), []
            for event in self.inputs.of(check, "stranger"):
                if found := self.reactions(s, event):
                    faults.append(f"{event}: expected no reaction, saw {len(found)}{self.places(found)}")
                if any(record.key() == event.key and record.value() == event.value for record in self.watch.letters[s.name]):
                    faults.append(f"{event}: expected that it is passed over, saw it in {s.dead_letters}")
                outcomes = [row["outcome"] for row in (rows or {}).get(event.event_id, [])]
                if rows is not None and (len(outcomes) != 1 or outcomes[0] == "quarantined"):
                    faults.append(f"{event}: expected one audit row, saw {outcomes or 'none'}")
            if not self.watch.passed(s.name, self.inputs.ends):
                faults.append(self.behind(s))
            self.note(s, check, faults)

    def replayed(self, check, before):
        """before: {name: events that had exactly one effect until then}."""
        for s in self.subscribers:
            faults = self.faults(s, before[s.name], self.rows(s))
            if not self.watch.passed(s.name, self.inputs.ends):
                faults.append(self.behind(s))
            self.note(s, check, faults, s.publishes or s.audited)

    def once_by_now(self, events):
        rows = {s.name: self.rows(s) for s in self.subscribers}
        return {s.name: [e for e in events if not self.faults(s, [e], rows[s.name])] for s in self.subscribers}

    def poison(self, check):
        """Passed, kept with its bytes, and nothing behind it is held up."""
        self.effects_once(check)
        for s in self.subscribers:
            rows, faults = self.rows(s), list(self.verdicts[s.name][check][1])
            kept = None if self.watch.letters[s.name] else self.watch.kept_letters(s)
            for event in self.inputs.of(check, "poison"):
                if not (self.is_kept(event, kept) if kept else self.is_letter(s, event)):
                    faults.append(f"{event}: expected it as it came in {s.dead_letters}, saw "
                                  f"{len(self.watch.letters[s.name])} others")
            for event in self.inputs.of(check, "keyless"):  # readable: handled, or put aside
                if not self.is_letter(s, event):
                    faults += self.effect_faults(s, event, rows)
            self.note(s, check, faults)

    def is_letter(self, s, event):
        return any(record.key() == event.key and record.value() == event.value for record in self.watch.letters[s.name])

    @staticmethod
    def is_kept(event, kept):
        value = (event.value or b"").hex()
        return any((p, o) in event.places and (text or "") == (value[:len(text)] if cut else value)
                   for p, o, text, cut in kept)

    def own_events(self, check):
        """What it publishes is an event that others can use."""
        for s in self.subscribers:
            by_type, faults, again = defaultdict(int), list(self.watch.unreadable[s.name]), 0
            for of_cause in self.watch.reactions[s.name].values():
                again += len(of_cause) - len({str(r.data.get("event_id")) for r in of_cause})
                for r in of_cause:
                    by_type[r.type] += 1
                    where = f"{r.type} at {r.place[0]}@{r.place[1]}"
                    if missing := sorted(FIELDS - r.data.keys()) + sorted(HEADERS - r.headers.keys()):
                        faults.append(f"{where}: lacks {', '.join(missing)}")
                    elif r.headers["ce_id"] != str(r.data["event_id"]) or r.headers["ce_type"] != r.type:
                        faults.append(f"{where}: its headers say {r.headers['ce_id']} {r.headers['ce_type']}, its body "
                                      f"{r.data['event_id']}")
            self.note(s, check, faults, bool(by_type))
            self.published[s.name] = {"types": dict(by_type), "records again": again}

    def lives(self, check, most):
        for s in self.subscribers:
            one = s.instances[0]
            faults = []
            if len(one.exits) > most:
                faults.append(f"it ended by itself {len(one.exits)} times, last with {one.exits[-1]}: {s.last_words(300)}")
            if not one.process or one.process.poll() is not None:
                faults.append(f"it does not run at the end: {s.last_words(300)}")
            self.note(s, check, faults)
            self.published[s.name]["ended by itself"] = len(one.exits)

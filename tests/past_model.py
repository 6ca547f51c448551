"""A return as it stood at one of its versions, or at a moment: worked out from its events by words, not by our code.

A return is `requested`, `handled` once every subscriber of today has passed its request, `closed` by support's event, and
`cancelled` by it whatever else happens, since the teams undo what they did. `version` counts support's own events but for
refusals (CommandRejected), which change nothing; a team's event carries the one it reacted to. At version N count support's events up to N, and what reacted to those; at a moment, all
that had occurred by then. A subscriber without events about the return is judged by its offset: as far as it was seen when
it passed, else from when the record was in the topic."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    team: str
    name: str
    return_id: str
    version: int
    at: int  # ms
    id: str
    recorded_at: int
    partition: int
    offset: int


@dataclass
class Subscribers:
    offsets: dict  # {team: {partition: next offset}}
    seen: list  # [(team, partition, next offset, ms)]

    def has_passed(self, team, record):
        return self.offsets.get(team, {}).get(record.partition, 0) > record.offset

    def passed_at(self, team, record):
        """The moment at which it was seen to have, or None."""
        moments = [ms for who, p, following, ms in self.seen if who == team and p == record.partition and following > record.offset]
        return min(moments, default=None)


class Return:
    def __init__(self, events, subscribers):
        self.own = sorted((e for e in events if e.team == "support"), key=lambda e: (e.version, e.at, e.id))
        self.theirs = sorted((e for e in events if e.team != "support"), key=lambda e: (e.version, e.at, e.id))
        self.subscribers = subscribers
        self.versions = sorted({e.version for e in self.own if e.name != "CommandRejected"})
        self.requested_at = self.request(self.own).at

    @staticmethod
    def request(own):
        return next((e for e in own if e.name == "RefundRequest"), None)

    def at_version(self, n):
        return self.fold(lambda e: e.version <= n, None) if 1 <= n <= self.versions[-1] else None

    def as_of(self, ms):
        return self.fold(lambda e: e.at <= ms, ms)

    def fold(self, holds, moment):
        own, theirs = [e for e in self.own if holds(e)], [e for e in self.theirs if holds(e)]
        request, cancel = self.request(own), next((e for e in own if e.name == "RefundCancelled"), None)
        if not request:
            return None
        version = max(e.version for e in own if e.name != "CommandRejected")
        first = self.request(self.own).version
        teams = {}
        for name in sorted({*self.subscribers.offsets, *(e.team for e in theirs)}):
            last = next((e for e in reversed(theirs) if e.team == name), None)
            teams[name] = {
                "handled": self.is_past(name, request, self.theirs, holds, moment),
                "event_type": last and f"returns.{name}.{last.name}",
                "at": last and last.at,
                "compensated": cancel and self.is_past(
                    name, cancel, [e for e in self.theirs if e.version == cancel.version], holds, moment),
            }
        handled = bool(teams) and all(t["handled"] for t in teams.values())
        return {
            "version": version,
            "status": self.status(own, handled),
            "attention": any(e.name.endswith("Declined") for e in theirs),
            "published": moment is None or request.recorded_at <= moment,
            "compensated": cancel and bool(teams) and all(t["compensated"] for t in teams.values()),
            "previous": max((v for v in self.versions if first <= v < version), default=None),
            "next": min((v for v in self.versions if v > version), default=None),
            "versions": self.versions[-1],
            "teams": teams,
        }

    @staticmethod
    def status(own, handled):
        names = {e.name for e in own}
        if "RefundCancelled" in names:
            return "cancelled"
        if "ReturnClosed" in names:
            return "closed"
        return "handled" if handled else "requested"

    def is_past(self, team, record, events, holds, moment):
        said = [e for e in events if e.team == team]
        if any(holds(e) for e in said):
            return True
        if moment is None:
            return self.subscribers.has_passed(team, record)
        if said or record.recorded_at > moment or not self.subscribers.has_passed(team, record):
            return False
        seen = self.subscribers.passed_at(team, record)
        return seen is None or seen <= moment

"""./returns drill schema: see compose/verbs/drill. Arguments: the tree, the folder of the next version, the services."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from demo import Demo, Fell, TYPE, newest, wait
from rules import breaches, parse
from stack import no_more_interrupts, take_interrupts

RETURNS, HANDLED_SECONDS, QUIET_SECONDS = 12, 180, 2


class Drill:
    def __init__(self, demo, folder):
        self.demo, self.folder = demo, Path(folder)
        self.rows, self.teams = [], [s for s in demo.services if s != "support"]
        self.run, self.publishers = format(time.time_ns() // 1_000_000, "x"), set()
        self.n = 0

    def say(self, text):
        print(text, flush=True)

    def held(self, what, holds, detail=""):
        self.rows.append((what, holds, detail))
        self.say(f"   {'holds' if holds else 'FELL '}  {what}{': ' + detail if detail else ''}")
        return holds

    # Returns

    def submit(self, reasons):
        """One for each of the reasons. {return id: what was asked}."""
        asked, batch = [], f"{self.run}-{self.n + 1}"
        for reason in reasons:
            self.n += 1
            unique = f"{self.run}-{self.n}"
            asked.append({
                "order_id": f"ORD-{batch}", "model": "Aurora 14 laptop", "shipment_id": f"SHP-{batch}",
                "serial_number": f"SN-{unique}", "location": "Berlin", "cost": {"amount": f"{100 + self.n}.25", "currency": "EUR"},
                "customer_id": "C-DRILL", "reason_code": reason, "reason": "A drill."})
        self.order(asked)
        found = {}
        for body in asked:
            answer = self.demo.post("support", "/api/returns", body)
            if answer.status_code != 202:
                raise Fell(f"support refused a return with the reason {body['reason_code']}: {answer.text}")
            found[answer.json()["return_id"]] = body
        return found

    def order(self, asked):
        """So that sales refunds them; where it does not take the order, it declines, which is an answer too."""
        if "sales" not in self.demo.services:
            return
        self.demo.post("sales", "/api/customers", {"customer_id": "C-DRILL", "name": "A drill", "location": "Berlin"})
        items = [{"model": a["model"], "price": a["cost"], "serial_number": a["serial_number"]} for a in asked]
        self.demo.post("sales", "/api/orders", {
            "order_id": asked[0]["order_id"], "customer_id": "C-DRILL", "shipment_id": asked[0]["shipment_id"], "items": items})

    def await_handled(self, asked):
        """{return id: its events}, once every consumer group is past it and whoever publishes has done so."""
        for return_id in asked:
            wait(lambda: self.is_handled(return_id), HANDLED_SECONDS, f"{return_id} is handled by all")
        found = {}
        for return_id in asked:
            def published():
                events = (self.demo.get("support", f"/api/returns/{return_id}/events") or {"events": []})["events"]
                return events if self.publishers <= {e["team"] for e in events} else None
            found[return_id] = wait(published, HANDLED_SECONDS, f"the events of all teams about {return_id}")
        return found

    def is_handled(self, return_id):
        """By our services; of others that once came nobody knows whether they will be back."""
        teams = (self.demo.get("support", f"/api/returns/{return_id}") or {"teams": []})["teams"]
        ours = [team["handled"] for team in teams if team["team"] in self.teams]
        return ours and all(ours)

    def seen_to_publish(self, return_id):
        """Nobody has a list of who does: whose events have come when none came for a while."""
        found, since = set(), time.monotonic()
        while time.monotonic() - since < QUIET_SECONDS:
            events = (self.demo.get("support", f"/api/returns/{return_id}/events") or {"events": []})["events"]
            now = {e["team"] for e in events} - {"support"}
            if now != found:
                found, since = now, time.monotonic()
            time.sleep(0.1)
        return found

    def requests(self, events):
        """The RefundRequest of each return."""
        return {return_id: next(e for e in list if e["type"] == TYPE) for return_id, list in events.items()}

    def check_projections(self, asked, events):
        """Whatever a team's event says that the request says too has to be the same."""
        compared, wrong = dict.fromkeys(sorted(self.publishers), 0), []
        for return_id, body in asked.items():
            for event in events[return_id]:
                for name in event["data"].keys() & body.keys():
                    if event["team"] == "support":
                        continue
                    compared[event["team"]] += 1
                    if event["data"][name] != body[name]:
                        wrong.append(f"{event['team']} has {name} {event['data'][name]!r}, not {body[name]!r}")
        silent = [team for team, n in compared.items() if not n]
        return self.held("each team projected its own fields", not wrong and not silent,
                         "; ".join(wrong[:3]) or ", ".join(f"{t} {n} values" for t, n in compared.items()))

    def check_others(self):
        changed = []
        for team in self.teams:
            now = self.demo.condition(team)
            changed += [f"{team}: {k} was {self.before[team][k]}, is {v}" for k, v in now.items() if self.before[team][k] != v]
        self.held("nobody else was rebuilt, restarted or held, or put anything aside", not changed, "; ".join(changed))

    # The steps

    def step_before(self):
        demo = self.demo
        left = demo.given()
        if left:
            self.say(f"   an earlier drill left support with the schemas of {left}; back to its own")
            self.roll_back()
        wait(lambda: demo.component("support", "schemas")[0] == "ok", 120, "support's schemas are registered")
        self.versions = demo.versions()
        self.before = {team: demo.condition(team) for team in self.teams}
        asked = self.submit(["OTHER"])
        events = self.await_handled(asked)
        (return_id,) = asked
        self.publishers = self.seen_to_publish(return_id)
        own = self.requests(events)[return_id]["schema_id"]
        self.own = next(n for n, v in self.versions.items() if v["id"] == own)
        self.say(f"   RefundRequest is in the registry in versions {', '.join(map(str, self.versions))}; support publishes version {self.own}")
        for team in self.teams:
            told = "publishes its answer" if team in self.publishers else "only reads"
            self.say(f"   {team:14} program {self.before[team]['program']}, since {self.before[team]['started']}; {told}")

    def step_next(self):
        path, next_schema = newest(self.folder)
        names = {f["name"] for f in next_schema["fields"]}
        own_names = {f["name"] for f in parse(self.versions[self.own]["schema"]).to_json()["fields"]}
        self.added, self.dropped = names - own_names, own_names - names
        reasons = next(f for f in next_schema["fields"] if f["name"] == "reason_code")["type"]["symbols"]
        known = {s for v in self.versions.values() for f in parse(v["schema"]).to_json()["fields"]
                 if f["name"] == "reason_code" for s in f["type"]["symbols"]}
        self.symbols = [s for s in reasons if s not in known] or reasons[-1:]
        self.counted = self.figure()
        self.demo.roll(self.folder)
        state, text = wait(self.settled, 120, "the registry has an opinion of the schema")
        if not self.held("the registry takes the next version", state == "ok", text if state != "ok" else ""):
            for line in self.sentences(path):
                self.say("          " + line)
            raise Fell("a version that should be compatible is not")
        self.versions = self.demo.versions()
        asked = self.submit([reasons[i % len(reasons)] for i in range(RETURNS)] + self.symbols)
        events = self.await_handled(asked)
        self.check_next(asked, events)
        self.check_projections(asked, events)
        self.check_others()
        self.check_figures(asked)

    def settled(self):
        """Once it is more than: waiting."""
        state, text = self.demo.component("support", "schemas")
        return (state, text) if state == "failed" or "in use from" in text else None

    def check_next(self, asked, events):
        ids = {e["schema_id"] for e in self.requests(events).values()}
        by_id = {v["id"]: n for n, v in self.versions.items()}
        numbers = {by_id.get(i) for i in ids}
        self.next = max(n for n in numbers if n) if numbers - {None} else None
        self.held("returns are published in the next version", len(ids) == 1 and numbers != {self.own},
                  f"{len(asked)} returns in version {self.next}; + {', '.join(self.added) or 'no field'}, - {', '.join(self.dropped) or 'no field'}")
        wrong = [r for r, e in self.requests(events).items()
                 if e["data"]["reason_code"] != asked[r]["reason_code"] or self.dropped & e["data"].keys() or not self.added <= e["data"].keys()]
        self.held(f"they say what was sent, the new reason {', '.join(self.symbols)} too", not wrong, ", ".join(wrong))

    def figure(self):
        """How many returns analytics, which was built before the new symbol, counts by its name; None: there is no analytics."""
        if "analytics" not in self.demo.services:
            return None
        said = wait(lambda: self.demo.get("analytics", "/api/statistics"), 30, "analytics says what it has counted")
        return next((row["returns"] for row in said["by"]["reason"] if row["name"] == self.symbols[0]), 0)

    def check_figures(self, asked):
        if self.counted is None:
            return
        due = self.counted + sum(body["reason_code"] == self.symbols[0] for body in asked.values())
        until = time.monotonic() + HANDLED_SECONDS
        while (counted := self.figure()) < due and time.monotonic() < until:
            time.sleep(0.2)
        self.held(f"analytics counts {self.symbols[0]} by that name", counted >= due, f"{counted}, {self.counted} before")

    def sentences(self, path):
        """What ./returns schemas check says of it, against what the registry has."""
        schema, said = parse(path.read_text()), {}
        for n, version in self.versions.items():
            other = parse(version["schema"])
            for b in breaches(schema, other) + breaches(other, schema):
                said.setdefault(b, []).append(str(n))
        return [f'field "{b.field}": {b.rule} ({b.detail}), with version {", ".join(dict.fromkeys(of))}. To do: {b.advice}'
                for b, of in said.items()]

    def step_refused(self):
        demo, path = self.demo, self.demo.root / "schemas/drill/refused/RefundRequest.avsc"
        sentences, ends, versions = self.sentences(path), demo.ends(), demo.versions()
        if not self.held("./returns schemas check refuses a version that breaks what others read", bool(sentences)):
            raise Fell("the refused version is compatible")
        for line in sentences:
            self.say("          " + line)
        status, said = demo.registry("POST", demo.subject, {"schema": path.read_text()})
        self.held("the registry refuses it, with 409", status == 409, str(said.get("message", said)))
        demo.roll(path.parent)
        state, text = wait(self.settled, 120, "support was told what becomes of the schema")
        self.held("support started with it says so, and goes on", state == "failed" and "is not used" in text, text)
        asked = self.submit(["OTHER", "DEFECTIVE"])
        events = self.await_handled(asked)
        self.check_projections(asked, events)
        known, ids = {v["id"] for v in versions.values()}, demo.schema_ids(ends, demo.ends())
        self.held("nothing was published in it", ids and set(ids) <= known, f"{len(ids)} requests since, all in known versions")
        self.held("nothing was registered", demo.versions() == versions, f"versions {', '.join(map(str, versions))} as before")

    def roll_back(self):
        self.demo.roll(None)
        wait(lambda: self.demo.component("support", "schemas")[0] == "ok", 120, "support's schemas are registered")

    def step_back(self):
        self.roll_back()
        asked = self.submit(["WRONG_ITEM", "OTHER"])
        events = self.await_handled(asked)
        ids = {e["schema_id"] for e in self.requests(events).values()}
        self.held("rolled back, support publishes its own version again", ids == {self.versions[self.own]["id"]}, f"version {self.own}")
        self.check_projections(asked, events)
        for service in ("support", self.teams[-1] if "accounting" not in self.teams else "accounting"):
            same, text = self.demo.rebuild(service)
            self.held(f"{service} made anew from the first event reads both, and is the same", same, "" if same else text[-300:])
        self.check_others()

    def go(self):
        steps = [("Before", self.step_before), ("The next version", self.step_next), ("A version that is not compatible", self.step_refused),
                 ("Back", self.step_back)]
        try:
            for n, (title, step) in enumerate(steps, 1):
                self.say(f"{n}. {title}")
                step()
        except Fell as e:
            self.held("the drill came to its end", False, str(e))
        finally:
            no_more_interrupts()
            if self.demo.given():
                self.roll_back()
        fell = [row for row in self.rows if not row[1]]
        self.say("")
        for what, holds, _ in self.rows:
            self.say(f"{'held' if holds else 'FELL'}  {what}")
        self.say(f"{len(self.rows) - len(fell)} held, {len(fell)} fell")
        return 1 if fell else 0


if __name__ == "__main__":
    take_interrupts()  # so that support is rolled back
    root, folder, *services = sys.argv[1:]
    try:
        sys.exit(Drill(Demo(root, services), folder).go())
    except KeyboardInterrupt:
        sys.exit(130)

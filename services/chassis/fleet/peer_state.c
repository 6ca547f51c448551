#include "chassis/fleet/peer_state.h"

#include "chassis/base/format.h"
#include "chassis/base/ids.h"

#include <stdio.h>
#include <string.h>

enum { LATE_MS = 1000, LATE_EVENTS = 20 };

__attribute__((format(printf, 4, 5))) static void
say(struct peer_state *out, const char *name, const char *tone, const char *format, ...) {
    out->name = name;
    out->tone = tone;
    format_arguments(out->text, format);
}

/* What is under way at the moment is no backlog. */
static bool is_late(const struct peer_facts *f) {
    return f->behind > 0 && (f->oldest_ms >= LATE_MS || (double)f->behind > LATE_EVENTS + f->handled);
}

static void judge_backlog(const struct peer_facts *f, struct peer_state *out) {
    char age[DURATION_TEXT], to_go[DURATION_TEXT], left[DURATION_TEXT + 40] = "it does not get less for now";
    if (f->to_go_ms >= 0) snprintf(left, sizeof left, "to go: %s", duration_text(f->to_go_ms, to_go));
    if (f->contact == PEER_NOWHERE)
        say(out, f->behind > 0 ? "catching up" : "reading", f->behind > 0 ? "wait" : "ok",
            "Its address is not known, so only how far it has read is.");
    else if (!is_late(f))
        say(out, "up", "ok", "Handles events as they come.");
    else if (f->oldest_ms > 0)
        say(out, "catching up", "wait", "%lld behind, the oldest for %s; %s.", (long long)f->behind,
            duration_text(f->oldest_ms, age), left);
    else
        say(out, "catching up", "wait", "%lld behind; %s.", (long long)f->behind, left);
}

void peer_judge(const struct peer_facts *f, struct peer_state *out) {
    char age[DURATION_TEXT] = "";
    const char *health = f->health ? f->health : "", *drill = f->drill ? f->drill : "";
    const char *words = f->words ? f->words : "It does not say what for.";
    bool answered = f->silent_ms >= 0, one = f->dead_letters == 1;
    if (answered) duration_text(f->silent_ms, age);
    if (f->contact == PEER_REFUSES && answered)
        say(out, "stopped", "bad", "Nobody listens at its address; it last answered %s ago.", age);
    else if (f->contact == PEER_REFUSES)
        say(out, "stopped", "bad", "Nobody listens at its address.");
    else if (f->contact == PEER_SILENT && answered)
        say(out, "does not answer", "bad", "It is there, and has not answered for %s.", age);
    else if (f->contact == PEER_SILENT)
        say(out, "does not answer", "bad", "It is there, and has not answered yet.");
    else if (f->contact == PEER_UNASKED)
        say(out, "not asked yet", "wait", "It is being asked.");
    else if (!strcmp(health, "failed"))
        say(out, "needs a hand", "bad", "%s", words);
    else if (!strcmp(health, "waiting"))
        say(out, "waiting", "wait", "%s", words);
    else if (f->dead_letters > 0)
        say(out, "quarantining", "bad", "%lld %s put aside; somebody must look at %s.", (long long)f->dead_letters,
            one ? "event is" : "events are", one ? "it" : "them");
    else if (!strcmp(drill, "paused"))
        say(out, "paused", "wait", "Paused by a drill.");
    else if (!strcmp(drill, "slow"))
        say(out, "slow", "wait", "Made slow by a drill: %lld ms an event.", (long long)f->drill_ms);
    else
        judge_backlog(f, out);
}

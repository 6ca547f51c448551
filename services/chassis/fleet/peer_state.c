#include "chassis/fleet/peer_state.h"

#include "chassis/base/ids.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { LATE_MS = 1000, LATE_EVENTS = 20 };

__attribute__((format(printf, 4, 5))) static void
say(struct peer_state *out, const char *name, const char *tone, const char *format, ...) {
    va_list arguments;
    out->name = name;
    out->tone = tone;
    va_start(arguments, format);
    vsnprintf(out->text, sizeof out->text, format, arguments);
    va_end(arguments);
}

static const char *age_text(int64_t ms, char out[DURATION_TEXT]) {
    return ms < 0 ? "an unknown time" : duration_text(ms, out);
}

/* False: it can be reached. */
static bool judge_contact(const struct peer_facts *f, struct peer_state *out) {
    char age[DURATION_TEXT];
    switch (f->contact) {
    case PEER_REFUSES:
        if (f->silent_ms < 0)
            say(out, "stopped", "bad", "Nobody listens at its address.");
        else
            say(out, "stopped", "bad", "Nobody listens at its address; it last answered %s ago.",
                age_text(f->silent_ms, age));
        return true;
    case PEER_SILENT:
        if (f->silent_ms < 0)
            say(out, "does not answer", "bad", "It is there, and has not answered yet.");
        else
            say(out, "does not answer", "bad", "It is there, and has not answered for %s.",
                age_text(f->silent_ms, age));
        return true;
    case PEER_UNASKED: say(out, "not asked yet", "wait", "It is being asked."); return true;
    default: return false;
    }
}

static bool judge_health(const struct peer_facts *f, struct peer_state *out) {
    const char *words = f->words ? f->words : "It does not say what for.";
    if (!f->health) return false;
    if (!strcmp(f->health, "failed"))
        say(out, "needs a hand", "bad", "%s", words);
    else if (!strcmp(f->health, "waiting"))
        say(out, "waiting", "wait", "%s", words);
    else
        return false;
    return true;
}

static bool judge_drill(const struct peer_facts *f, struct peer_state *out) {
    if (!f->drill) return false;
    if (!strcmp(f->drill, "paused"))
        say(out, "paused", "wait", "Paused by a drill.");
    else if (!strcmp(f->drill, "slow"))
        say(out, "slow", "wait", "Made slow by a drill: %lld ms an event.", (long long)f->drill_ms);
    else
        return false;
    return true;
}

/* What is under way at the moment is no backlog. */
static bool is_late(const struct peer_facts *f) {
    return f->behind > 0 && (f->oldest_ms >= LATE_MS || (double)f->behind > LATE_EVENTS + f->handled);
}

static void judge_backlog(const struct peer_facts *f, struct peer_state *out) {
    char age[DURATION_TEXT], to_go[DURATION_TEXT];
    const char *left = f->to_go_ms < 0 ? "it does not get less for now" : duration_text(f->to_go_ms, to_go);
    if (f->contact == PEER_NOWHERE)
        say(out, f->behind > 0 ? "catching up" : "reading", f->behind > 0 ? "wait" : "ok",
            "Its address is not known, so only how far it has read is.");
    else if (!is_late(f))
        say(out, "up", "ok", "Handles events as they come.");
    else if (f->oldest_ms > 0)
        say(out, "catching up", "wait", "%lld behind, the oldest for %s; %s%s.", (long long)f->behind,
            age_text(f->oldest_ms, age), f->to_go_ms < 0 ? "" : "to go: ", left);
    else
        say(out, "catching up", "wait", "%lld behind; %s%s.", (long long)f->behind,
            f->to_go_ms < 0 ? "" : "to go: ", left);
}

void peer_judge(const struct peer_facts *f, struct peer_state *out) {
    if (judge_contact(f, out) || judge_health(f, out)) return;
    if (f->dead_letters > 0)
        say(out, "quarantining", "bad", "%lld %s put aside; somebody must look at %s.", (long long)f->dead_letters,
            f->dead_letters == 1 ? "event is" : "events are", f->dead_letters == 1 ? "it" : "them");
    else if (!judge_drill(f, out))
        judge_backlog(f, out);
}

# What people see: messages, and steps with the time they take.

# plain: standard input, with nothing in it that could move a cursor, set a title or turn the order: others wrote a part of
# what we say (a service's answer, a log). Such a character becomes "?"; tabs and ends of lines stay. As utf8_next() has it.
plain() {
    LC_ALL=C sed -uE \
        -e $'s/[\001-\010\013-\037\177]|\302[\200-\237]|\330\234|\342\200[\216\217\250-\256]|\342\201[\246-\251]|\357\273\277/?/g'
}
# Most of what is said is plain ASCII, and needs no process to look at it. iconv's status tells only that it left a byte out.
say() {
    local LC_ALL=C
    if [[ $* == *[!$'\t\n\x20-\x7e']* ]]; then printf '%s\n' "$*" | { iconv -c -f UTF-8 -t UTF-8 || true; } | plain; else printf '%s\n' "$*"; fi
}
warn() { say "$@" >&2; }
die() {
    warn "returns: $*"
    exit 1
}
die_usage() {
    warn "returns: $*"
    exit 2
}

# The comment at the head of a verb's file is its help; the first line of it is its line in the list of verbs.
verb_help() { sed -n '/^#/!q; s/^# \{0,1\}//p' "$RETURNS_ROOT/compose/verbs/$1"; }
verb_title() { sed -n '1s/^# //p' "$RETURNS_ROOT/compose/verbs/$1"; }
verb_takes_nothing() { (($# == 0)) || die_usage "\"$1\": ./returns $VERB takes no such argument. See ./returns $VERB --help"; }

# progress TITLE SECONDS: on a terminal one line that is written over; elsewhere plain lines, every 15 seconds.
progress() {
    if [[ -t 1 ]]; then
        printf '\r\033[K[%3d s] %s' "$2" "${1:0:$((${COLUMNS:-80} - 10))}"
    elif (($2 > 0 && $2 % 15 == 0 && $2 != ${PROGRESS_SHOWN:-0})); then
        PROGRESS_SHOWN=$2
        say "$1: $2 s so far"
    fi
}
progress_begin() {
    PROGRESS_SHOWN=0
    if [[ ! -t 1 ]]; then say "$1 ..."; fi
}
progress_end() {
    if [[ -t 1 ]]; then printf '\r\033[K[%3d s] %s\n' "$2" "$1"; else say "$1: done in $2 s"; fi
}
progress_clear() { if [[ -t 1 ]]; then printf '\r\033[K'; fi; }

# step_run TITLE LOG COMMAND…: runs it with its output in LOG and sets STEP_STATUS. It runs in a process group of its own,
# so that an interrupt can end it with all its children. Never call this, or step, as part of a condition: the command
# would then run on after its errors.
STEP_PID=
STEP_STATUS=0
step_run() {
    local title=$1 log=$2 began=$SECONDS
    shift 2
    mkdir -p "$(dirname "$log")"
    progress_begin "$title"
    set -m
    "$@" </dev/null >"$log" 2>&1 &
    STEP_PID=$!
    set +m
    while kill -0 "$STEP_PID" 2>/dev/null; do
        progress "$title" $((SECONDS - began)) || true # nobody may be reading any more
        sleep 0.1 || true # a key that ends a program may end this one first
    done
    STEP_STATUS=0
    wait "$STEP_PID" || STEP_STATUS=$?
    STEP_PID=
    STEP_SECONDS=$((SECONDS - began))
    if ((STEP_STATUS == 0)); then
        progress_end "$title" "$STEP_SECONDS"
    else
        progress_clear
        warn "$title: failed after $STEP_SECONDS s. The last lines of $log:"
        log_tail "$log" 25
    fi
}

# cannot WORD…: this is the end, unless STEP_GOES_ON is set; then STEP_STATUS and STEP_WHY say so.
cannot() {
    STEP_STATUS=1 STEP_WHY=$*
    if [[ ! ${STEP_GOES_ON-} ]]; then die "$STEP_WHY"; fi
    warn "returns: $STEP_WHY"
}

# step TITLE COMMAND…: step_run, and a failure is the end, unless STEP_GOES_ON is set. STEP_PREFIX comes before the title;
# STEP_LOG is another log.
step() {
    local title=$1 log=${STEP_LOG:-$RETURNS_HOME/logs/setup.log}
    shift
    step_run "${STEP_PREFIX-}$title" "$log" "$@"
    ((STEP_STATUS == 0)) || cannot "$title failed. The whole log: $log; ./returns doctor looks for what is in the way"
}

log_tail() { if [[ -s $1 ]]; then tail -n "$2" "$1" | cut -c 1-400 | sed 's/^/    /' | plain >&2; fi; }

# PIPE: who read what we say has gone; HUP: the terminal is closed, so there may be nobody to tell.
# shellcheck disable=SC2034 # for the verbs that have more to end
ENDING=(INT TERM HUP QUIT PIPE)
interrupted() {
    trap '' "${ENDING[@]}"
    if [[ $STEP_PID ]]; then
        kill -INT -- "-$STEP_PID" 2>/dev/null || true
        wait "$STEP_PID" 2>/dev/null || true
    fi
    progress_clear || true
    warn "returns: interrupted. What was finished is kept: run ./returns $VERB again to go on" || true
    exit 130
}
trap interrupted "${ENDING[@]}"

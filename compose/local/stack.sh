# The processes of a run, under supervisord: starting, stopping, asking how they are.

supervisor() { supervisorctl -c "$RETURNS_HOME/run/supervisord.conf" "$@"; }

# All that a run starts carries its home in RETURNS_STACK, also what has lost its parent.
stack_processes() { grep -lszxF "RETURNS_STACK=$RETURNS_HOME" /proc/[0-9]*/environ 2>/dev/null | cut -d / -f 3 || true; }

stack_running() {
    local pid
    pid=$(cat "$RETURNS_HOME/run/supervisord.pid" 2>/dev/null) || return 1
    grep -qszxF "RETURNS_STACK=$RETURNS_HOME" "/proc/$pid/environ"
}

stack_must_run() { stack_running || die "nothing is running in $RETURNS_HOME. Start it: ./returns up"; }

# Where each service asks and calls the others.
call_urls() {
    local name comma=''
    for name in "${SERVICES[@]}"; do
        printf '%s' "$comma$name=http://$(service_host):${PORTS[$name]}"
        comma=,
    done
}

# environment NAME: what the process gets, beside what supervisord itself was started with.
environment() {
    case $1 in
    kafka) ;;
    registry)
        grep -v '^#' "$RETURNS_ROOT/compose/local/registry.env"
        say "QUARKUS_HTTP_HOST=127.0.0.1"
        say "QUARKUS_HTTP_PORT=$REGISTRY_PORT"
        say "APICURIO_KAFKASQL_BOOTSTRAP_SERVERS=127.0.0.1:$KAFKA_PORT"
        ;;
    *)
        say "RETURNS_PORT=${PORTS[$1]}"
        printf 'RETURNS_HOST=%q\n' "$RETURNS_HOST"
        printf 'RETURNS_NAMESPACE=%q\n' "$RETURNS_NAMESPACE"
        printf 'RETURNS_DATA_DIR=%q\n' "$RETURNS_HOME/data"
        say "RETURNS_DRILLS=$RETURNS_DRILLS"
        say "RETURNS_COMPARISON=$RETURNS_DRILLS"
        printf 'RETURNS_CALL_URLS=%q\n' "${RETURNS_CALL_URLS:-$(call_urls)}"
        say "RETURNS_KAFKA=127.0.0.1:$KAFKA_PORT"
        say "RETURNS_REGISTRY=http://127.0.0.1:$REGISTRY_PORT/apis/ccompat/v7"
        ;;
    esac
    printf 'RETURNS_PARTS=%q\n' "$(parts_folder)"
}

program() {
    local autostart=true
    if is_stopped "$1"; then autostart=false; fi
    cat <<END

[program:$1]
command=bash "%(ENV_RETURNS_ROOT)s/compose/local/run" $1
directory=%(ENV_RETURNS_HOME)s
autostart=$autostart
autorestart=true
; As running counts what has started at all: then it is started again however soon and however often it ends.
startsecs=0
stopwaitsecs=8
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile=%(here)s/../logs/$1.log
stdout_logfile_maxbytes=20MB
stdout_logfile_backups=1
END
}

stack_configure() {
    local name run=$RETURNS_HOME/run
    mkdir -p "$run/tmp"
    settings_write
    {
        cat "$RETURNS_ROOT/compose/local/server.properties"
        say "listeners=PLAINTEXT://127.0.0.1:$KAFKA_PORT,CONTROLLER://127.0.0.1:$KAFKA_CONTROLLER_PORT"
        say "controller.quorum.voters=1@127.0.0.1:$KAFKA_CONTROLLER_PORT"
    } >"$run/kafka.properties"
    for name in "${PROCESSES[@]}"; do environment "$name" >"$run/$name.env"; done
    {
        cat "$RETURNS_ROOT/compose/local/supervisord.conf"
        for name in "${PROCESSES[@]}"; do program "$name"; done
    } >"$run/supervisord.conf.new"
    mv "$run/supervisord.conf.new" "$run/supervisord.conf"
}

# --- Ports

# port_holder PORT: prints "nginx (pid 123)"; fails when nobody listens there.
port_holder() {
    local line
    line=$(ss -Hltnp "sport = :$1" | head -n 1)
    [[ $line ]] || return 1
    if [[ $line =~ \(\(\"([^\"]*)\",pid=([0-9]+) ]]; then
        say "${BASH_REMATCH[1]} (pid ${BASH_REMATCH[2]})"
    else
        say "a process of another user"
    fi
}

# ports_check: prints what is in the way, a line each; fails when there is something.
ports_check() {
    local name setting port holder first last bad=0
    local -A seen=()
    read -r first last </proc/sys/net/ipv4/ip_local_port_range
    for setting in KAFKA_CONTROLLER_PORT $(for name in "${PROCESSES[@]}"; do setting_of "$name"; done); do
        port=${!setting}
        if [[ ${seen[$port]-} ]]; then
            say "$setting=$port is ${seen[$port]} too. Choose another: $setting=$((port + 100)) ./returns up"
            bad=1
        elif holder=$(port_holder "$port"); then
            say "port $port is held by $holder. End that, or move us: $setting=$((port < 65000 ? port + 100 : port - 100)) ./returns up"
            bad=1
        fi
        seen[$port]=$setting
        if ((port >= first && port <= last)); then
            warn "returns: $setting=$port is one of the ports ($first to $last) that the system lends to outgoing connections, so it may be taken when it is needed; better is one below $first"
        fi
    done
    return $bad
}

# --- Starting and stopping

stack_start() {
    local tries=0
    rm -f "$RETURNS_HOME"/run/*.starts
    # 9 is the lock, which must not live as long as the stack.
    RETURNS_STACK=$RETURNS_HOME supervisord -c "$RETURNS_HOME/run/supervisord.conf" 9>&- </dev/null >"$RETURNS_HOME/logs/setup.log" 2>&1 || {
        log_tail "$RETURNS_HOME/logs/setup.log" 10
        die "could not start supervisord; its log: $RETURNS_HOME/logs/supervisord.log"
    }
    until stack_running && [[ -S $RETURNS_HOME/run/supervisor.sock ]]; do
        ((++tries < 100)) || die "supervisord does not answer; its log: $RETURNS_HOME/logs/supervisord.log"
        sleep 0.1
    done
}

# runs_old NAME: its program was replaced since it was started, by this call or by one that was ended.
runs_old() {
    local pid
    pid=$(supervisor pid "$1" || true)
    [[ $(readlink "/proc/$pid/exe" 2>/dev/null) == "$RETURNS_HOME/bin/$1 (deleted)" ]]
}

# Those that came or went since the stack was started, those whose program is another now, and those that do not run though
# nobody stopped them: a verb that was about to start one was ended.
stack_update() {
    local name known ended
    known=$(supervisor avail | awk '{print $1}')
    ended=$(supervisor status | awk '$2 ~ /^(STOPPED|EXITED|FATAL)$/ {print $1}' || true)
    for name in $known; do
        [[ " ${PROCESSES[*]} " == *" $name "* ]] || { supervisor stop "$name" && supervisor remove "$name"; } >&2
    done
    for name in "${PROCESSES[@]}"; do
        if ! grep -qxF "$name" <<<"$known"; then
            supervisor reread >/dev/null
            supervisor add "$name"
            UPDATED+=("$name (new)")
        elif runs_old "$name" && ! is_stopped "$name"; then
            supervisor restart "$name" >/dev/null
            UPDATED+=("$name (rebuilt)")
        elif grep -qxF "$name" <<<"$ended" && ! is_stopped "$name"; then
            supervisor start "$name" >/dev/null
            UPDATED+=("$name (did not run)")
        fi
    done
}

# sweep SIGNAL: to all that is left of the run.
sweep() {
    local pids
    read -ra pids -d '' < <(stack_processes) || true
    if ((${#pids[@]})); then kill "-$1" "${pids[@]}" 2>/dev/null || true; fi
}

# wait_gone SECONDS: until nothing of the run is left.
wait_gone() {
    local until=$((SECONDS + $1))
    while [[ $(stack_processes) ]]; do
        ((SECONDS < until)) || return 1
        sleep 0.1
    done
}

# `stop all` stops them at the same time; supervisord by itself would stop one after the other.
stack_down() {
    if stack_running; then
        supervisor stop all >"$RETURNS_HOME/logs/setup.log" 2>&1 || true
        kill "$(cat "$RETURNS_HOME/run/supervisord.pid")" 2>/dev/null || true
        wait_gone 20 || true
    fi
    sweep TERM
    wait_gone 5 || sweep KILL
    wait_gone 5 || die "could not end: $(stack_processes | tr '\n' ' ')"
    rm -f "$RETURNS_HOME"/run/supervisor*.pid "$RETURNS_HOME"/run/supervisor.sock* "$RETURNS_HOME"/run/*.stopped
}

# --- How they are

fetch() { curl -fsS -m 2 --noproxy '*' "$@" 2>/dev/null; }
service_host() { if [[ $RETURNS_HOST == 0.0.0.0 ]]; then say 127.0.0.1; else say "$RETURNS_HOST"; fi; }
# For people: localhost, unless they listen elsewhere.
address() {
    local host=$RETURNS_HOST
    case $host in 127.0.0.1 | 0.0.0.0) host=localhost ;; esac
    case $1 in
    kafka) say "127.0.0.1:$KAFKA_PORT" ;;
    registry) say "http://localhost:$REGISTRY_PORT/apis/ccompat/v7" ;;
    *) say "http://$host:${PORTS[$1]}/" ;;
    esac
}

# json_texts NAME: the strings of that array in the JSON on standard input, a line each.
json_texts() {
    LC_ALL=C sed -nE "s/.*\"$1\": *\\[((\"([^\"\\]|\\\\.)*\"[, ]*)*)\\].*/\1/p" | LC_ALL=C grep -aoE '"([^"\]|\\.)*"' | LC_ALL=C sed -E 's/^"(.*)"$/\1/; s/\\(["\\])/\1/g'
}

in_one_line() { awk 'NR > 1 {printf "; "} {printf "%s", $0}'; }

# readiness NAME: prints "ready", "starting", or all that the service says that it waits for, or that failed.
readiness() {
    local answer waiting
    case $1 in
    kafka) if timeout 3 kcat -b "127.0.0.1:$KAFKA_PORT" -L -m 2 >/dev/null 2>&1; then say ready; else say starting; fi ;;
    registry) if fetch -o /dev/null "http://127.0.0.1:$REGISTRY_PORT/apis/ccompat/v7/subjects"; then say ready; else say starting; fi ;;
    *)
        answer=$(curl -sS -m 2 --noproxy '*' -w '\n%{http_code}' "http://$(service_host):${PORTS[$1]}/readyz?verbose" 2>/dev/null) || answer=
        if [[ ${answer##*$'\n'} != 200 ]]; then
            waiting=$(sed -n 's/^\[-\]//p' <<<"$answer" | in_one_line)
            say "${waiting:-starting}"
        elif ! answer=$(fetch "http://$(service_host):${PORTS[$1]}/api/status"); then
            say "gives no status"
        else
            waiting=$(json_texts waiting_for <<<"$answer" | in_one_line) || true
            say "${waiting:-ready}"
        fi
        ;;
    esac
}

is_stopped() { [[ -e $RETURNS_HOME/run/$1.stopped ]]; }

# Sets LATE to the names of those that are not ready, and WHY to what each said. Left out is what was ready before and
# what was stopped by hand; when that is Kafka or the registry, nobody can be waited for to be connected.
declare -A IS_READY=() WHY=()
readiness_all() {
    local name state
    LATE=()
    for name in "${PROCESSES[@]}"; do
        if [[ ${IS_READY[$name]-} ]] || is_stopped "$name"; then continue; fi
        state=$(readiness "$name")
        if [[ $state != starting ]] && { is_stopped kafka || is_stopped registry; }; then state=ready; fi
        if [[ $state == ready ]]; then IS_READY[$name]=1; else LATE+=("$name"); fi
        WHY[$name]=$state
    done
}

stack_starts() { (cut -d ' ' -f 1 "$RETURNS_HOME/run/$1.starts" 2>/dev/null || say 0) | head -n 1; }

# log_lines NAME: how many different lines its log has, whatever the numbers in them: one that says the same again and again
# does not get on.
log_lines() { { tail -c 1000000 "$RETURNS_HOME/logs/$1.log" 2>/dev/null || true; } | sed 's/[0-9a-f]*[0-9][0-9a-f]*//g' | sort -u | wc -l; }

# stack_progress: succeeds when there is any since the last time: of those that are waited for one got ready, says that it
# waits for something else, or logs something new.
declare -A PROGRESS_SEEN=()
stack_progress() {
    local name fact new=1
    for name in "${LATE[@]}"; do
        for fact in "${#LATE[@]} are late" "$name: ${WHY[$name]//[0-9]/}" "$name has logged $(log_lines "$name")"; do
            if [[ ! ${PROGRESS_SEEN[$fact]-} ]]; then new=0 PROGRESS_SEEN[$fact]=1; fi
        done
    done
    return $new
}

# Ends where a service is held (services/chassis/events/history.h): it waits for a command, which it names, and for nothing else.
stack_held() {
    local name held=()
    for name in "${LATE[@]}"; do
        if [[ ${WHY[$name]} == *'history failed: '* ]]; then held+=("$name"); fi
    done
    if ((${#held[@]} == 0)); then return; fi
    progress_clear
    for name in "${held[@]}"; do warn "$name: ${WHY[$name]}"; done
    die "not waited for: ${held[*]}. Then ./returns up again. The rest runs on; ./returns status shows how all are"
}

# stack_wait TITLE SECONDS: until all are ready. Gives up after so long without progress, when one ends again and again, and
# when one is held.
stack_wait() {
    local title=$1 limit=$2 began=$SECONDS late name starts shown='' looked=-1 moved=$SECONDS
    local -A before=() # starts that somebody asked for, or that were long ago
    IS_READY=() PROGRESS_SEEN=()
    for name in "${PROCESSES[@]}"; do before[$name]=$(stack_starts "$name"); done
    progress_begin "$title"
    while readiness_all && ((${#LATE[@]})); do
        late=$(printf ', %s' "${LATE[@]}")
        if [[ ! -t 1 && $late != "$shown" ]]; then say "  waiting for ${late:2}"; fi
        shown=$late
        progress "$title: waiting for ${late:2}" $((SECONDS - began))
        for name in "${LATE[@]}"; do
            starts=$(($(stack_starts "$name") - before[$name]))
            ((starts < 5)) || stack_failed "$name ended, and was started again $starts times"
        done
        stack_held
        if ((SECONDS != looked)) && looked=$SECONDS && stack_progress; then moved=$SECONDS; fi
        ((SECONDS - moved < limit)) || stack_failed "not ready after $((SECONDS - began)) s, and no progress in the last $limit s: ${late:2}"
        sleep 0.1
    done
    progress_end "$title" $((SECONDS - began))
}

# Shows the log of the one that the others wait for.
stack_failed() {
    local name
    progress_clear
    warn "returns: $1"
    for name in "${LATE[@]}"; do [[ ${WHY[$name]} == starting ]] || warn "  $name: ${WHY[$name]}"; done
    warn "The last lines of the log of ${LATE[0]}:"
    log_tail "$RETURNS_HOME/logs/${LATE[0]}.log" 15
    die "to see more: ./returns logs ${LATE[0]}. The rest runs on; ./returns status shows how all are, ./returns down stops them"
}

stack_table() {
    local name
    say
    for name in "${SERVICES[@]}"; do
        printf '  %-14s %-30s audit  %s\n' "$name" "$(address "$name")" "$(address "$name")audit"
    done
    printf '  %-14s %s\n' registry "$(address registry)" Kafka "$(address kafka)"
    say
}

# shellcheck shell=bash
# Services that join or leave: their names, ports, files and line in CMakeLists.txt.

# What CMake, supervisord or the folders have for themselves.
NAMES_TAKEN=' all chassis clean depend drill fuzzers help history house install kafka kafka-controller m package preinstall
    registry returns schema schemas supervisor supervisord test tools uninstall version '
NAME_LENGTH=40
FIRST_PORT=8005

# declared NAME: prints the port in its line; fails where there is none.
declared() { sed -nE "s/^service\($1 +([0-9]+)\).*/\1/p" "$RETURNS_ROOT/CMakeLists.txt" | grep .; }

name_check() {
    [[ $1 =~ ^[a-z][a-z0-9-]*$ ]] ||
        die_usage "\"$1\": is no name for a service. Take small letters, digits and -, beginning with a letter, such as legal"
    ((${#1} <= NAME_LENGTH)) || die_usage "\"$1\": ${#1} characters are too long for a name; $NAME_LENGTH at most"
    [[ ! $NAMES_TAKEN =~ [[:space:]]$1[[:space:]] ]] || die_usage "\"$1\": this name is taken by a part of the whole. Take another"
}

# The same, for one that is not there yet.
name_free() {
    [[ ! -d schemas/$1 ]] || die_usage "\"$1\": schemas/$1 is there, so somebody publishes events by this name. Take another, or move that folder away"
    [[ ! -e services/$1 || -f services/$1/$1.c ]] || die_usage "\"$1\": services/$1 is there, and is no service. Take another name, or move that folder away"
}

# port_taken PORT NAME: prints by what, so that NAME cannot have it; fails when nothing is in the way.
port_taken() {
    local other
    while read -r other; do
        if [[ ${other%% *} == "$2" || ${other##* } != "$1" ]]; then continue; fi
        say "${other%% *}'s"
        return
    done < <(sed -nE 's/^service\(([a-z][a-z0-9-]*) +([0-9]+)\).*/\1 \2/p' CMakeLists.txt
        for other in "${PROCESSES[@]}"; do say "$other ${PORTS[$other]}"; done
        say "kafka 9092 kafka-controller 9093 registry 8081 kafka-controller $KAFKA_CONTROLLER_PORT" | xargs -n 2)
    if other=$(port_holder "$1"); then say "held by $other"; else return 1; fi
}

port_check() {
    local taken
    if [[ ! $1 =~ ^[0-9]{1,5}$ ]] || ((10#$1 < 1 || 10#$1 > 65535)); then
        die_usage "--port \"$1\": must be a port, a number from 1 to 65535"
    fi
    if taken=$(port_taken "$((10#$1))" "$2"); then die_usage "--port $1: is $taken. The next free one is $(port_next "$2")"; fi
}

# The next free one from FIRST_PORT on.
port_next() {
    local port=$FIRST_PORT
    while port_taken "$port" "$1" >/dev/null; do port=$((port + 1)); done
    say "$port"
}

# files_make NAME PORT TYPES IN_MEMORY: the folder appears whole, or not at all.
files_make() {
    local new=$RETURNS_ROOT/build/new/$1
    rm -rf "$new"
    mkdir -p "$new"
    "$TOOL" new "$1" "$new" "$2" "$3" "$4" || die "nothing was made, because of the above"
    mv -T "$new" "services/$1"
}

# lines_edit PROGRAM [VARIABLE=VALUE…]: awk's, over CMakeLists.txt, which is changed at once or not at all.
lines_edit() {
    local program=$1 new=$RETURNS_ROOT/build/new/CMakeLists.txt variables=()
    shift
    for variable in "$@"; do variables+=(-v "$variable"); done
    mkdir -p "$RETURNS_ROOT/build/new"
    cp -p CMakeLists.txt "$new"
    awk "${variables[@]}" "$program" CMakeLists.txt >"$new"
    mv "$new" CMakeLists.txt
}

# After the last one that is there.
# shellcheck disable=SC2016 # awk's own variables
line_add() {
    lines_edit '{lines[NR] = $0} /^service\(/ {last = NR}
        END {for (i = 1; i <= NR; i++) {print lines[i]; if (i == last) print "service(" name " " port ")"}}' "name=$1" "port=$2"
}

# shellcheck disable=SC2016
line_remove() { lines_edit 'index($0, "service(" name " ") != 1' "name=$1"; }

# service_join NAME: into the running stack, beside what runs.
service_join() {
    programs_install "$1"
    rm -f "$RETURNS_HOME/run/$1".{stopped,starts}
    stack_configure
    supervisor reread >/dev/null
    if ! supervisor add "$1" >/dev/null; then die "could not start $1; the log of process control: $RETURNS_HOME/logs/supervisord.log"; fi
}

# service_wait NAME: until it is ready, whatever the others are.
service_wait() {
    # shellcheck disable=SC2034 # read by stack_wait
    local PROCESSES=("$1")
    stack_wait "Waiting until $1 is ready" "${RETURNS_WAIT:-120}"
}

is_supervised() {
    local state
    state=$(supervisor status "$1") || true
    [[ $state == "$1 "* ]]
}

# service_leave NAME: out of the stack, beside what runs.
service_leave() {
    if stack_running && is_supervised "$1"; then
        supervisor stop "$1" >/dev/null || true
        supervisor remove "$1" >/dev/null
    fi
    rm -f "$RETURNS_HOME/run/$1".{env,starts,stopped} "$RETURNS_HOME/bin/$1" "build/release/bin/$1"
}

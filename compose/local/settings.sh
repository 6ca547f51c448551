# shellcheck shell=bash disable=SC2164 # errors end the program
# The settings that describe a run, and the services that CMakeLists.txt declares. The defaults are the demo's; another
# home and other ports make a second stack beside it.

SERVICES=()      # in the order of CMakeLists.txt
PROCESSES=()     # kafka, registry and the services
declare -A PORTS # of each process

# setting_of NAME: the setting that moves its port; fraud-check gives FRAUD_CHECK_PORT.
setting_of() {
    local name=${1^^}
    say "${name//-/_}_PORT"
}

settings_names() {
    local name
    say RETURNS_NAMESPACE
    say RETURNS_HOST
    say RETURNS_DRILLS
    say RETURNS_EXAMPLES
    say KAFKA_CONTROLLER_PORT
    for name in "${PROCESSES[@]}"; do setting_of "$name"; done
}

settings_port() {
    local setting=$1 default=$2 value
    value=${!setting:-$default}
    if [[ ! $value =~ ^[0-9]{1,5}$ ]] || ((10#$value < 1 || 10#$value > 65535)); then
        die_usage "$setting=\"$value\": must be a port, a number from 1 to 65535"
    fi
    printf -v "$setting" '%s' "$((10#$value))"
    export "${setting?}"
}

# What a running stack was started with wins over the environment, so that every later verb needs only RETURNS_HOME.
# SETTINGS_IGNORED: the settings of the environment that say otherwise.
settings_running() {
    local line setting value
    SETTINGS_IGNORED=()
    [[ -f $RETURNS_HOME/run/settings ]] && stack_running || return 0
    while IFS= read -r line; do
        setting=${line%%=*} value=${line#*=}
        if [[ -n ${!setting:-} && ${!setting} != "$value" ]]; then
            SETTINGS_IGNORED+=("$setting=${!setting} (it runs with $setting=$value)")
        fi
        printf -v "$setting" '%s' "$value"
    done <"$RETURNS_HOME/run/settings"
}

settings_services() {
    local name port
    SERVICES=() PROCESSES=(kafka registry) PORTS=([kafka]=9092 [registry]=8081)
    while read -r name port; do
        SERVICES+=("$name")
        PORTS[$name]=$port
    done < <(sed -nE 's/^service\(([a-z][a-z0-9-]*) +([0-9]+)\).*/\1 \2/p' "$RETURNS_ROOT/CMakeLists.txt")
    ((${#SERVICES[@]})) || die "CMakeLists.txt declares no service: a line such as service(support 8000) is missing"
    PROCESSES+=("${SERVICES[@]}")
}

settings_read() {
    local name setting folder
    RETURNS_HOME=$(realpath -m "${RETURNS_HOME:-$RETURNS_ROOT/var}")
    RETURNS_JAVA=$(realpath -m "${RETURNS_JAVA:-$RETURNS_ROOT/var/java}")
    for folder in "$RETURNS_HOME" "$RETURNS_ROOT"; do # supervisord reads these in names of its own
        [[ $folder != *[%\"\'\\]* ]] || die_usage "the folder $folder: its name may hold no %, quote or backslash. Choose another one: RETURNS_HOME=…"
    done
    # A Unix socket lies in it, whose whole name the system limits to 107 characters.
    ((${#RETURNS_HOME} <= 70)) || die_usage "RETURNS_HOME=\"$RETURNS_HOME\": ${#RETURNS_HOME} characters are too long; 70 at most"
    settings_services
    settings_running
    settings_port KAFKA_CONTROLLER_PORT 9093
    for name in "${PROCESSES[@]}"; do
        setting=$(setting_of "$name")
        settings_port "$setting" "${PORTS[$name]}"
        PORTS[$name]=${!setting}
    done
    RETURNS_NAMESPACE=${RETURNS_NAMESPACE:-} RETURNS_HOST=${RETURNS_HOST:-127.0.0.1} RETURNS_DRILLS=${RETURNS_DRILLS:-1}
    RETURNS_EXAMPLES=${RETURNS_EXAMPLES:-1}
    for setting in RETURNS_DRILLS RETURNS_EXAMPLES; do
        [[ ${!setting} == [01] ]] || die_usage "$setting=\"${!setting}\": must be 0 or 1"
    done
    # As the services have them, which would not start with another one.
    [[ $RETURNS_HOST =~ ^[0-9]{1,3}(\.[0-9]{1,3}){3}$ ]] ||
        die_usage "RETURNS_HOST=\"$RETURNS_HOST\": must be an IPv4 address, such as 127.0.0.1, or 0.0.0.0 for all of this machine"
    [[ $RETURNS_NAMESPACE =~ ^[a-z0-9-]{0,40}$ ]] ||
        die_usage "RETURNS_NAMESPACE=\"$RETURNS_NAMESPACE\": may hold only a-z, 0-9 and -, 40 at most"
    [[ ${RETURNS_WAIT:=120} =~ ^[0-9]{1,6}$ ]] || die_usage "RETURNS_WAIT=\"$RETURNS_WAIT\": must be a number of seconds, such as 120"
    export RETURNS_ROOT RETURNS_HOME RETURNS_JAVA RETURNS_NAMESPACE RETURNS_HOST RETURNS_DRILLS
    cd "$RETURNS_ROOT"
}

settings_write() {
    local setting
    for setting in $(settings_names); do say "$setting=${!setting}"; done >"$RETURNS_HOME/run/settings.new"
    mv "$RETURNS_HOME/run/settings.new" "$RETURNS_HOME/run/settings"
}

# is_process NAME: ends the program unless it is one of ours.
process_check() {
    local name
    for name in "${PROCESSES[@]}"; do
        if [[ $name == "$1" ]]; then return; fi
    done
    die_usage "\"$1\": no such service. There are: ${PROCESSES[*]}"
}

# One verb at a time changes a run. The lock is held until this process and its steps have ended, however they end.
lock_take() {
    mkdir -p "$RETURNS_HOME/run" "$RETURNS_HOME/logs" "$RETURNS_HOME/data" "$RETURNS_HOME/bin" ||
        die "could not make folders in $RETURNS_HOME: choose a folder that you may write, such as RETURNS_HOME=/tmp/returns"
    exec 9>>"$RETURNS_HOME/run/lock"
    if ! flock -n 9; then
        say "Waiting for $(cat "$RETURNS_HOME/run/lock.holder" 2>/dev/null || say "another ./returns") to finish in $RETURNS_HOME"
        flock 9
    fi
    say "./returns $VERB (pid $$)" >"$RETURNS_HOME/run/lock.holder"
}

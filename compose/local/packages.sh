# Debian's packages: which to take, what is missing, and installing it.

# One word is a package; a|b|c is whichever of them is installed, else the first that apt can install: names differ between
# releases. CLANG stands for the version that the package clang is of. civetweb, the server itself: the CMake package of
# libcivetweb-dev is not found without it.
# shellcheck disable=SC2034 # for the verbs
PACKAGES_RUN=(gcc libc6-dev cmake ninja-build pkg-config librdkafka-dev libavro-dev libcivetweb-dev civetweb
    libsqlite3-dev libcurl4-openssl-dev libjansson-dev libssl-dev zlib1g-dev
    'openjdk-21-jre-headless|openjdk-25-jre-headless|openjdk-17-jre-headless' maven supervisor
    ca-certificates curl procps iproute2 kcat)
# shellcheck disable=SC2034
PACKAGES_TEST=(libcmocka-dev python3-venv chromium fonts-dejavu-core shellcheck git)
# shellcheck disable=SC2034
PACKAGES_FUZZ=(clang libclang-rt-CLANG-dev)

packages_installed() {
    dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' "$@" 2>/dev/null | sed -n 's/^ii *//p' | sort -u || true
}

# packages_candidates NAME…: prints those that apt can install, a line each.
packages_candidates() {
    LC_ALL=C apt-cache policy "$@" 2>/dev/null | awk '/^[^ ]/ {name = $1; sub(/:$/, "", name)} /^  Candidate: [^(]/ {print name}' || true
}

packages_clang() { LC_ALL=C apt-cache depends clang 2>/dev/null | sed -nE 's/.*Depends: clang-([0-9]+)$/\1/p' | head -n 1 || true; }

# packages_choose WORD…: sets CHOSEN to one package for each of PACKAGES_RUN's words, and MISSING to those not installed.
packages_choose() {
    local word name installed candidates clang=''
    local -a names
    CHOSEN=() MISSING=()
    if [[ $* == *CLANG* ]]; then clang=$(packages_clang); fi
    read -ra names -d '' <<<"${*//CLANG/$clang}" || true
    read -ra names -d '' <<<"${names[*]//|/ }" || true
    installed=$'\n'$(packages_installed "${names[@]}")$'\n'
    candidates=$'\n'$([[ $* != *'|'* ]] || packages_candidates "${names[@]}")$'\n'
    for word in "$@"; do
        IFS='|' read -ra names <<<"${word//CLANG/$clang}"
        word=${names[0]}
        for name in "${names[@]}"; do
            if [[ $installed == *$'\n'"$name"$'\n'* ]]; then word=$name && break; fi
            if [[ $candidates != *$'\n'"$word"$'\n'* && $candidates == *$'\n'"$name"$'\n'* ]]; then word=$name; fi
        done
        CHOSEN+=("$word")
        if [[ $installed != *$'\n'"$word"$'\n'* ]]; then MISSING+=("$word"); fi
    done
}

packages_line() { say "apt-get update && apt-get install -y --no-install-recommends $*"; }

# apt_patiently COMMAND…: as long as another program, such as Debian's own upgrades, holds a lock, for five minutes at most.
apt_patiently() {
    local said until=$((SECONDS + 300))
    until said=$("$@" 2>&1); do
        say "$said"
        [[ $said =~ (lock-frontend|/lock|another process) ]] && ((SECONDS < until)) || return 1
        sleep 2
    done
    say "$said"
}

# packages_apt WORD…: what is to be taken is known only when apt knows what there is.
packages_apt() {
    local as=()
    if ((EUID != 0)); then as=(sudo -n); fi
    # Of a run that was cut short
    apt_patiently "${as[@]}" dpkg --configure -a --force-confdef
    apt_patiently "${as[@]}" apt-get update -q
    packages_choose "$@"
    # RUNLEVEL: without it a machine that has no init system would start supervisor's own daemon, which nobody asked for.
    "${as[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 "${MISSING[@]}"
}

# packages_need WORD…: installs what is missing.
packages_need() {
    if ! command -v dpkg-query >/dev/null; then
        warn "This is not Debian, so its packages cannot be checked. Needed are the equals of: $*"
        return
    fi
    packages_choose "$@"
    ((${#MISSING[@]})) || return 0
    if ((EUID != 0)); then
        if ! command -v sudo >/dev/null || ! { sudo -n true 2>/dev/null || sudo -v; }; then
            cannot "${#MISSING[@]} packages are missing, and only root can install them. As root, run:
    $(packages_line "${MISSING[@]}")"
            return
        fi
    fi
    step "Installing ${#MISSING[@]} Debian packages" packages_apt "$@"
}

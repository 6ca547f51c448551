# Debian's packages: what is missing, and installing it.

# civetweb, the server itself: the CMake package of libcivetweb-dev is not found without it.
# shellcheck disable=SC2034 # for the verbs
PACKAGES_RUN=(gcc libc6-dev cmake ninja-build pkg-config librdkafka-dev libavro-dev libcivetweb-dev civetweb
    libsqlite3-dev libcurl4-openssl-dev libjansson-dev libssl-dev zlib1g-dev openjdk-17-jre-headless maven supervisor
    ca-certificates curl procps iproute2 kcat)
# shellcheck disable=SC2034
PACKAGES_TEST=(clang clang-format libclang-rt-14-dev libcmocka-dev python3-venv chromium fonts-dejavu-core shellcheck)

# packages_missing NAME…: prints those that are not installed, on one line.
packages_missing() {
    local installed name missing=()
    installed=$(dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' "$@" 2>/dev/null | sed -n 's/^ii *//p' || true)
    for name in "$@"; do
        grep -qxF "$name" <<<"$installed" || missing+=("$name")
    done
    say "${missing[*]}"
}

packages_line() { say "apt-get update && apt-get install -y --no-install-recommends $*"; }

packages_apt() {
    local as=()
    if ((EUID != 0)); then as=(sudo -n); fi
    # Of a run that was cut short
    "${as[@]}" dpkg --configure -a --force-confdef
    "${as[@]}" apt-get update -q
    # RUNLEVEL: without it a machine that has no init system would start supervisor's own daemon, which nobody asked for.
    "${as[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"
}

# packages_need NAME…: installs what is missing.
packages_need() {
    local missing
    if ! command -v dpkg-query >/dev/null; then
        warn "This is not Debian, so its packages cannot be checked. Needed are the equals of: $*"
        return
    fi
    read -ra missing <<<"$(packages_missing "$@")"
    ((${#missing[@]})) || return 0
    if ((EUID != 0)); then
        if ! command -v sudo >/dev/null || ! sudo -v; then
            die "${#missing[@]} packages are missing, and only root can install them. As root, run:
    $(packages_line "${missing[@]}")"
        fi
    fi
    step "Installing ${#missing[@]} Debian packages" packages_apt "${missing[@]}"
}

# shellcheck shell=bash disable=SC2034 # the verbs read what is set here
# Asking a running service to do something.

ANSWER='' ANSWER_STATUS=''

service_check() {
    local name
    for name in "${SERVICES[@]}"; do
        if [[ $name == "$1" ]]; then return; fi
    done
    die_usage "\"$1\": no such service. There are: ${SERVICES[*]}"
}

# service_post NAME PATH BODY TYPE: sets ANSWER and ANSWER_STATUS.
service_post() {
    local url answer
    url=http://$(service_host):${PORTS[$1]}
    answer=$(curl -sS -m 300 --noproxy '*' -w '\n%{http_code}' -H "Content-Type: $4" --data-binary "$3" "$url$2") ||
        die "$1 does not answer at $url. Is it up? ./returns status"
    ANSWER_STATUS=${answer##*$'\n'} ANSWER=${answer%$'\n'*}
}

# Of ANSWER's own members, which come before those of nested ones or have other names; nothing where it is null.
answer_text() {
    local text
    text=$(sed -nE "s/.*\"$1\": *\"(([^\"\\\\]|\\\\.)*)\".*/\1/p" <<<"$ANSWER")
    text=${text//\\\"/\"}
    say "${text//\\\\/\\}"
}
answer_number() { sed -nE "s/.*\"$1\": *([0-9]+).*/\1/p" <<<"$ANSWER"; }

# shellcheck shell=bash
# Companies and orders to begin with: those that the form's examples (services/support/form/examples.c) are of.
# Beside containers: bash compose/local/examples.sh http://localhost:8001

EXAMPLES_ITEMS=60 # of each order; as services/support/form/examples.c has it

# examples_post URL BODY [HEADER]: succeeds when it was taken, or was there already. Sets EXAMPLES_STATUS, and else EXAMPLES_WHY.
examples_post() {
    EXAMPLES_STATUS=$(curl -sS -m 5 --noproxy '*' -o /dev/null -w '%{http_code}' -H 'Content-Type: application/json' \
        ${3:+-H "$3"} --data-binary "$2" "$1") && [[ $EXAMPLES_STATUS == 20[01] || $EXAMPLES_STATUS == 409 ]] && return
    EXAMPLES_WHY="POST $1 had the HTTP status $EXAMPLES_STATUS"
    return 1
}

# examples_order URL CUSTOMER NAME LOCATION ORDER SHIPMENT MODEL AMOUNT CURRENCY: what is missing of it, also where an earlier
# call was cut short. What people made of it since is left as it is.
examples_order() {
    local items='' i serial order
    order=$(curl -sS -m 5 --noproxy '*' -w '\n%{http_code}' "$1/api/orders/$5") || true
    case $order in
    *$'\n'404)
        for ((i = 1; i <= EXAMPLES_ITEMS; i++)); do
            printf -v serial 'SN-%s-%02d' "${5#ORD-}" "$i"
            items+=",{\"model\":\"$7\",\"price\":{\"amount\":\"$8\",\"currency\":\"$9\"},\"serial_number\":\"$serial\"}"
        done
        examples_post "$1/api/customers" "{\"customer_id\":\"$2\",\"name\":\"$3\",\"location\":\"$4\"}" || return 1
        examples_post "$1/api/orders" "{\"order_id\":\"$5\",\"customer_id\":\"$2\",\"shipment_id\":\"$6\",\"items\":[${items:1}]}" || return 1
        ;;
    *$'\n'200) [[ $order =~ \"version\":\ *1, && $order =~ \"state\":\ *\"placed\" ]] || return 0 ;;
    *)
        EXAMPLES_WHY="GET $1/api/orders/$5 had the HTTP status ${order##*$'\n'}"
        return 1
        ;;
    esac
    examples_post "$1/api/orders/$5/complete" '{}' 'If-Match: "1"' || return 1
    EXAMPLES_PLACED=$((EXAMPLES_PLACED + 1))
}

# examples_place URL: fails when sales does not have them all then, and sets EXAMPLES_WHY. EXAMPLES_PLACED: how many it lacked.
examples_place() {
    EXAMPLES_PLACED=0 EXAMPLES_WHY=''
    examples_order "$1" C-1029 'Spandauer Werkstätten GmbH' Berlin ORD-20481 SHP-7730 'Aurora 14 laptop' 149.90 EUR &&
        examples_order "$1" C-2214 'Imprimerie du Rhône' Lyon ORD-31877 SHP-8124 'Borealis 27 monitor' 312.00 EUR &&
        examples_order "$1" C-3370 'Mazowieckie Biura' Warsaw ORD-40092 SHP-9051 'Comet router' 289.99 PLN &&
        examples_order "$1" C-4481 '淀川電機' '大阪' ORD-52760 SHP-6618 'Dune headset' 18900 JPY &&
        examples_order "$1" C-5902 'مكتبات النيل' 'القاهرة' ORD-61305 SHP-5527 'Ember tablet' 4250.00 EGP &&
        examples_order "$1" C-6153 'Галицькі мережі' 'Львів' ORD-70418 SHP-4439 'Aurora 14 laptop' 12499.00 UAH
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
    url=${1:?name the URL of sales, such as http://localhost:8001}
    if ! examples_place "${url%/}"; then
        echo "Sales does not have all orders of the examples: $EXAMPLES_WHY. This may be repeated." >&2
        exit 1
    fi
    echo "Sales has all orders of the examples; $EXAMPLES_PLACED of them are new or were completed now."
fi

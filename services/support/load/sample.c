#include "support/load/sample.h"

#include "support/load/upstream.h"

#include "chassis/base/ids.h"

#include <stdio.h>

enum { BACK_MOST = 50, BLOCK = 2000 }; /* BLOCK: so many returns are of one order of each company */

/* --- Chance: the k-th number of request n */

static uint64_t chance(const struct sample *s, int64_t n, uint64_t k) {
    uint64_t z = s->seed * 0x9e3779b97f4a7c15u + (uint64_t)n * 0xd1342543de82ef95u + k * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

#define PICK(s, n, k, list) (list)[chance(s, n, k) % (sizeof(list) / sizeof *(list))]

/* --- What is in them */

enum { TEXTS = 4 };
static const struct place {
    const char *company, *cities[3], *currency;
    int rate;     /* roughly what one euro is in it */
    int decimals; /* 0: prices have none */
    const char *reasons[TEXTS];
} places[] = {
    {"Spreewerk GmbH",
     {"Berlin", "Hamburg", "München"},
     "EUR",
     1,
     2,
     {"Der Lüfter läuft ständig, auch im Leerlauf.", "Das Display bleibt schwarz, obwohl die Lampe leuchtet.",
      "Lädt nicht mehr. Ein anderes Netzteil hilft auch nicht.", "Geht nach zehn Minuten von selbst aus."}},
    {"Helvetia Rollmaterial AG",
     {"Zürich", "Bern", "Basel"},
     "CHF",
     1,
     2,
     {"Die Taste «Enter» klemmt.", "Nach dem letzten Update startet das Gerät nicht mehr.",
      "Das Gehäuse war beim Auspacken schon gesprungen.", "Rauscht auf dem linken Kanal."}},
    {"Ateliers du Rhône",
     {"Lyon", "Lille", "Marseille"},
     "EUR",
     1,
     2,
     {"L’écran clignote, puis s’éteint.", "Ne s’allume plus depuis hier soir.",
      "La batterie se vide en une heure, même en veille.", "Livré avec un câble coupé ; le reste n’a pas été ouvert."}},
    {"Wisła Handel",
     {"Warsaw", "Kraków", "Łódź"},
     "PLN",
     4,
     2,
     {"Ekran gaśnie po kilku minutach.", "Nie łączy się z siecią, choć inne urządzenia działają.",
      "Głośno pracuje i się przegrzewa.", "Klawiatura nie reaguje na połowę klawiszy."}},
    {"浪速商会",
     {"大阪", "東京", "札幌"},
     "JPY",
     160,
     0,
     {"電源が入りません。", "画面に縦線が出ます。", "充電できません。ケーブルを替えても同じです。",
      "音が途切れます。"}},
    {"شركة النيل للتجارة",
     {"القاهرة", "الإسكندرية", "الجيزة"},
     "EGP",
     55,
     2,
     {"لا يعمل الجهاز بعد التحديث.", "الشاشة سوداء والصوت يعمل.", "البطارية لا تشحن.", "يسخن كثيرًا ثم ينطفئ."}},
    {"Lusitânia Navegação",
     {"Porto", "Lisboa", "Braga"},
     "EUR",
     1,
     2,
     {"O ecrã não liga.", "Desliga-se sozinho ao fim de meia hora.", "A bateria não carrega.",
      "Faz um ruído estranho quando aquece."}},
    {"Comércio Tietê",
     {"São Paulo", "Recife", "Curitiba"},
     "BRL",
     6,
     2,
     {"A tela pisca e depois apaga.", "Não conecta mais ao Wi-Fi.", "Chegou com o vidro trincado.",
      "O botão de ligar afundou."}},
    {"Øresund Udstyr",
     {"København", "Aarhus", "Odense"},
     "DKK",
     7,
     2,
     {"Skærmen er sort.", "Den går ud af sig selv.", "Batteriet holder kun en time.",
      "Der mangler en skrue i bunden."}},
    {"Αιγαίο Εμπορική",
     {"Αθήνα", "Πάτρα", "Θεσσαλονίκη"},
     "EUR",
     1,
     2,
     {"Η οθόνη μένει μαύρη.", "Δεν φορτίζει.", "Κάνει θόρυβο όταν ζεσταίνεται.", "Σβήνει μόνο του."}},
    {"Ganga Traders",
     {"Mumbai", "दिल्ली", "Chennai"},
     "INR",
     95,
     2,
     {"का बटन अटक गया है।", "स्क्रीन काली रहती है।", "The \"Enter\" key & <Tab> stick 😖",
      "Battery swells; please advise."}},
    {"Northern Mills Ltd",
     {"Leeds", "Glasgow", "Cardiff"},
     "GBP",
     1,
     2,
     {"The screen stays dark.", "It restarts whenever I plug in headphones.",
      "Arrived with somebody else’s name on it.", "Smells of burning after ten minutes. I have unplugged it."}},
};

enum { PLACES = sizeof places / sizeof *places };

/* Models that there is stock of, by what a customer pays for one, in euros. The last is one that nobody keeps. */
static const struct model {
    const char *name;
    int euros;
} models[] = {{"Aurora 14 laptop", 1149},   {"Aurora 14 laptop", 999}, {"Borealis 27 monitor", 349},
              {"Borealis 27 monitor", 329}, {"Comet router", 89},      {"Comet router", 79},
              {"Dune headset", 149},        {"Ember tablet", 429},     {"Фонарь 3", 24}};

static const char *const reason_codes[] = {"DEFECTIVE",  "DEFECTIVE",        "DEFECTIVE", "DAMAGED_IN_TRANSIT",
                                           "WRONG_ITEM", "NOT_AS_DESCRIBED", "OTHER"};

static json_t *money_json(const struct place *p, long long units, int cents) {
    json_t *amount = p->decimals ? json_sprintf("%lld.%02d", units, cents) : json_sprintf("%lld", units);
    return json_pack("{s:o, s:s}", "amount", amount, "currency", p->currency);
}

/* The order that item n is of: each company has one for every so many returns. */
static json_t *order_name(const struct sample *s, const char *prefix, const struct place *p, int64_t n) {
    return json_sprintf("%s-%s-%d-%lld", prefix, s->run, (int)(p - places), (long long)(n / BLOCK));
}

static json_t *serial_name(const struct sample *s, int64_t n) {
    return json_sprintf("SN-%s-%lld-%06lld", s->run, (long long)s->seed, (long long)n);
}

static json_t *customer_name(const struct place *p) {
    return json_sprintf("C-70%02d", (int)(p - places));
}

static enum sample_kind kind_wanted(const struct sample *s, int64_t n) {
    int percent = (int)(chance(s, n, 1) % 100);
    return percent < s->bad ? SAMPLE_BAD : percent < s->bad + s->duplicates ? SAMPLE_DUPLICATE : SAMPLE_GOOD;
}

/* The one whose item a duplicate names, or n itself when there is none before it. */
static int64_t original_of(const struct sample *s, int64_t n) {
    int64_t most = n < BACK_MOST ? n : BACK_MOST;
    for (int64_t back = most ? 1 + (int64_t)(chance(s, n, 2) % (uint64_t)most) : 1; back <= most; back++)
        if (kind_wanted(s, n - back) == SAMPLE_GOOD) return n - back;
    return n;
}

static void body_spoil(const struct sample *s, int64_t n, json_t *body) {
    json_t *cost = json_object_get(body, "cost");
    switch (chance(s, n, 9) % 6) {
    case 0: json_object_del(body, "serial_number"); break;
    case 1: json_object_set_new(cost, "amount", json_string("12,5x")); break;
    case 2: json_object_set_new(cost, "currency", json_string("EURO")); break;
    case 3: json_object_set_new(body, "model", json_string("")); break;
    case 4: json_object_set_new(body, "location", json_string("Ber\nlin")); break;
    default: json_object_set_new(body, "order_id", json_integer(n));
    }
}

/* --- The returns */

void sample_run_name(char run[16]) {
    static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    char reversed[16];
    int n = 0;
    for (int64_t ms = clock_ms(); ms && n < 15; ms /= 36) reversed[n++] = digits[ms % 36];
    for (int i = 0; i < n; i++) run[i] = reversed[n - 1 - i];
    run[n] = '\0';
}

enum sample_kind sample_kind(const struct sample *s, int64_t n) {
    enum sample_kind wanted = kind_wanted(s, n);
    return wanted == SAMPLE_DUPLICATE && original_of(s, n) == n ? SAMPLE_GOOD : wanted;
}

char *sample_text(void *sample, int64_t n) {
    json_auto_t *body = sample_body(sample, n);
    return json_dumps(body, JSON_COMPACT);
}

json_t *sample_body(const struct sample *s, int64_t n) {
    enum sample_kind kind = sample_kind(s, n);
    int64_t item = kind == SAMPLE_DUPLICATE ? original_of(s, n) : n;
    const struct place *p = &PICK(s, item, 3, places);
    const struct model *m = &PICK(s, item, 4, models);
    long long price = (long long)m->euros * p->rate;
    long long cost = price - price * (long long)(chance(s, item, 8) % 40) / 100; /* it has lost worth since */
    json_t *body = json_pack(
        "{s:o, s:s, s:o, s:o, s:s, s:o, s:o, s:s, s:s}", "order_id", order_name(s, "ORD", p, item), "model", m->name,
        "shipment_id", order_name(s, "SHP", p, item), "serial_number", serial_name(s, item), "location",
        PICK(s, n, 5, p->cities), "cost", money_json(p, cost, (int)(chance(s, item, 7) % 100)), "customer_id",
        customer_name(p), "reason_code", PICK(s, n, 10, reason_codes), "reason", PICK(s, n, 6, p->reasons));
    if (kind == SAMPLE_BAD && body) body_spoil(s, n, body);
    return body;
}

/* --- Their orders */

static verdict company_register(const struct place *p, const char *sales_url, struct failure *why) {
    json_auto_t *id = customer_name(p);
    return upstream_customer(sales_url, json_string_value(id), p->company, p->cities[0], why);
}

/* Of returns from … until: those that are of items of that company. */
static verdict order_place(
    const struct sample *s, const char *sales_url, const struct place *p, int64_t from, int64_t until,
    struct failure *why) {
    json_auto_t *id = order_name(s, "ORD", p, from), *shipment = order_name(s, "SHP", p, from);
    json_auto_t *customer = customer_name(p), *items = json_array();
    for (int64_t n = from; n < until; n++) {
        const struct model *m = &PICK(s, n, 4, models);
        if (&PICK(s, n, 3, places) == p && sample_kind(s, n) != SAMPLE_DUPLICATE)
            json_array_append_new(
                items, upstream_item(m->name, money_json(p, (long long)m->euros * p->rate, 99), serial_name(s, n)));
    }
    if (!json_array_size(items)) return OK;
    return upstream_order(
        sales_url, json_string_value(id), json_string_value(customer), json_string_value(shipment), items, why);
}

verdict sample_place(
    const struct sample *s, const char *sales_url, int64_t count, bool (*turn)(void *context, int64_t done),
    void *context, struct failure *why) {
    verdict v = OK;
    for (size_t i = 0; v == OK && i < PLACES; i++) v = company_register(&places[i], sales_url, why);
    for (int64_t n = 0; v == OK && n < count && (!turn || turn(context, n)); n += BLOCK)
        for (size_t i = 0; v == OK && i < PLACES; i++)
            v = order_place(s, sales_url, &places[i], n, n + BLOCK < count ? n + BLOCK : count, why);
    return v;
}

#include "sample.h"

#include "chassis/ids.h"

#include <stdio.h>

enum { BACK_MOST = 50 };

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
    const char *cities[3], *currency;
    int rate;     /* roughly what one euro is in it */
    int decimals; /* 0: prices have none */
    const char *reasons[TEXTS];
} places[] = {
    {{"Berlin", "Hamburg", "München"},
     "EUR",
     1,
     2,
     {"Der Lüfter läuft ständig, auch im Leerlauf.", "Das Display bleibt schwarz, obwohl die Lampe leuchtet.",
      "Lädt nicht mehr. Ein anderes Netzteil hilft auch nicht.", "Geht nach zehn Minuten von selbst aus."}},
    {{"Zürich", "Bern", "Basel"},
     "CHF",
     1,
     2,
     {"Die Taste «Enter» klemmt.", "Nach dem letzten Update startet das Gerät nicht mehr.",
      "Das Gehäuse war beim Auspacken schon gesprungen.", "Rauscht auf dem linken Kanal."}},
    {{"Lyon", "Lille", "Marseille"},
     "EUR",
     1,
     2,
     {"L’écran clignote, puis s’éteint.", "Ne s’allume plus depuis hier soir.",
      "La batterie se vide en une heure, même en veille.", "Livré avec un câble coupé ; le reste n’a pas été ouvert."}},
    {{"Warsaw", "Kraków", "Łódź"},
     "PLN",
     4,
     2,
     {"Ekran gaśnie po kilku minutach.", "Nie łączy się z siecią, choć inne urządzenia działają.",
      "Głośno pracuje i się przegrzewa.", "Klawiatura nie reaguje na połowę klawiszy."}},
    {{"大阪", "東京", "札幌"},
     "JPY",
     160,
     0,
     {"電源が入りません。", "画面に縦線が出ます。", "充電できません。ケーブルを替えても同じです。",
      "音が途切れます。"}},
    {{"القاهرة", "الإسكندرية", "الجيزة"},
     "EGP",
     55,
     2,
     {"لا يعمل الجهاز بعد التحديث.", "الشاشة سوداء والصوت يعمل.", "البطارية لا تشحن.", "يسخن كثيرًا ثم ينطفئ."}},
    {{"Porto", "Lisboa", "Braga"},
     "EUR",
     1,
     2,
     {"O ecrã não liga.", "Desliga-se sozinho ao fim de meia hora.", "A bateria não carrega.",
      "Faz um ruído estranho quando aquece."}},
    {{"São Paulo", "Recife", "Curitiba"},
     "BRL",
     6,
     2,
     {"A tela pisca e depois apaga.", "Não conecta mais ao Wi-Fi.", "Chegou com o vidro trincado.",
      "O botão de ligar afundou."}},
    {{"København", "Aarhus", "Odense"},
     "DKK",
     7,
     2,
     {"Skærmen er sort.", "Den går ud af sig selv.", "Batteriet holder kun en time.",
      "Der mangler en skrue i bunden."}},
    {{"Αθήνα", "Πάτρα", "Θεσσαλονίκη"},
     "EUR",
     1,
     2,
     {"Η οθόνη μένει μαύρη.", "Δεν φορτίζει.", "Κάνει θόρυβο όταν ζεσταίνεται.", "Σβήνει μόνο του."}},
    {{"Mumbai", "दिल्ली", "Chennai"},
     "INR",
     95,
     2,
     {"का बटन अटक गया है।", "स्क्रीन काली रहती है।", "The \"Enter\" key & <Tab> stick 😖",
      "Battery swells; please advise."}},
    {{"Leeds", "Glasgow", "Cardiff"},
     "GBP",
     1,
     2,
     {"The screen stays dark.", "It restarts whenever I plug in headphones.",
      "Arrived with somebody else’s name on it.", "Smells of burning after ten minutes. I have unplugged it."}},
};

/* Models that there is stock of, by what a customer pays for one, in euros; the last is one that nobody keeps. */
static const struct model {
    const char *name;
    int euros;
} models[] = {{"Aurora 14 laptop", 1149},   {"Aurora 14 laptop", 999}, {"Borealis 27 monitor", 349},
              {"Borealis 27 monitor", 329}, {"Comet router", 89},      {"Comet router", 79},
              {"Dune headset", 149},        {"Ember tablet", 429},     {"Фонарь 3", 24}};

static json_t *cost_of(const struct sample *s, int64_t n, const struct place *p, int euros) {
    char amount[32];
    long long units = (long long)euros * p->rate, cents = (long long)(chance(s, n, 7) % 100);
    units -= units * (long long)(chance(s, n, 8) % 40) / 100; /* it has lost worth since */
    if (p->decimals)
        snprintf(amount, sizeof amount, "%lld.%02lld", units, cents);
    else
        snprintf(amount, sizeof amount, "%lld", units);
    return json_pack("{s:s, s:s}", "amount", amount, "currency", p->currency);
}

static enum sample_kind kind_wanted(const struct sample *s, int64_t n) {
    int percent = (int)(chance(s, n, 1) % 100);
    return percent < s->bad ? SAMPLE_BAD : percent < s->bad + s->duplicates ? SAMPLE_DUPLICATE : SAMPLE_GOOD;
}

/* The one whose item a duplicate names; n itself when there is none before it. */
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

json_t *sample_body(const struct sample *s, int64_t n) {
    enum sample_kind kind = sample_kind(s, n);
    const struct place *p = &PICK(s, n, 3, places);
    const struct model *m = &PICK(s, n, 4, models);
    long long item = (long long)(kind == SAMPLE_DUPLICATE ? original_of(s, n) : n), seed = (long long)s->seed;
    json_t *body = json_object();
    json_object_set_new(body, "order_id", json_sprintf("ORD-%lld-%06lld", seed, item));
    json_object_set_new(body, "model", json_string(m->name));
    json_object_set_new(body, "shipment_id", json_sprintf("SHP-%lld-%06lld", seed, item));
    json_object_set_new(body, "serial_number", json_sprintf("SN-%s-%lld-%06lld", s->run, seed, item));
    json_object_set_new(body, "location", json_string(PICK(s, n, 5, p->cities)));
    json_object_set_new(body, "cost", cost_of(s, n, p, m->euros));
    json_object_set_new(body, "customer_id", json_sprintf("CUS-%llu", (unsigned long long)(chance(s, n, 10) % 5000)));
    json_object_set_new(body, "reason", json_string(PICK(s, n, 6, p->reasons)));
    if (kind == SAMPLE_BAD && body) body_spoil(s, n, body);
    return body;
}

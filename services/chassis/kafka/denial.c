#include "chassis/kafka/denial.h"

#include "chassis/base/ids.h"
#include "chassis/base/log.h"
#include "chassis/base/wait.h"

#include <openssl/x509_vfy.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* librdkafka says the same failure again after 30 s at the earliest. */
enum { ENTRY_MS = 60000, REASON_TEXT = 260 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static rd_kafka_resp_err_t entry; /* 0: the process is let in, as far as is known */
static char entry_reason[REASON_TEXT];
static int entry_certificate; /* what is wrong with the broker's, as OpenSSL numbers it. 0: not said */
static int64_t entry_until;
static int certificate_error; /* of the last that was not believed, as OpenSSL numbers it. 0: none was */

/* --- Rights */

bool denial_is(rd_kafka_resp_err_t error) {
    return error == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ||
           error == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED ||
           error == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED ||
           error == RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
}

const char *denial_principal(const struct settings *s, char out[200]) {
    const char *user = settings_property(s, "sasl.username");
    snprintf(out, 200, "%s%.150s", user ? "User:" : "this service's principal", user ? user : "");
    return out;
}

const char *denial_text(const struct settings *s, struct right right, char out[DENIAL_TEXT]) {
    bool cluster = !strcmp(right.type, "cluster");
    char who[200], what[300], text[3 * DENIAL_TEXT];
    denial_principal(s, who);
    snprintf(what, sizeof what, cluster ? "the cluster" : "the %s \"%s\"", right.type, right.name);
    int n = snprintf(
        text, sizeof text,
        "Kafka denies %.100s the operation %s on %s. Allow it, or remove the ACL that denies it: ", who,
        right.operation, what);
    snprintf(
        text + n, sizeof text - (size_t)n,
        "kafka-acls.sh --bootstrap-server %.500s --add --allow-principal %s --operation %s --%s%s%.300s", s->kafka,
        strncmp(who, "User:", 5) ? "User:NAME" : who, right.operation, right.type, cluster ? "" : " ",
        cluster ? "" : right.name);
    /* A command is given whole or not at all. */
    if (strlen(text) >= DENIAL_TEXT) snprintf(text + n, sizeof text - (size_t)n, "see kafka-acls.sh --add");
    snprintf(out, DENIAL_TEXT, "%.*s", DENIAL_TEXT - 1, text);
    return out;
}

const char *
denial_reason(const struct settings *s, rd_kafka_resp_err_t error, struct right right, char out[DENIAL_TEXT]) {
    if (denial_is(error)) return denial_text(s, right, out);
    bool cut_off = error == RD_KAFKA_RESP_ERR__TRANSPORT || error == RD_KAFKA_RESP_ERR__TIMED_OUT ||
                   error == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || error == RD_KAFKA_RESP_ERR__AUTHENTICATION ||
                   error == RD_KAFKA_RESP_ERR__SSL || error == RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE;
    if (!cut_off || !denial_entry(s, out)) snprintf(out, DENIAL_TEXT, "%s", rd_kafka_err2str(error));
    return out;
}

verdict kafka_unanswered(
    rd_kafka_t *rk, const struct settings *s, const char *what, rd_kafka_resp_err_t error, struct right right,
    struct failure *why) {
    char reason[DENIAL_TEXT];
    rd_kafka_poll(rk, 0); /* what it says of its connections */
    denial_reason(s, error, right, reason);
    return fail(why, RETRY, "Kafka at %s does not say %s: %s", s->kafka, what, reason);
}

/* --- The way in */

/* librdkafka's own words, without the broker's address before them and the durations behind them. */
static const char *bare(const char *text, char out[REASON_TEXT]) {
    const char *from = strstr(text, ": SASL "), *ssl = strstr(text, ": SSL ");
    if (!from || (ssl && ssl < from)) from = ssl;
    snprintf(out, REASON_TEXT, "%s", from ? from + 2 : text);
    char *after = strstr(out, " (after ");
    if (after) *after = '\0';
    return out;
}

static const char *certificate_advice(int x509_error) {
    switch (x509_error) {
    case X509_V_ERR_CERT_NOT_YET_VALID:
    case X509_V_ERR_CERT_HAS_EXPIRED: return "The broker needs a new one; see to this machine's clock, too";
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH: return "Name the broker by a host that its certificate is for";
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE: return "Name its authority's certificate in ssl.ca.location";
    default: return "See openssl verify";
    }
}

int denial_certificate(
    rd_kafka_t *rk, const char *broker, int32_t id, int *x509_error, int depth, const char *certificate, size_t n,
    char *errstr, size_t errstr_n, void *opaque) {
    (void)rk, (void)broker, (void)id, (void)depth, (void)certificate, (void)n, (void)opaque;
    if (!*x509_error) return 1;
    lock_auto(&lock);
    certificate_error = *x509_error;
    snprintf(errstr, errstr_n, "%s", X509_verify_cert_error_string(*x509_error));
    return 0;
}

bool denial_hear(rd_kafka_resp_err_t error, const char *text) {
    if (error != RD_KAFKA_RESP_ERR__AUTHENTICATION && error != RD_KAFKA_RESP_ERR__SSL) return false;
    char reason[REASON_TEXT];
    bare(text, reason);
    pthread_mutex_lock(&lock);
    bool news = !entry || strcmp(reason, entry_reason) != 0;
    entry = error;
    memcpy(entry_reason, reason, sizeof entry_reason);
    entry_certificate = strstr(text, "certificate verify failed") ? certificate_error : 0;
    entry_until = steady_ms() + ENTRY_MS;
    int fault = entry_certificate;
    pthread_mutex_unlock(&lock);
    if (news)
        log_line(
            LOG_WARNING, "Kafka and this process do not come together", "reason", reason, fault ? "certificate" : NULL,
            fault ? X509_verify_cert_error_string(fault) : NULL, NULL);
    return true;
}

void denial_over(void) {
    lock_auto(&lock);
    entry = 0;
}

bool denial_entry(const struct settings *s, char out[DENIAL_TEXT]) {
    char who[200];
    lock_auto(&lock);
    bool kept_out = entry && steady_ms() < entry_until;
    if (kept_out && entry == RD_KAFKA_RESP_ERR__AUTHENTICATION)
        snprintf(
            out, DENIAL_TEXT,
            "Kafka at %.100s does not let %.100s in: %.200s. See to sasl.username, sasl.password and sasl.mechanism",
            s->kafka, denial_principal(s, who), entry_reason);
    else if (kept_out && entry_certificate)
        snprintf(
            out, DENIAL_TEXT,
            "no TLS connection to Kafka at %.100s: its certificate is not believed: %s (OpenSSL's error %d). %s",
            s->kafka, X509_verify_cert_error_string(entry_certificate), entry_certificate,
            certificate_advice(entry_certificate));
    else if (kept_out)
        snprintf(
            out, DENIAL_TEXT,
            "no TLS connection to Kafka at %.100s: %.250s. See to security.protocol, and the properties ssl.*",
            s->kafka, entry_reason);
    return kept_out;
}

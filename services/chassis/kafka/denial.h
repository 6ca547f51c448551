/* denial: what Kafka denies this process, in words that say which right is missing, to whom, on what, and what gives
 * it. Or that Kafka does not let the process in at all: a wrong password, or a certificate that is not believed. A
 * process has one identity and one cluster, so the last such refusal counts for all its clients. Any thread. */
#pragma once

#include "chassis/base/failure.h"
#include "chassis/base/settings.h"

#include <librdkafka/rdkafka.h>
#include <stdbool.h>

enum { DENIAL_TEXT = 512 };

/* A right, as kafka-acls names it. */
struct right {
    const char *operation; /* "Read" */
    const char *type;      /* "topic", "group", "cluster" */
    const char *name;      /* of the topic or group, with its namespace. Not used for the cluster */
};

bool denial_is(rd_kafka_resp_err_t error); /* a right is missing */
/* Who asks: "User:NAME", or words for it where only the broker knows. Returns out. */
const char *denial_principal(const struct settings *s, char out[200]);
/* "Kafka denies User:NAME the operation Read on the topic \"x\". …". Returns out. */
const char *denial_text(const struct settings *s, struct right right, char out[DENIAL_TEXT]);
/* The same when the error is a denial. That the process is not let in, when it waits for a connection and that is why.
 * Else librdkafka's words for it. Returns out. */
const char *
denial_reason(const struct settings *s, rd_kafka_resp_err_t error, struct right right, char out[DENIAL_TEXT]);
/* RETRY: "Kafka at HOST does not say WHAT: " and the reason. */
MUST_CHECK verdict kafka_unanswered(
    rd_kafka_t *rk, const struct settings *s, const char *what, rd_kafka_resp_err_t error, struct right right,
    struct failure *why);

/* For rd_kafka_conf_set_ssl_cert_verify_cb(): takes over OpenSSL's verdict as it is, and keeps what is wrong with the
 * certificate, since librdkafka says the same of every one that is not believed. */
int denial_certificate(
    rd_kafka_t *rk, const char *broker, int32_t id, int *x509_error, int depth, const char *certificate, size_t n,
    char *errstr, size_t errstr_n, void *opaque);
/* What librdkafka says of a connection. True: the process is not let in. */
bool denial_hear(rd_kafka_resp_err_t error, const char *text);
/* Kafka answered: whatever kept the process out is over. */
void denial_over(void);
/* True: the process is not let in. out says why, and what to do. */
bool denial_entry(const struct settings *s, char out[DENIAL_TEXT]);

#include "chassis/base/build_info.h"

#include <civetweb.h>
#include <curl/curl.h>
#include <librdkafka/rdkafka.h>
#include <openssl/crypto.h>
#include <sqlite3.h>

static const char *own = "unknown";

void build_info_of_service(const char *version) {
    own = version;
}

json_t *build_info_json(void) {
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "returns", own, "librdkafka", rd_kafka_version_str(), "civetweb",
        mg_version(), "sqlite", sqlite3_libversion(), "avro-c", AVRO_C_VERSION, "jansson", jansson_version_str(),
        "libcurl", curl_version_info(CURLVERSION_NOW)->version, "openssl", OpenSSL_version(OPENSSL_VERSION_STRING));
}

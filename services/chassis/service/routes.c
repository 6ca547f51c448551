#include "chassis/service/routes.h"

#include "chassis/contracts/contracts.h"
#include "chassis/pages/dead_letter_view.h"
#include "chassis/pages/drill_view.h"
#include "chassis/pages/log_accept.h"
#include "chassis/pages/page.h"
#include "chassis/pages/set_aside_view.h"
#include "chassis/pages/status.h"
#include "chassis/pages/stream_view.h"
#include "chassis/pages/views.h"

#define AUDIT_FILTERS "return_id action outcome event_type since until limit before"

/* /status is for a service that has a start page of its own. */
const struct resource chassis_routes[] = {
    {.path = "/", .api_path = "/api/status", .page = "status.html", .get = status_get, .nav = "Status"},
    {.path = "/status", .api_path = "", .page = "status.html", .get = status_get, .nav = "Status"},
    {.path = "/state", .page = "views_then.html", .get = views_get, .query = "as_of", .long_read = ""},
    {.path = "/audit", .page = "audit.html", .get = audit_get, .query = AUDIT_FILTERS " seen", .nav = "Audit log"},
    {.path = "/dead-letters",
     .page = "dead_letters.html",
     .get = dead_letters_get,
     .query = "limit before",
     .nav = "Dead letters",
     .long_read = "limit"},
    {.api_path = "/api/dead-letters/{id}", .get = dead_letter_get, .long_read = ""},
    {.path = "/dead-letters/{id}/redrive", .post = dead_letter_redrive_post, .post_query = "after"},
    {.path = "/outbox/send-again", .post = set_aside_again_post},
    {.api_path = "/api/log/accept", .post = log_accept_post},
    {.path = "/audit/verify", .page = "verify.html", .get = audit_verify_get, .long_read = ""},
    {.path = "/audit/{id}", .page = "audit_row.html", .get = audit_one_get},
    {.path = "/audit/{id}/event", .page = "audit_event.html", .get = audit_event_get},
    {.api_path = "/api/audit.jsonl", .get = audit_jsonl_get, .query = AUDIT_FILTERS, .long_read = ""},
    {.api_path = "/api/audit.csv", .get = audit_csv_get, .query = AUDIT_FILTERS, .long_read = ""},
    {.path = "/drill", .page = "drill_page.html", .get = drill_get, .post = drill_post},
    {.api_path = "/api/peers", .get = peers_get},
    {.path = "/openapi.json", .api_path = "", .get = contracts_found_get},
    {.path = "/asyncapi.json", .api_path = "", .get = contracts_found_get},
    {.path = "/docs/api/{file}", .api_path = "", .get = contracts_get},
    {.path = "/schemas/{service}/{file}", .api_path = "", .get = contracts_schema_get},
    {.path = "/schemas/{service}/snapshots/{file}", .api_path = "", .get = contracts_schema_get},
    {.path = "/livez", .api_path = "", .get = probe_livez_get, .any_host = true},
    {.path = "/readyz", .api_path = "", .get = probe_readyz_get, .query = "verbose", .any_host = true},
    {.path = "/metrics", .api_path = "", .get = probe_metrics_get},
    {.path = "/assets/{name}", .api_path = "", .get = page_asset_get, .query = "v"},
    {.api_path = "/api/stream", .get = stream_get, .query = "after light"},
    {0}};

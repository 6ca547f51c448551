/* view: what pages show beside a return's data: whose turn it is, and the form. */
#pragma once

#include "chassis/base/settings.h"
#include "chassis/web/http.h"

#include <jansson.h>

/* Of returns_one(). peers: of peers_json(), for links to the teams' pages and what is the matter with each, or NULL. */
void view_return(json_t *one, const json_t *peers);
void view_returns(json_t *list); /* each of them, as in returns_page() */
/* Leaves out older refused commands, of the history and of the timeline, and says how many. */
void view_shorten(json_t *one, json_t *history);
/* Of returns_history(): how each is seen with kcat, and links to who handled it and to its schema. */
void view_history(json_t *list, const struct settings *settings, const json_t *peers);

/* "/returns/R-1" of "/returns/" and an id. The caller's. */
MUST_CHECK json_t *view_url(const char *path, const char *id);
/* The query's limit: 1 to 1000. 0: refused, which was answered. */
MUST_CHECK int view_limit(struct exchange *x, int otherwise);

/* The form's page: with what was typed (NULL: empty), the kinds of reason to choose from (returns_reasons()), what is
 * wrong with it (NULL: nothing), and the token that makes one return of it ("": a new one). The caller's. */
json_t *view_form(const json_t *typed, const json_t *reasons, const json_t *errors, const char *token);
/* The page on which all of it is looked at before it is sent. subscribers: of returns_subscribers(). */
json_t *view_review(const json_t *body, const json_t *reasons, const char *token, json_t *subscribers);

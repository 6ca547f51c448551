/* view: what only people need to see beside a return's data: names, words, colours, and the form. */
#pragma once

#include "chassis/base/settings.h"

#include <jansson.h>

void view_return(json_t *one, const json_t *urls); /* of returns_one(); links to the teams' pages by returns_urls() */
void view_returns(json_t *page, int limit);        /* of returns_page() */
/* After view_return(): leaves out older refused commands, of the history and of the timeline, and says how many. */
void view_shorten(json_t *one, json_t *history);
/* Of returns_history(): also how to see each with kcat, and links to who handled it and to its schema. */
void view_history(json_t *list, const struct settings *settings, const char *return_id, const json_t *urls);
void view_next(json_t *one, const json_t *peers); /* after view_return(); by the states of peers.h */
MUST_CHECK json_t *view_url(const char *path, const char *return_id); /* path and id; the caller's */

/* The form's page: with what was typed (NULL: empty), the kinds of reason to choose from (returns_reasons()), what is
 * wrong with it (NULL: nothing), and the token that makes one return of it ("": a new one). The caller's. */
json_t *view_form(const json_t *typed, const json_t *reasons, const json_t *errors, const char *token);
/* The page on which all of it is looked at before it is sent. subscribers: of returns_subscribers(); taken. */
json_t *view_review(const json_t *body, const json_t *reasons, const char *token, json_t *subscribers);

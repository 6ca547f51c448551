/* view: what only people need to see beside a return's data: names, words, colours, and the form. */
#pragma once

#include <jansson.h>

void view_return(json_t *one, const json_t *urls); /* of returns_one(); links to the teams' pages by returns_urls() */
void view_returns(json_t *page, int limit);        /* of returns_page() */
void view_history(json_t *list);
void view_subscribers(json_t *list);

/* The form's page: with what was typed (NULL: empty), and what is wrong with it (NULL: nothing). The caller's. */
json_t *view_form(const json_t *typed, const json_t *errors);
json_t *view_example(void); /* a body for it, with a serial number that was never used */

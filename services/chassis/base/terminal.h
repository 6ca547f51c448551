/* terminal: what others wrote, for a terminal: nothing of it moves a cursor, sets a title or turns the order. Whatever
 * a program prints that is not its own text passes through here. One thread. */
#pragma once

#include <jansson.h>
#include <stdio.h>

/* For people: the text with nothing in it that could move a cursor, end its line or turn the order of what follows. It
 * lives until eight more were shown. What is past 8000 bytes is cut. NULL is "". */
const char *shown(const char *text);
/* As json_dumpf(). Such characters are escaped, so it means the same. 0, or −1. */
int show_json(const json_t *json, FILE *out, size_t flags);
int show_json_text(const char *text, size_t n, FILE *out); /* the same of JSON that is text already */

/* figures_private: how the facts lie in memory. Everything under figures.lock. */
#pragma once

#include "figures.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

enum { PAIR = DIMENSIONS, KINDS }; /* a currency with a model behind it, so that amounts are added up in one currency */

/* Texts, each with a number, from 0 in the order in which they came. */
struct words {
    json_t *numbers;
    char **texts;
    size_t n;
};

/* What one team said of one return. Moments are 0 where it did not. */
struct reacted {
    uint32_t team, next; /* of the same return. 0: the last one */
    int64_t handled_at, declined_at;
};

struct returned {
    int64_t asked_at, cancelled_at, cost; /* asked_at 0: its request was not read yet */
    uint32_t words[KINDS], reacted;       /* reacted: the first one. 0: none */
};

extern struct figures {
    pthread_mutex_t lock;
    struct words words[KINDS], teams;
    json_t *numbers; /* of the returns, by their ids */
    struct returned *returned;
    struct reacted *reacted; /* the first is none */
    size_t returned_n, reacted_n;
} figures;

/* The array of n, with room for one more: it doubles whenever n is a power of two. Called for every n in turn. Never
 * NULL: without memory the process ends, to begin anew. */
void *figures_room(void *array, size_t n, size_t each);
void *figures_zeroes(size_t n, size_t each); /* room for n of them, and one more. Never NULL either */
bool words_find(const struct words *w, const char *text, uint32_t *number);

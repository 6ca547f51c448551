/* chart: a small bar chart as the `d` of an SVG path, in a box of CHART_WIDTH by CHART_HEIGHT. Any thread. */
#pragma once

#include <jansson.h>

enum { CHART_WIDTH = 300, CHART_HEIGHT = 80 };

/* One bar for each object of the array, as high as its member of that name is a part of `most`. None where that is
 * null or 0. The text is the caller's. */
json_t *chart_path(const json_t *samples, const char *member, double most);
double chart_most(const json_t *samples, const char *member); /* the highest of them. 0: none */

#include "chassis/pages/chart.h"

#include "chassis/base/buffer.h"

enum { PATH_BYTES = 1 << 14 };

double chart_most(const json_t *samples, const char *member) {
    double most = 0;
    json_t *one;
    size_t i;
    json_array_foreach((json_t *)samples, i, one) {
        double value = json_number_value(json_object_get(one, member));
        if (value > most) most = value;
    }
    return most;
}

json_t *chart_path(const json_t *samples, const char *member, double most) {
    struct buffer d = BUFFER(PATH_BYTES);
    int n = (int)json_array_size(samples), width = n ? CHART_WIDTH / n : 0;
    json_t *one;
    size_t i;
    json_array_foreach((json_t *)samples, i, one) {
        double value = json_number_value(json_object_get(one, member));
        if (value <= 0 || most <= 0) continue;
        int high = (int)(value / most * CHART_HEIGHT + 0.5);
        buffer_format(
            &d, "M%d %dv-%dh%dv%dz", (int)i * width, CHART_HEIGHT, high ? high : 1, width - 2, high ? high : 1);
    }
    json_t *text = json_string(d.data ? d.data : "");
    buffer_free(&d);
    return text;
}

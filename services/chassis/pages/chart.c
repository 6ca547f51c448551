#include "chassis/pages/chart.h"

#include "chassis/base/buffer.h"
#include "chassis/base/json_get.h"

enum { PATH_BYTES = 1 << 14 };

double chart_most(const json_t *samples, const char *member) {
    double most = 0;
    json_each(i, one, samples) {
        double value = json_number_value(json_object_get(one, member));
        if (value > most) most = value;
    }
    return most;
}

json_t *chart_path(const json_t *samples, const char *member, double most) {
    buffer_auto d = BUFFER(PATH_BYTES);
    int n = (int)json_array_size(samples), width = n ? CHART_WIDTH / n : 0;
    json_each(i, one, samples) {
        double value = json_number_value(json_object_get(one, member));
        if (value <= 0 || most <= 0) continue;
        int high = (int)(value / most * CHART_HEIGHT + 0.5);
        buffer_format(
            &d, "M%d %dv-%dh%dv%dz", (int)i * width, CHART_HEIGHT, high ? high : 1, width - 2, high ? high : 1);
    }
    return json_string(d.data ? d.data : "");
}

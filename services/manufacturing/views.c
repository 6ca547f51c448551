/* What manufacturing's page shows, now and as it was. */
#include "manufacturing.h"

const struct view manufacturing_views[] = {
    {.title = "Disassembly queue by site",
     .sql = "SELECT site AS \"Site\", queued AS \"Queued\" FROM site_queue WHERE queued > 0 ORDER BY site",
     .as_of = "SELECT site AS \"Site\", COUNT(*) AS \"Queued\" FROM disassembly_order WHERE queued_at <= ? AND "
              "(ended_at IS NULL OR ended_at > ?) GROUP BY site ORDER BY 1"},
    {.title = "Latest orders",
     .sql =
         "SELECT COALESCE(ended_at, queued_at, asked_at) AS \"Decided\", state AS \"State\", serial_number AS \"Item\", "
         "location AS \"Location\", site AS \"Site\", return_id AS \"Return\" FROM disassembly_order "
         "ORDER BY COALESCE(ended_at, queued_at, asked_at) DESC, return_id DESC LIMIT 10",
     .as_of =
         "SELECT CASE WHEN ended_at <= ? THEN ended_at WHEN queued_at <= ? THEN queued_at ELSE asked_at END AS \"Decided\", "
         "CASE WHEN ended_at <= ? THEN state WHEN queued_at <= ? THEN 'queued' ELSE 'waiting' END AS \"State\", "
         "serial_number AS \"Item\", location AS \"Location\", site AS \"Site\", return_id AS \"Return\" "
         "FROM disassembly_order WHERE asked_at <= ? ORDER BY 1 DESC, 6 DESC LIMIT 10",
     .moments = "Decided"},
    {0},
};

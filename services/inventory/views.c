/* What inventory's page shows, now and as it was. */
#include "inventory.h"

const struct view inventory_views[] = {
    {.title = "Stock",
     .sql = "SELECT model AS \"Model\", initial AS \"Initial\", shipped AS \"Shipped\", recalled AS \"Recalled\", "
            "on_hand AS \"On hand\" FROM stock ORDER BY model",
     .as_of =
         "SELECT model AS \"Model\", initial AS \"Initial\", shipped AS \"Shipped\", recalled AS \"Recalled\", "
         "initial - shipped + recalled AS \"On hand\" FROM (SELECT s.model, s.initial, "
         "COUNT(CASE WHEN r.shipped_at <= ? THEN 1 END) AS shipped, "
         "COUNT(CASE WHEN r.shipped_at IS NOT NULL AND r.ended_at <= ? THEN 1 END) AS recalled "
         "FROM stock s LEFT JOIN replacement r ON r.model = s.model GROUP BY s.model, s.initial) AS past ORDER BY 1"},
    {.title = "Backorders",
     .sql = "SELECT model AS \"Model\", waiting AS \"Waiting\" FROM backorder WHERE waiting > 0 "
            "ORDER BY waiting DESC, model LIMIT 10",
     .as_of = "SELECT model AS \"Model\", COUNT(*) AS \"Waiting\" FROM replacement WHERE place IS NOT NULL AND "
              "asked_at <= ? AND (shipped_at IS NULL OR shipped_at > ?) AND (ended_at IS NULL OR ended_at > ?) "
              "GROUP BY model ORDER BY 2 DESC, 1 LIMIT 10"},
    {.title = "Latest replacements",
     .sql = "SELECT COALESCE(ended_at, shipped_at, asked_at) AS \"Decided\", model AS \"Model\", state AS \"State\", "
            "shipment_id AS \"Shipment\", return_id AS \"Return\" FROM replacement "
            "ORDER BY COALESCE(ended_at, shipped_at, asked_at) DESC, return_id DESC LIMIT 10",
     .as_of =
         "SELECT CASE WHEN ended_at <= ? THEN ended_at WHEN shipped_at <= ? THEN shipped_at ELSE asked_at END AS \"Decided\", "
         "model AS \"Model\", CASE WHEN ended_at <= ? THEN state WHEN shipped_at <= ? THEN 'shipped' "
         "ELSE 'backordered' END AS \"State\", shipment_id AS \"Shipment\", return_id AS \"Return\" "
         "FROM replacement WHERE asked_at <= ? ORDER BY 1 DESC, 5 DESC LIMIT 10",
     .moments = "Decided"},
    {0},
};

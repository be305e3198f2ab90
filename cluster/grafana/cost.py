"""What it costs: the cluster, and the work on it."""

from cluster.grafana.queries import STAGE, Panel, Rows, grown, per_second

HOURS = "sum(ray_node_cpu_count) / 3600"
COST: Rows = {
    "The cluster": [
        Panel(
            "An hour",
            "CPUs that are there, at the price of one",
            "currencyUSD",
            {"now": "sum(ray_node_cpu_count) * $cpu_hour"},
            "stat",
        ),
        Panel(
            "A million predictions",
            "CPUs that are there by predictions made",
            "currencyUSD",
            {"now": f"{HOURS} * $cpu_hour * 1000000 / sum(rate(ray_raypipe_predictions_total[$__rate_interval]))"},
            "stat",
        ),
        Panel(
            "In use",
            "CPU that works, of all that is paid for",
            "percentunit",
            {"share": "sum(ray_node_cpu_utilization * ray_node_cpu_count) / sum(ray_node_cpu_count) / 100"},
        ),
    ],
    "The work": [
        Panel(
            "A stage",
            "Its seconds, within what is shown, at the price of the CPUs that are there",
            "currencyUSD",
            {
                "{{pipeline}} {{stage}}": grown(f"{STAGE}_seconds_total", "pipeline", "stage")
                + f" * on () group_left () ({HOURS}) * $cpu_hour"
            },
            "stat",
        ),
        Panel(
            "Computing of a million predictions",
            "Seconds of one CPU for features and model, at its price",
            "currencyUSD",
            {
                "{{pipeline}}": per_second("ray_raypipe_compute_seconds_total", "pipeline")
                + " / "
                + per_second("ray_raypipe_predictions_total", "pipeline")
                + " * 1000000 / 3600 * $cpu_hour"
            },
        ),
        Panel(
            "Rows in a micro-batch",
            "More rows, cheaper rows",
            "short",
            {
                "{{pipeline}}": per_second("ray_raypipe_predictions_total", "pipeline")
                + " / "
                + per_second("ray_raypipe_batches_total", "pipeline")
            },
        ),
    ],
}

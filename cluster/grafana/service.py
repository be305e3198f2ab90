"""The service: requests, the model, the cluster below it."""

from cluster.grafana.queries import PIPELINE, Panel, Rows, per_second, quantile

APPLICATION = 'application=~"$pipeline"'
HTTP = "ray_serve_num_http_requests_total"
ASKED = f"sum by (application) (rate({HTTP}{{{APPLICATION}}}[$__rate_interval]))"
FAILED = HTTP + "{" + APPLICATION + ', status_code=~"5.."}'
FRONT = APPLICATION + ', route!~"/-/.*"'
HEALTHY = f"sum by (application, deployment) (ray_serve_deployment_replica_healthy{{{APPLICATION}}})"

SERVICE: Rows = {
    "Service": [
        Panel(
            "Requests",
            "Answers a second, by status",
            "reqps",
            {"{{application}} {{status_code}}": per_second(HTTP, "application", "status_code", where=APPLICATION)},
        ),
        Panel(
            "Server errors",
            "Share of answers with status 5xx",
            "percentunit",
            {"{{application}}": f"sum by (application) (rate({FAILED}[$__rate_interval])) / {ASKED}"},
        ),
        Panel(
            "Latency",
            "From the front door and back",
            "ms",
            {
                f"{{{{application}}}} p{int(q * 100)}": quantile(
                    q, "ray_serve_http_request_latency_ms", "application", FRONT
                )
                for q in (0.5, 0.95, 0.99)
            },
        ),
    ],
    "Model": [
        Panel(
            "Predictions",
            "Rows a second, by version and arm",
            "rowsps",
            {
                "{{pipeline}}/{{version}} {{arm}}": per_second(
                    "ray_raypipe_predictions_total", "pipeline", "version", "arm"
                )
            },
        ),
        Panel(
            "Champion",
            "The version that answers",
            "none",
            {"{{pipeline}}": f"max by (pipeline) (ray_raypipe_version{{{PIPELINE}}})"},
            "stat",
        ),
        Panel(
            "Time in a micro-batch",
            "Seconds of features and of the model, of one",
            "s",
            {
                "{{pipeline}} {{part}}": per_second("ray_raypipe_compute_seconds_total", "pipeline", "part")
                + " / on (pipeline) group_left "
                + per_second("ray_raypipe_batches_total", "pipeline")
            },
        ),
        Panel(
            "Unseen categories",
            "Values a second that training never saw, by field",
            "short",
            {"{{pipeline}} {{field}}": per_second("ray_raypipe_unseen_total", "pipeline", "field")},
        ),
        Panel(
            "Refused requests",
            "Requests a second that raypipe answers with an error, by status",
            "reqps",
            {"{{pipeline}} {{status}}": per_second("ray_raypipe_refused_total", "pipeline", "status")},
        ),
        Panel(
            "Not logged",
            "Answered predictions a second that could not be written down",
            "short",
            {"{{pipeline}}": per_second("ray_raypipe_unlogged_total", "pipeline")},
        ),
        Panel(
            "Replicas",
            "Healthy replicas",
            "short",
            {"{{application}}/{{deployment}}": HEALTHY},
        ),
        Panel(
            "Time in a replica",
            "Without the front door",
            "ms",
            {
                "{{application}} p99": quantile(
                    0.99, "ray_serve_deployment_processing_latency_ms", "application", APPLICATION
                )
            },
        ),
        Panel(
            "Application status",
            "6 runs, 5 is being deployed, 2 is unhealthy, 1 has failed",
            "short",
            {"{{application}}": f"max by (application) (ray_serve_application_status{{{APPLICATION}}})"},
            "stat",
        ),
    ],
    "Cluster": [
        Panel("CPU", "By node", "percent", {"{{instance}}": "ray_node_cpu_utilization"}),
        Panel(
            "Memory", "Share in use, by node", "percentunit", {"{{instance}}": "ray_node_mem_used / ray_node_mem_total"}
        ),
        Panel("Disk", "By node", "percent", {"{{instance}}": "ray_node_disk_utilization_percentage"}),
    ],
}

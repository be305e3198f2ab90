"""What moves away from the reference, and what that costs."""

from cluster.grafana.queries import PIPELINE, Panel, Rows

DRIFT: Rows = {
    "What moves": [
        Panel(
            "Deviation",
            "Of each column, as a multiple of what raises an alarm; the ten that deviate most",
            "short",
            {"{{pipeline}}/{{version}} {{column}}": f"topk(10, ray_raypipe_drift_excess{{{PIPELINE}}})"},
        ),
        Panel(
            "Distance",
            "How far a column has moved, as a share of its rows; the ten that moved most",
            "percentunit",
            {"{{pipeline}}/{{version}} {{column}}": f"topk(10, ray_raypipe_drift_distance{{{PIPELINE}}})"},
        ),
        Panel(
            "Open alarms",
            "Columns whose alarm is open",
            "short",
            {"{{pipeline}}/{{version}}": f"sum by (pipeline, version) (ray_raypipe_drift_alarm{{{PIPELINE}}})"},
            "stat",
        ),
        Panel(
            "Importance that drifts",
            "Share of all importance on inputs with an open alarm",
            "percentunit",
            {"{{pipeline}}/{{version}}": f"ray_raypipe_drift_mass{{{PIPELINE}}}"},
        ),
        Panel(
            "Broken data",
            "What looks like broken data, not like a world that moved",
            "short",
            {"{{pipeline}}/{{version}}": f"ray_raypipe_data_breaks{{{PIPELINE}}}"},
        ),
        Panel(
            "Alarms not told",
            "That no receiver took yet",
            "short",
            {"{{pipeline}}": f"ray_raypipe_watch_untold{{{PIPELINE}}}"},
            "stat",
        ),
    ],
    "What it costs": [
        Panel(
            "Log loss",
            "Of the newest predictions: by their labels, and as estimated before those come",
            "none",
            {
                "{{pipeline}}/{{version}} {{arm}}": f'ray_raypipe_loss{{{PIPELINE}, segment=""}}',
                "{{pipeline}}/{{version}} estimated": f"ray_raypipe_loss_estimated{{{PIPELINE}}}",
            },
        ),
        Panel(
            "Wrong answers",
            "Share of the answers that came out wrong",
            "percentunit",
            {"{{pipeline}}/{{version}} {{arm}}": f'ray_raypipe_error_rate{{{PIPELINE}, segment=""}}'},
        ),
        Panel(
            "Known by now",
            "Share of the newest predictions with a label",
            "percentunit",
            {"{{pipeline}}/{{version}} {{arm}}": f'ray_raypipe_labelled_share{{{PIPELINE}, segment=""}}'},
        ),
    ],
}

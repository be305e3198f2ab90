"""What answers, and what it took to get there."""

from cluster.grafana.queries import PIPELINE, STAGE, Panel, Rows, grown, per_second

RETRAINING: Rows = {
    "What answers": [
        Panel(
            "Champion",
            "The version that answers; a step is a promotion or a way back",
            "none",
            {"{{pipeline}}": f"max by (pipeline) (ray_raypipe_version{{{PIPELINE}}})"},
        ),
        Panel(
            "Versions",
            "Share of the rows that each version and arm scores",
            "percentunit",
            {
                "{{pipeline}}/{{version}} {{arm}}": per_second(
                    "ray_raypipe_predictions_total", "pipeline", "version", "arm"
                )
                + " / on (pipeline) group_left "
                + per_second("ray_raypipe_predictions_total", "pipeline")
            },
        ),
        Panel(
            "Promotions and deploys",
            "Within what is shown",
            "short",
            {
                "{{pipeline}} {{stage}}": grown(
                    f"{STAGE}_runs_total",
                    "pipeline",
                    "stage",
                    where=PIPELINE + ', stage=~"register|deploy", outcome="done"',
                )
            },
            "stat",
        ),
    ],
    "What it took": [
        Panel(
            "Runs",
            "Stages so far, by how they ended",
            "short",
            {
                "{{pipeline}} {{stage}} {{outcome}}": "sum by (pipeline, stage, outcome) ("
                f'{STAGE}_runs_total{{{PIPELINE}, stage=~"features|train|register|deploy|retrain"}})'
            },
        ),
        Panel(
            "Time",
            "Of the stages, within what is shown",
            "s",
            {"{{pipeline}} {{stage}}": grown(f"{STAGE}_seconds_total", "pipeline", "stage")},
            "stat",
        ),
        Panel(
            "Rows and trials",
            "Of training sets and searches, within what is shown",
            "short",
            {
                "{{pipeline}} {{what}}": grown(
                    f"{STAGE}_rows_total", "pipeline", "what", where=PIPELINE + ', stage=~"features|train"'
                )
            },
            "stat",
        ),
    ],
}

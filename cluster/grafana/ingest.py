"""What comes in: runs of ingestion and their gates, and live sources."""

from cluster.grafana.queries import PIPELINE, STAGE, Panel, Rows, grown

INGEST: Rows = {
    "Runs": [
        Panel(
            "New rows",
            "That ingestion brought in, within what is shown",
            "short",
            {
                "{{pipeline}} {{what}}": grown(
                    f"{STAGE}_rows_total", "pipeline", "what", where=PIPELINE + ', stage="ingest"'
                )
            },
            "stat",
        ),
        Panel(
            "Checks",
            "Of the gate, passed and failed, and rows set aside",
            "short",
            {
                "{{pipeline}} {{what}}": grown(
                    f"{STAGE}_rows_total", "pipeline", "what", where=PIPELINE + ', stage="gate"'
                )
            },
            "stat",
        ),
        Panel(
            "Stages",
            "Of ingestion, gate and features, by how they ended",
            "short",
            {
                "{{pipeline}} {{stage}} {{outcome}}": "sum by (pipeline, stage, outcome) ("
                f'{STAGE}_runs_total{{{PIPELINE}, stage=~"ingest|gate|features|materialize|follow"}})'
            },
        ),
    ],
    "Live": [
        Panel(
            "Rows a second", "Of the last batch, by source", "rowsps", {"{{source}}": "raypipe_ingest_rows_per_second"}
        ),
        Panel(
            "Behind",
            "Messages that wait, by source and partition",
            "short",
            {"{{source}} {{partition}}": "raypipe_ingest_lag"},
        ),
        Panel(
            "Watermark",
            "Seconds since the event time up to which all rows are in",
            "s",
            {"{{source}}": "time() - max by (source) (raypipe_ingest_watermark_seconds)"},
        ),
        Panel(
            "Messages",
            "Read, a second",
            "short",
            {"{{source}}": "sum by (source) (rate(raypipe_ingest_messages_total[$__rate_interval]))"},
        ),
        Panel(
            "Set aside",
            "Messages a second that are no rows",
            "short",
            {"{{source}}": "sum by (source) (rate(raypipe_ingest_quarantined_total[$__rate_interval]))"},
        ),
        Panel(
            "Late",
            "Rows a second that came late",
            "rowsps",
            {"{{source}}": "sum by (source) (rate(raypipe_ingest_late_total[$__rate_interval]))"},
        ),
    ],
}

"""The lake: files in, exact snapshots out."""

from raypipe.lake.gated import Gated
from raypipe.lake.intake import Intake
from raypipe.lake.keeping import Keeping


class Lake(Intake, Gated, Keeping):
    """Iceberg tables: a catalog, and a warehouse of Parquet files. In one folder, unless URLs say otherwise.

    Args:
        folder: where they are; made on first use. Its absolute path is written into the tables.
        spread_bytes: from this many bytes in more than one file on, reading is spread over the Ray cluster.
        spread_messages: from so many messages that wait in more than one partition of a log on, the same.
        catalog: a PostgreSQL database that names the tables instead of the folder's SQLite file; may be a reference.
        warehouse: where their files are instead, such as ``s3://bucket/lake``; the catalog must be a URL too.
        connections: by kind of log, how it is reached.
        clock: says when a message came that does not say it itself.
    """

"""An Airflow DAG that submits a pipeline as a Ray job every Monday and waits for it; put it into Airflow's DAG folder.

It needs nothing of raypipe: that is on the cluster. ``RAY`` names the `ray` program, which another Python may have,
``RAY_API_SERVER_ADDRESS`` the dashboard, ``PIPELINE`` the file as the cluster sees it.
"""

from datetime import UTC, datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG(
    "raypipe_train",
    schedule="0 5 * * MON",
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,  # two runs of one pipeline side by side are safe, and a waste
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
):
    # The last line that the job writes is one JSON document: Airflow keeps it as the task's result (XCom).
    # Tried again, it goes on where it stopped: stages that were done are not done again.
    BashOperator(
        task_id="run",
        bash_command='set -o pipefail; "${RAY:-ray}" job submit -- '
        'raypipe run "$PIPELINE" --as-of {{ ds }} --json ${OPTIONS:-} | tee /dev/stderr | grep "^{" | tail -1',
    )

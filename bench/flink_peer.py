#!/usr/bin/env python3
"""Counts clicks by ad and minute in Flink, with and without deduplication: the peer of bench/count.sh.

    flink_peer.py SAMPLE-FOLDER ROWS DISTINCT FOLDER ROWS

Both folders hold CSV files of `event_id,ad,milliseconds`. The sample is counted first and its answers are
compared with what is known of it, which also lets the Java machine compile its hot paths. Then the rows of
the other folder go to a blackhole. Time is that of the job by Flink's own account, without the start of its
cluster. Prints rows a second.
"""

import sys

from pyflink.common import Configuration
from pyflink.table import EnvironmentSettings, TableEnvironment

SETTINGS = {
    "parallelism.default": "2",
    "pipeline.object-reuse": "true",
    "table.exec.mini-batch.enabled": "true",
    "table.exec.mini-batch.allow-latency": "1 s",
    "table.exec.mini-batch.size": "50000",
    "table.optimizer.agg-phase-strategy": "TWO_PHASE",
    "state.backend.type": "hashmap",
}

WINDOWS = """
    SELECT window_start, ad, COUNT(*) AS clicks
    FROM TABLE(TUMBLE(TABLE {table}, DESCRIPTOR(happened), INTERVAL '1' MINUTE))
    GROUP BY window_start, window_end, ad"""


def open_environment():
    configuration = Configuration()
    for key, value in SETTINGS.items():
        configuration.set_string(key, value)
    settings = EnvironmentSettings.new_instance().in_streaming_mode()
    environment = TableEnvironment.create(settings.with_configuration(configuration).build())
    environment.execute_sql(
        "CREATE TABLE hole (window_start TIMESTAMP(3), ad STRING, clicks BIGINT)"
        " WITH ('connector' = 'blackhole')"
    )
    return environment


def register(environment, name, folder):
    """Two tables: all rows of a folder, and the first of each id."""
    environment.execute_sql(f"""
        CREATE TABLE {name} (
            event_id STRING, ad STRING, millis BIGINT,
            happened AS TO_TIMESTAMP_LTZ(millis, 3),
            arrived AS PROCTIME(),
            WATERMARK FOR happened AS happened - INTERVAL '2' SECOND
        ) WITH ('connector' = 'filesystem', 'path' = '{folder}', 'format' = 'csv')""")
    environment.execute_sql(f"""
        CREATE VIEW {name}_once AS SELECT event_id, ad, happened FROM (
            SELECT *, ROW_NUMBER() OVER (PARTITION BY event_id ORDER BY arrived ASC) AS copy FROM {name}
        ) WHERE copy = 1""")


def counted(environment, table):
    """How many clicks all windows of a table have together."""
    with environment.execute_sql(WINDOWS.format(table=table)).collect() as rows:
        return sum(row[2] for row in rows)


def seconds(environment, table):
    """How long the job takes whose windows go nowhere."""
    result = environment.execute_sql("INSERT INTO hole" + WINDOWS.format(table=table))
    finished = result.get_job_client().get_job_execution_result().result()
    return finished.get_net_runtime() / 1000


def main():
    sample, sample_rows, sample_distinct, folder, rows = sys.argv[1:]
    environment = open_environment()
    register(environment, "sample", sample)
    register(environment, "clicks", folder)
    for table, expected in [("sample", sample_rows), ("sample_once", sample_distinct)]:
        answer = counted(environment, table)
        if answer != int(expected):
            sys.exit(f"Flink counts {answer} clicks in {table}, and there are {expected}")
    for name, table in [("windowed", "clicks"), ("deduplicated", "clicks_once")]:
        print(name, round(int(rows) / seconds(environment, table)), flush=True)


if __name__ == "__main__":
    main()

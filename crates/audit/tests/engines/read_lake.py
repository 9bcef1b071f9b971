"""Opens a lake with DuckDB and with ClickHouse's engine, as docs/lake.md tells, and holds what they
count against what the lake's writer has counted.

    read_lake.py LAKE_FOLDER EXPECTED.json

EXPECTED.json is what the test that wrote the lake knows of it: rows, verdicts, spend. The exit code is
1 on any difference, and where nothing was compared.
"""

import glob
import json
import os
import sys


def newest(folder):
    """The manifest with the highest number: its files are the lake."""
    names = sorted(glob.glob(os.path.join(folder, "manifest", "*.json")))
    with open(names[-1], encoding="utf-8") as opened:
        return json.load(opened)


def files_of(folder, manifest, table):
    paths = [file["path"] for file in manifest["files"] if file["table"] == table]
    return [os.path.join(folder, path) for path in paths]


VERDICTS = """
    SELECT coalesce(verdict, 0) AS code, count(*) AS n FROM {records}
    WHERE kind NOT IN (9, 10) GROUP BY 1 ORDER BY 1
"""
SPEND = """
    SELECT currency, sum(price) AS spend FROM {records}
    WHERE kind = 3 AND verdict = 1 GROUP BY 1 ORDER BY 1
"""
PEOPLE = """
    SELECT count(DISTINCT pseudonym) AS people, min(length(pseudonym)) AS digits FROM {records}
"""
TIMES = """
    SELECT min({micros}(received)) AS first, max({micros}(received)) AS last FROM {records}
"""
IN_FORCE = """
    SELECT r.verdict AS first, v.verdict AS now, count(*) AS n
    FROM {records} r JOIN (
        SELECT * FROM (
            SELECT *, row_number() OVER (
                PARTITION BY log_partition, log_offset ORDER BY epoch DESC, ordinal DESC) AS nth
            FROM {revisions}) t WHERE nth = 1) v
    ON r.log_partition = v.log_partition AND r.log_offset = v.log_offset
    GROUP BY 1, 2 ORDER BY 1, 2
"""


def answers(ask, micros, records, revisions):
    """What every engine must say, as plain lists."""
    def rows(text):
        text = text.format(records=records, revisions=revisions, micros=micros)
        return [[value if isinstance(value, str) else int(value) for value in row] for row in ask(text)]

    return {
        "verdicts": rows(VERDICTS),
        "spend": rows(SPEND),
        "people": rows(PEOPLE),
        "times": rows(TIMES),
        "in_force": rows(IN_FORCE),
    }


def by_duckdb(records, revisions):
    import duckdb

    ask = lambda text: duckdb.sql(text).fetchall()
    table = lambda files: f"read_parquet({files!r}, hive_partitioning = false)"
    return answers(ask, "epoch_us", table(records), table(revisions))


def by_clickhouse(folder, records, revisions):
    import chdb

    def ask(text):
        out = chdb.query(text, "JSONCompactEachRow").data()
        return [json.loads(line) for line in out.splitlines() if line]

    def table(files):
        below = ",".join(os.path.relpath(file, folder) for file in files)
        return f"file('{folder}/{{{below}}}', 'Parquet')"

    return answers(ask, "toUnixTimestamp64Micro", table(records), table(revisions))


def main(folder, expected_path):
    folder = os.path.abspath(folder)
    manifest = newest(folder)
    records = files_of(folder, manifest, "records")
    revisions = files_of(folder, manifest, "revisions")
    with open(expected_path, encoding="utf-8") as opened:
        expected = json.load(opened)
    if not records or not revisions or not all(expected.values()):
        print("nothing to compare")
        return 1
    outcome = 0
    engines = {
        "duckdb": lambda: by_duckdb(records, revisions),
        "clickhouse": lambda: by_clickhouse(folder, records, revisions),
    }
    for name, run in engines.items():
        found = run()
        for what, value in expected.items():
            if found[what] != value:
                outcome = 1
                print(f"{name}: {what} is {found[what]} instead of {value}")
        print(f"{name}: {len(records)} files, {sum(map(len, found.values()))} rows compared")
    return outcome


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""The three questions of crates/rollup/examples/query_speed.rs, asked of ClickHouse's engine and DuckDB.

    query_peers.py CSV FOLDER [ASKS]

Both load the same rows into tables of their own: ClickHouse by day, ordered by ad and minute, DuckDB
ordered by ad. Ads are small dense numbers there, and twenty in a row are of one campaign, so either
order serves ads and campaigns alike. Each question is asked ASKS times with the same turns as Reckon;
times are those of the wall in milliseconds, until the whole answer is there in the engine's own form.
"""

import sys
import time

START = 1795219200
MINUTES = 30 * 1440
HOUR = 60
ADS = 1_000_000
PER_CAMPAIGN = 20


def questions(turn):
    """The questions of a turn, with times as whole seconds."""
    ad = (1 + turn % 8) * 7919 % ADS
    month = f"minute >= {START + HOUR * 60} AND minute < {START + (MINUTES + HOUR) * 60}"
    days = f"minute >= {START} AND minute < {START + 31 * 86400}"
    end = START + (MINUTES + HOUR - turn % 3) * 60
    return {
        "ad": f"SELECT minute, sum(clicks), sum(spend) FROM cells WHERE ad = {ad} AND {month} "
        "GROUP BY minute ORDER BY minute",
        "top": "SELECT ad, sum(clicks) AS most, sum(spend) FROM cells "
        f"WHERE minute >= {end - 3600} AND minute < {end} GROUP BY ad ORDER BY most DESC, ad LIMIT 100",
        "campaign": "SELECT minute - minute % 86400 AS day, region, sum(clicks), sum(spend) FROM cells "
        f"WHERE campaign = {ad // PER_CAMPAIGN} AND {days} GROUP BY day, region ORDER BY day, region",
    }


def report(name, ask, rows_of, asks):
    """Asks everything, and prints what it took."""
    for question in ("ad", "top", "campaign"):
        first = ask(questions(0)[question])
        rows, clicks = rows_of(first, question)
        times = []
        for turn in range(asks):
            sql = questions(turn)[question]
            began = time.perf_counter()
            ask(sql)
            times.append((time.perf_counter() - began) * 1000)
        times.sort()
        at = [times[(len(times) - 1) * share // 100] for share in (50, 99)]
        print(f"{name} {question} merged p50 {at[0]:.3f} p99 {at[1]:.3f} rows {rows} clicks {clicks}", flush=True)


def clickhouse(csv, folder, asks):
    """ClickHouse's engine in this process."""
    from chdb import session

    engine = session.Session(f"{folder}/chdb")
    engine.query("CREATE DATABASE IF NOT EXISTS bench ENGINE = Atomic")
    engine.query("USE bench")
    columns = "ad UInt32, campaign UInt32, region UInt8, minute UInt32, clicks UInt32, spend Int64"
    engine.query(f"CREATE TABLE IF NOT EXISTS cells ({columns}) ENGINE = MergeTree "
                 "PARTITION BY intDiv(minute, 86400) ORDER BY (ad, minute, region)")
    began = time.perf_counter()
    if int(str(engine.query("SELECT count() FROM cells", "CSV"))) == 0:
        engine.query(f"INSERT INTO cells SELECT * FROM file('{csv}', 'CSV', '{columns}')")
        engine.query("OPTIMIZE TABLE cells FINAL")
    print(f"clickhouse loaded in {time.perf_counter() - began:.1f} s", flush=True)

    def rows_of(answer, question):
        at = 2 if question == "campaign" else 1
        lines = [line.split("\t") for line in answer.bytes().decode().splitlines()]
        return len(lines), sum(int(line[at]) for line in lines)

    # Native is the form it has its answers in; text only where rows are counted.
    seen = {}

    def ask(sql):
        if sql in seen:
            return engine.query(sql, "Native")
        seen[sql] = True
        return engine.query(sql, "TSV")

    report("clickhouse", ask, rows_of, asks)
    print("clickhouse version", str(engine.query("SELECT version()", "TSV")).strip())


def duckdb(csv, folder, asks):
    """DuckDB in this process."""
    import duckdb as engine

    connection = engine.connect(f"{folder}/rows.duckdb")
    connection.execute("SET memory_limit = '6GB'")
    began = time.perf_counter()
    tables = connection.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'cells'").fetchone()
    if tables[0] == 0:
        columns = ("{'ad': 'UINTEGER', 'campaign': 'UINTEGER', 'region': 'UTINYINT', "
                   "'minute': 'UINTEGER', 'clicks': 'UINTEGER', 'spend': 'BIGINT'}")
        connection.execute(f"CREATE TABLE cells AS SELECT * FROM read_csv('{csv}', header = false, "
                           f"columns = {columns}) ORDER BY ad, minute")
    print(f"duckdb loaded in {time.perf_counter() - began:.1f} s", flush=True)

    def rows_of(_, question):
        rows = connection.execute(questions(0)[question]).fetchall()
        return len(rows), sum(row[2 if question == "campaign" else 1] for row in rows)

    report("duckdb", connection.execute, rows_of, asks)
    print("duckdb version", engine.__version__)


if __name__ == "__main__":
    csv, folder = sys.argv[1:3]
    asks = int(sys.argv[3]) if len(sys.argv) > 3 else 100
    clickhouse(csv, folder, asks)
    duckdb(csv, folder, asks)

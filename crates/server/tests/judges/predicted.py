"""Counts logs of predictions by itself and holds the server's figures against them.

    predicted.py FORMAT URL TIMES FILES...    (key in RECKON_API_KEY)

FORMAT is open-bandit, criteo or avazu. TIMES is how often the files have been replayed: impressions
and clicks count the first time, later clicks are duplicates. Compared are impressions, clicks and CTR
by ad and position, in all and by the hour where the log has times. It shares no code with Reckon.
Prints how much it compared; exit code 1 on the first difference.
"""

import collections
import csv
import datetime
import json
import os
import sys
import urllib.request


def main(form, url, times, paths):
    rows = [row for path in paths for row in READERS[form](path)]
    granularities = ["total"] if rows[0][3] is None else ["total", "1h"]
    compared = sum(compare(url, times, rows, granularity) for granularity in granularities)
    clicks = sum(clicked for _, _, clicked, _ in rows)
    print(f"compared {compared} cells by ad, position and hour over {len(rows)} rows with {clicks} clicks: all equal")


def compare(url, times, rows, granularity):
    shown, clicked = collections.Counter(), collections.Counter()
    for ad, position, is_clicked, hour in rows:
        key = (ad, position, hour if granularity == "1h" else None)
        shown[key] += 1
        clicked[key] += is_clicked
    answer = ask(url, granularity)
    seen = {(row["ad_id"], row["position"], row.get("bucket")): row for row in answer}
    if len(seen) != len(answer):
        fail(f"{granularity}: two rows of one key")
    if seen.keys() != shown.keys():
        fail(f"{granularity}: rows differ: {sorted(map(str, seen.keys() ^ shown.keys()))[:5]}")
    for key, count in shown.items():
        row, clicks = seen[key], clicked[key]
        figures = tuple(row[name] for name in ("impressions", "clicks", "duplicates", "invalid", "clicks_gross"))
        expect = (count, clicks, clicks * (times - 1), 0, clicks * times)
        if figures != expect or abs(row["ctr"] - clicks / count) > 1e-9:
            fail(f"{granularity}: {key}: in the files {expect}, the server says {figures}, ctr {row['ctr']}")
    return len(shown)


def open_bandit(path):
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            at = datetime.datetime.fromisoformat(row["timestamp"]).astimezone(datetime.timezone.utc)
            yield f"item-{row['item_id']}", int(row["position"]), int(row["click"]), at.strftime("%Y-%m-%dT%H:00:00Z")


def criteo(path):
    with open(path) as file:
        for line in file:
            columns = line.rstrip("\n").split("\t")
            yield columns[15], 0, int(columns[0]), None


def avazu(path):
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            at = datetime.datetime.strptime(row["hour"], "%y%m%d%H")
            yield row["C14"], 0, int(row["click"]), at.strftime("%Y-%m-%dT%H:00:00Z")


READERS = {"open-bandit": open_bandit, "criteo": criteo, "avazu": avazu}


def ask(url, granularity):
    query = f"from=2000-01-01T00:00:00Z&to=2100-01-01T00:00:00Z&granularity={granularity}&group_by=ad_id,position"
    key = os.environ["RECKON_API_KEY"]
    request = urllib.request.Request(f"{url}/v1/metrics?{query}", headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["rows"]


def fail(message):
    sys.exit(f"differs: {message}")


main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])

"""Counts a TalkingData file by itself and holds the server's figures against it.

    talkingdata.py FILE URL TIMES    (key in RECKON_API_KEY)

TIMES is how often the file has been replayed: clicks count the first time and are duplicates after
it. Compared by ad, by ad and minute, by ad and hour. It shares no code with Reckon. Prints how much
it compared; exit code 1 on the first difference.
"""

import collections
import csv
import json
import os
import sys
import urllib.request


def main(path, url, times):
    rows = read(path)
    compared = 0
    for granularity, digits, tail in [("total", 0, ""), ("1m", 16, ":00Z"), ("1h", 13, ":00:00Z")]:
        expect = collections.Counter()
        for app, click_time in rows:
            bucket = click_time.replace(" ", "T")[:digits] + tail
            expect[f"app-{app}", bucket] += 1
        answer = ask(url, granularity)
        seen = {(row["ad_id"], row.get("bucket", "")): row for row in answer}
        if len(seen) != len(answer):
            fail(f"{granularity}: two rows of one ad and bucket")
        if seen.keys() != expect.keys():
            fail(f"{granularity}: rows differ: {sorted(seen.keys() ^ expect.keys())[:5]}")
        for key, count in expect.items():
            row = seen[key]
            figures = (row["clicks"], row["duplicates"], row["invalid"], row["clicks_gross"])
            if figures != (count, count * (times - 1), 0, count * times):
                fail(f"{granularity}: {key}: counted {count} in the file, the server says {figures}")
            compared += 1
    print(f"compared {compared} rows by ad, minute and hour over {len(rows)} clicks: all equal")


def read(path):
    with open(path, newline="") as file:
        return [(row["app"], row["click_time"]) for row in csv.DictReader(file)]


def ask(url, granularity):
    query = f"from=2017-01-01T00:00:00Z&to=2018-01-01T00:00:00Z&granularity={granularity}&group_by=ad_id"
    key = os.environ["RECKON_API_KEY"]
    request = urllib.request.Request(f"{url}/v1/metrics?{query}", headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["rows"]


def fail(message):
    sys.exit(f"differs: {message}")


main(sys.argv[1], sys.argv[2], int(sys.argv[3]))

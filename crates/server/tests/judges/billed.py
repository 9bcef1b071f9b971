"""A TalkingData file as a hostile client sends it, and what must be billed of it.

    billed.py prepare FILE FOLDER DAY     writes FOLDER/batch-NNN.ndjson and FOLDER/late.ndjson
    billed.py judge FOLDER URL DAY STAGE  compares the server with what was sent (key in RECKON_API_KEY)

Of every five events one is sent a second time later on, of every ten one comes up to 20 hours of event
time after its place. Some hundred clicks of DAY are held back for after it was closed. STAGE is
`before` or `after` those were sent. The recount is SQL (SQLite) over the sent files and shares no code
with Reckon: the first of each id counts, and of clicks from one address in one minute none, where
there are more than MOST. Compared: net and rapid clicks by ad and minute, hour and day; the verdict of
every single event; the records behind one figure; the ledger of DAY.
"""

import csv
import glob
import json
import os
import random
import sqlite3
import sys
import urllib.parse
import urllib.request

MOST = 1
BATCH = 500
PRICE = 10_000
LATE = 300


def prepare(path, folder, day):
    chance = random.Random(7)
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    sent = []
    held = []
    for number, row in enumerate(rows):
        event = event_of(number, row)
        if row["click_time"].startswith(day) and len(held) < LATE and chance.random() < 0.05:
            held.append(event)
            continue
        place = float(number)
        if chance.random() < 0.10:
            place += chance.random() * 20 / 72 * len(rows)
        sent.append((place, event))
        if chance.random() < 0.20:
            sent.append((place + chance.random() * 5_000, event))
    sent.sort(key=lambda pair: pair[0])
    lines = [json.dumps(event) for _, event in sent]
    for at in range(0, len(lines), BATCH):
        write(f"{folder}/batch-{at // BATCH:03}.ndjson", lines[at : at + BATCH])
    write(f"{folder}/late.ndjson", [json.dumps(event) for event in held])
    ads = sorted({row["app"] for row in rows}, key=int)
    write(f"{folder}/ads.txt", [f"app-{app}" for app in ads])
    print(f"prepared {len(lines)} events of {len(rows)} clicks, {len(held)} of them held back")


def event_of(number, row):
    ip = int(row["ip"])
    return {
        "type": "click",
        "ad_id": f"app-{row['app']}",
        "event_id": f"row-{number}",
        "occurred_at": row["click_time"].replace(" ", "T") + "Z",
        "ip": f"10.{ip >> 16 & 255}.{ip >> 8 & 255}.{ip & 255}",
        "user_agent": f"device {row['device']} system {row['os']}",
        "placement": f"channel-{row['channel']}",
    }


def write(path, lines):
    with open(path, "w") as file:
        file.write("".join(line + "\n" for line in lines))


def judge(folder, url, day, stage):
    base = sqlite3.connect(":memory:")
    base.execute("CREATE TABLE sent (id TEXT, ad TEXT, at TEXT, ip TEXT)")
    paths = sorted(glob.glob(f"{folder}/batch-*.ndjson"))
    if stage == "after":
        paths.append(f"{folder}/late.ndjson")
    for path in paths:
        with open(path) as file:
            events = [json.loads(line) for line in file]
        rows = [(e["event_id"], e["ad_id"], e["occurred_at"], e["ip"]) for e in events]
        base.executemany("INSERT INTO sent VALUES (?, ?, ?, ?)", rows)
    base.execute("CREATE TABLE click AS SELECT id, min(ad) ad, min(at) at, min(ip) ip FROM sent GROUP BY id")
    base.execute(
        "CREATE TABLE judged AS SELECT *, CASE WHEN count(*) OVER (PARTITION BY ip, substr(at, 1, 16)) > ?"
        " THEN 'rapid_ip' ELSE 'counted' END verdict FROM click",
        (MOST,),
    )
    compared = [windows(base, url), verdicts(base, url), ledger(base, url, day, stage), explained(base, url)]
    rapid = base.execute("SELECT count(*) FROM judged WHERE verdict = 'rapid_ip'").fetchone()[0]
    if rapid < 100:
        fail(f"only {rapid} rapid clicks: that proves nothing")
    print(
        f"compared {compared[0]} figures by ad and minute, hour and day, {compared[1]} verdicts ({rapid} rapid),"
        f" {compared[2]} amounts of the ledger, {compared[3]} records behind figures: all equal"
    )


def windows(base, url):
    compared = 0
    for granularity, digits, tail in [("1m", 16, ":00Z"), ("1h", 13, ":00:00Z"), ("1d", 10, "T00:00:00Z")]:
        query = (
            "SELECT ad, substr(at, 1, ?) || ?, verdict, count(*) FROM judged GROUP BY 1, 2, 3"
        )
        expect = {row[:3]: row[3] for row in base.execute(query, (digits, tail))}
        asked = "from=2017-01-01T00:00:00Z&to=2018-01-01T00:00:00Z&group_by=ad_id,reason&metrics=clicks_gross"
        seen = {}
        for row in get(url, f"/v1/metrics?{asked}&granularity={granularity}")["rows"]:
            if row["reason"] != "duplicate" and row["clicks_gross"]:
                seen[row["ad_id"], row["bucket"], row["reason"]] = row["clicks_gross"]
        differ(f"figures by {granularity}", expect, seen)
        compared += len(expect)
    return compared


def verdicts(base, url):
    query = "SELECT event_id, verdict FROM events WHERE kind = 'click' AND verdict <> 'duplicate'"
    rows = post(url, "/v1/sql", {"query": query})["rows"]
    seen = {row["event_id"]: row["verdict"] for row in rows}
    if len(seen) != len(rows):
        fail("an event has two verdicts besides duplicate")
    expect = dict(base.execute("SELECT id, verdict FROM judged"))
    differ("verdicts", expect, seen)
    return len(expect)


def ledger(base, url, day, stage):
    period = get(url, f"/v1/billing/periods/{day}")
    if period["state"] != "closed":
        fail(f"{day} is {period['state']}")
    net = base.execute(
        "SELECT count(*) FROM judged WHERE verdict = 'counted' AND substr(at, 1, 10) = ?", (day,)
    ).fetchone()[0]
    adjusted = sum(one["clicks"] for one in period["adjustments"])
    money = sum(one["amount_micros"] for one in period["adjustments"])
    frozen = period["frozen"]["clicks"]
    if stage == "before" and (adjusted or money):
        fail("adjustments before anything came late")
    if stage == "after" and not period["adjustment_count"]:
        fail("no adjustments although clicks came late")
    total = period["totals"][0]
    expect = {"clicks": net, "micros": net * PRICE}
    seen = {"clicks": frozen + adjusted, "micros": frozen * PRICE + money}
    differ("frozen + adjustments", expect, seen)
    differ("ledger", {"total": net * PRICE}, {"total": total["total_micros"]})
    return 3 + period["adjustment_count"]


def explained(base, url):
    query = "SELECT ad, substr(at, 1, 16) || ':00Z' m, count(*) n FROM sent GROUP BY 1, 2 ORDER BY n DESC LIMIT 3"
    compared = 0
    for ad, minute, _ in base.execute(query).fetchall():
        answer = get(url, f"/v1/explain?ad_id={urllib.parse.quote(ad)}&minute={urllib.parse.quote(minute)}")
        clicks = [one for one in answer["records"] if one["kind"] == "click"]
        expect = dict(
            base.execute("SELECT id, verdict FROM judged WHERE ad = ? AND substr(at, 1, 16) = ?", (ad, minute[:16]))
        )
        seen = {one["event_id"]: one["verdict"] for one in clicks if one["verdict"] != "duplicate"}
        differ(f"records behind {ad} {minute}", expect, seen)
        copies = base.execute(
            "SELECT count(*) FROM sent WHERE ad = ? AND substr(at, 1, 16) = ?", (ad, minute[:16])
        ).fetchone()[0]
        if len(clicks) < copies:
            fail(f"{ad} {minute}: {copies} were sent, {len(clicks)} are told")
        compared += len(clicks)
    return compared


def differ(what, expect, seen):
    if expect != seen:
        keys = [key for key in expect.keys() | seen.keys() if expect.get(key) != seen.get(key)]
        told = [(key, expect.get(key), seen.get(key)) for key in sorted(keys, key=str)[:5]]
        fail(f"{what}: {len(keys)} differ (sent, server): {told}")
    if not expect:
        fail(f"{what}: nothing to compare")


def get(url, path):
    return ask(urllib.request.Request(url + path))


def post(url, path, body):
    data = json.dumps(body).encode()
    return ask(urllib.request.Request(url + path, data=data, headers={"Content-Type": "application/json"}))


def ask(request):
    request.add_header("Authorization", f"Bearer {os.environ['RECKON_API_KEY']}")
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def fail(message):
    sys.exit(f"differs: {message}")


if sys.argv[1] == "prepare":
    prepare(*sys.argv[2:])
else:
    judge(*sys.argv[2:])

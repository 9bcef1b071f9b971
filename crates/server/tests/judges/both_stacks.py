#!/usr/bin/env python3
"""Holds two servers that counted one market against what the market knows that it did.

    both_stacks.py TRUTH NAME=URL=KEY NAME=URL=KEY

TRUTH is the file that `reckon simulate --truth` has written. Each server is asked over HTTP as anybody
would ask it: its verdicts in all, its figures by ad and minute, its days, its ledger and invoices. Nothing
of Reckon's code is used here. Prints how many rows were compared, and ends with 1 where one differs.
"""

import collections
import datetime
import json
import sys
import urllib.error
import urllib.parse
import urllib.request

KINDS = {"clicks_gross": "click", "impressions": "impression", "views": "view", "conversions": "conversion"}
TOLD_MAX = 5


class Server:
    def __init__(self, told):
        self.name, self.url, self.key = told.split("=", 2)

    def ask(self, path, method="GET"):
        request = urllib.request.Request(self.url + path, method=method, data=b"" if method == "POST" else None)
        request.add_header("Authorization", "Bearer " + self.key)
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            sys.exit(f"{self.name}: {method} {path}: {error.code} {error.read().decode()}")

    def json(self, path, method="GET"):
        return json.loads(self.ask(path, method))

    def verdicts(self):
        """Records by kind and verdict, of everything that was ever counted."""
        counts = {}
        for line in self.ask("/metrics").splitlines():
            if line.startswith("reckon_records{"):
                labels, count = line[len("reckon_records{"):].rsplit("} ", 1)
                pairs = dict(pair.split("=", 1) for pair in labels.split(","))
                if float(count) != 0:
                    counts[pairs["kind"].strip('"'), pairs["verdict"].strip('"')] = int(float(count))
        return counts

    def figures(self, first, last):
        """Counts by ad, minute, kind and verdict, and what was spent by ad and minute."""
        question = urllib.parse.urlencode({
            "from": first, "to": last, "granularity": "1m", "group_by": "ad_id,reason",
            "metrics": "clicks_gross,impressions,views,conversions,spend_micros"})
        counts, spent = {}, collections.Counter()
        for row in self.json("/v1/metrics?" + question)["rows"]:
            for column, kind in KINDS.items():
                if row[column]:
                    counts[row["ad_id"], row["bucket"], kind, row["reason"]] = row[column]
            if row["spend_micros"]:
                spent[row["ad_id"], row["bucket"]] += row["spend_micros"]
        return counts, dict(spent)

    def ledger(self, day, advertisers):
        """What a closed day came to: its totals, each account's movements and each invoice's lines."""
        self.json(f"/v1/billing/periods/{day}/close", "POST")
        rows = {}
        flatten(rows, ("period",), self.json(f"/v1/billing/periods/{day}"))
        for advertiser in advertisers:
            name = urllib.parse.quote(advertiser, safe="")
            account = self.json(f"/v1/billing/accounts/{name}?from={day}&to={day}")
            flatten(rows, ("account", advertiser), account)
        flatten(rows, ("invoices",), self.json(f"/v1/billing/invoices?day={day}"))
        return rows


# What two servers may tell apart: when something was done, and at which of their own epochs.
OWN = {"cut", "frozen_at", "closed_at", "created_at", "figures_digest", "number", "issued_at"}


def flatten(rows, path, value):
    """Every leaf of an answer by its path."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name not in OWN:
                flatten(rows, path + (name,), inner)
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            flatten(rows, path + (at,), inner)
    else:
        rows[path] = value


class Judge:
    def __init__(self):
        self.compared = self.different = 0

    def same(self, what, left, right):
        """Compares two tables row by row; a row that one of them lacks differs."""
        (left_name, left), (right_name, right) = left, right
        rows = sorted(left.keys() | right.keys(), key=str)
        wrong = [row for row in rows if left.get(row) != right.get(row)]
        if not rows:
            wrong = ["nothing was there to compare"]
        self.compared += len(rows)
        self.different += len(wrong)
        print(f"{'FAILS ' if wrong else 'holds '} {what}, {left_name} = {right_name}: "
              f"{len(rows)} rows compared, {len(wrong)} differ")
        for row in wrong[:TOLD_MAX]:
            if isinstance(row, tuple):
                print(f"       {row}: {left.get(row)} at {left_name}, {right.get(row)} at {right_name}")
            else:
                print(f"       {row}")


def happened(truth):
    """What must be shown: clicks with every verdict, everything else where it counts; and its price."""
    prices = {ad["ad_id"]: ad["cpc_micros"] for ad in truth["market"]["ads"]}
    counts, spent, verdicts = {}, collections.Counter(), collections.Counter()
    for cell in truth["counts"]:
        ad, minute, kind, verdict, count = (
            cell["ad_id"] or "(unknown)", cell["minute"], cell["kind"], cell["verdict"], cell["count"])
        verdicts[kind, verdict] += count
        if kind == "click" or verdict == "counted":
            counts[ad, minute, kind, verdict] = count
        if kind == "click" and verdict == "counted":
            spent[ad, minute] += count * prices[ad]
    return counts, dict(spent), dict(verdicts)


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        truth = json.load(file)
    servers = [Server(told) for told in sys.argv[2:]]
    judge = Judge()
    for name in ("uncertain", "near_border", "failures"):
        if truth[name]:
            sys.exit(f"the truth is not whole: {name} = {truth[name]}")
    counts, spent, verdicts = happened(truth)
    minutes = sorted(minute for _, minute, _, _ in counts)
    days = sorted({minute[:10] for minute in minutes})
    span = (f"{days[0]}T00:00:00Z", next_day(days[-1]) + "T00:00:00Z")

    found = {}
    for server in servers:
        print(f"# {server.name}")
        shown, paid = server.figures(*span)
        judge.same("counts by ad, minute, kind and verdict", ("truth", counts), (server.name, shown))
        judge.same("spend by ad and minute", ("truth", spent), (server.name, paid))
        totals = server.verdicts()
        judge.same("verdicts in all", ("truth", verdicts),
                   (server.name, {row: count for row, count in totals.items() if row in verdicts}))
        advertisers = [row["advertiser_id"] for row in pages(server, "advertisers")]
        ledger = server.ledger(days[0], advertisers)
        charged = sum(micros for (_, minute), micros in spent.items() if minute.startswith(days[0]))
        judge.same(f"charges of {days[0]}", ("truth", {("micros",): charged}),
                   (server.name, {("micros",): total_of(ledger)}))
        found[server.name] = (shown, paid, totals, ledger)

    one, other = (server.name for server in servers)
    print(f"# {one} and {other}")
    for at, what in enumerate(["counts by ad, minute, kind and verdict", "spend by ad and minute",
                               "verdicts in all", f"ledger and invoices of {days[0]}"]):
        judge.same(what, (one, found[one][at]), (other, found[other][at]))
    print(f"{judge.compared} rows compared, {judge.different} differ")
    sys.exit(1 if judge.different else 0)


def pages(server, name):
    """All entries of a list that is answered page by page."""
    after = ""
    while after is not None:
        answer = server.json(f"/v1/{name}" + (f"?after={urllib.parse.quote(after)}" if after else ""))
        yield from answer[name]
        after = answer["next"]


def total_of(ledger):
    """What the closed day charged in all."""
    return sum(value for path, value in ledger.items()
               if path[0] == "period" and path[1] == "totals" and path[-1] == "charge_micros")


def next_day(day):
    return (datetime.date.fromisoformat(day) + datetime.timedelta(days=1)).isoformat()


main()

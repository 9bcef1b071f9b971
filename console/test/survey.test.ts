// How far data reaches is found out by asking: days first, then as finely as it allows.

import { expect, test } from "vitest";

import type { MetricsRow } from "../src/api/types";
import { type Ask, startOf, survey } from "../src/survey";
import { secondsOf, textOf } from "../src/time";

const NOW = secondsOf("2026-11-21T10:00:00Z");

/** `Map.groupBy`, which this Node does not have yet. */
function groupBy(times: number[], of: (time: number) => number): Map<number, number[]> {
  const groups = new Map<number, number[]>();
  for (const time of times) groups.set(of(time), [...(groups.get(of(time)) ?? []), time]);
  return groups;
}

/** A server with one click at each of these times; counts the questions. */
function server(times: number[], keepsSeconds = true): { ask: Ask; asked: string[] } {
  const asked: string[] = [];
  const ask: Ask = (from, to, { name, seconds }) => {
    asked.push(name);
    const end = to === undefined ? NOW : secondsOf(to);
    const isGone = name === "1s" && !keepsSeconds;
    const within = isGone ? [] : times.filter((time) => time >= secondsOf(from) && time < end);
    const buckets = groupBy(within, (time) => Math.floor(time / seconds) * seconds);
    const rows = [...buckets].map(([at, { length }]): MetricsRow => ({ bucket: textOf(at), clicks_gross: length }));
    return Promise.resolve(rows);
  };
  return { ask, asked };
}

test.each<[string, number[], string, number]>([
  ["a minute of a demo, by the second", Array.from({ length: 60 }, (_, at) => NOW - 60 + at), "1s", 60],
  ["a day that ends now, by five minutes", Array.from({ length: 1_440 }, (_, at) => NOW - 86_400 + at * 60), "5m", 288],
  ["ten minutes of last year, by the minute", Array.from({ length: 600 }, (_, at) => NOW - 365 * 86_400 + at), "1m", 10],
  ["four days of years ago, by the hour", Array.from({ length: 96 }, (_, at) => NOW - 3_000 * 86_400 + at * 3_600), "1h", 96],
])("%s", async (_, times, width, count) => {
  const { ask, asked } = server(times);
  const found = await survey(ask, 0, NOW);
  expect([found.granularity.name, found.rows.length]).toEqual([width, count]);
  expect(asked[0]).toBe("1d");
  expect(asked.length).toBeLessThanOrEqual(5);
  const start = startOf(found) ?? 0;
  expect((times[0] ?? 0) - start).toBeLessThan(found.granularity.seconds);
});

test("nothing at all is one question and no start", async () => {
  const { ask, asked } = server([]);
  const found = await survey(ask, 0, NOW);
  expect([found.rows, asked, startOf(found)]).toEqual([[], ["1d"], null]);
});

test("a server that has lost its seconds is shown by what it has", async () => {
  const { ask } = server(Array.from({ length: 60 }, (_, at) => NOW - 60 + at), false);
  const found = await survey(ask, 0, NOW);
  expect([found.granularity.name, found.rows.length]).toEqual(["1m", 1]);
});

// Counted figures over time, as finely as what there is allows. How far data reaches is not known
// beforehand: a minute of a demo, a day of last week, years. So days are asked for first, and then
// finer widths over the part that has anything, until they would be too many.

import type { Client } from "./api/client";
import type { Metrics, MetricsRow } from "./api/types";
import { finest, type Granularity, secondsOf, textOf } from "./time";

/** The most buckets of one chart's answer. */
export const BUCKETS_MAX = 400;
const METRICS = "impressions,clicks,clicks_gross";

export interface Survey {
  rows: MetricsRow[];
  granularity: Granularity;
}

/** Asks for figures in [from, to). */
export type Ask = (from: string, to: string | undefined, granularity: Granularity) => Promise<MetricsRow[]>;

/** A question for a server. */
export function askOf(client: Client, stop: AbortSignal): Ask {
  return async (from, to, granularity) => {
    const parameters = { from, to, granularity: granularity.name, metrics: METRICS };
    return (await client.get<Metrics>("v1/metrics", parameters, stop)).rows;
  };
}

/** All that there is since `from`, both in seconds since 1970; `now` is the server's. */
export async function survey(ask: Ask, from: number, now: number): Promise<Survey> {
  const granularity = finest(now - from, now - from, BUCKETS_MAX);
  let found: Survey = { rows: await ask(textOf(from), undefined, granularity), granularity };
  let hasSeconds = true;
  for (;;) {
    const reach = reachOf(found);
    if (reach === null) return found;
    const age = hasSeconds ? now - reach.from : Number.POSITIVE_INFINITY;
    const finer = finest(reach.to - reach.from, age, BUCKETS_MAX);
    if (finer.seconds >= found.granularity.seconds) return found;
    const rows = await ask(textOf(reach.from), textOf(reach.to), finer);
    // Seconds are kept in a bounded memory, and may be gone where minutes are not.
    if (sumOf(rows) < sumOf(found.rows)) {
      if (finer.seconds >= 60) return found;
      hasSeconds = false;
    } else {
      found = { rows, granularity: finer };
    }
  }
}

function sumOf(rows: readonly MetricsRow[]): number {
  return rows.reduce((sum, row) => sum + (row.impressions ?? 0) + (row.clicks_gross ?? 0), 0);
}

function reachOf({ rows, granularity }: Survey): { from: number; to: number } | null {
  const [first, last] = [rows[0]?.bucket, rows.at(-1)?.bucket];
  if (first === undefined || last === undefined) return null;
  return { from: secondsOf(first), to: secondsOf(last) + granularity.seconds };
}

/** The first instant that anything was counted for, to the width of a bucket; null where nothing was. */
export function startOf(found: Survey): number | null {
  return reachOf(found)?.from ?? null;
}

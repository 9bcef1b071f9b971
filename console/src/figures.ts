// Sums over the rows of an answer. One answer by reason gives totals and verdicts of the same cut of the
// log, so that the two never disagree on the page.

import type { MetricsRow, ModelBucket, Reason } from "./api/types";
import { secondsOf } from "./time";

/** Money by currency, in micros; "" is a currency that the answer did not name. */
export type Spend = Map<string, number>;

export interface Totals {
  impressions: number;
  /** Clicks that count. */
  net: number;
  /** Every click. */
  gross: number;
  spend: Spend;
}

/** Sums rows that were grouped by anything. */
export function totalsOf(rows: readonly MetricsRow[]): Totals {
  const sum = (of: (row: MetricsRow) => number | undefined) =>
    rows.reduce((total, row) => total + (of(row) ?? 0), 0);
  return {
    impressions: sum((row) => row.impressions),
    net: sum((row) => row.clicks),
    gross: sum((row) => row.clicks_gross),
    spend: spendOf(rows),
  };
}

/** What rows cost, currency by currency. */
export function spendOf(rows: readonly MetricsRow[]): Spend {
  const spend: Spend = new Map();
  for (const row of rows) {
    const parts = Object.entries(row.spend_by_currency ?? { "": row.spend_micros ?? 0 });
    for (const [currency, micros] of parts) {
      if (micros !== 0) spend.set(currency, (spend.get(currency) ?? 0) + micros);
    }
  }
  return spend;
}

/** Clicks by impressions; null without impressions. */
export function ctr(clicks: number, impressions: number): number | null {
  return impressions === 0 ? null : clicks / impressions;
}

/** Clicks of each reason that has any. */
export function clicksByReason(rows: readonly MetricsRow[]): Map<Reason, number> {
  const clicks = new Map<Reason, number>();
  for (const { reason, clicks_gross = 0 } of rows) {
    if (reason !== undefined && clicks_gross !== 0) clicks.set(reason, (clicks.get(reason) ?? 0) + clicks_gross);
  }
  return clicks;
}

/** One point of the charts of CTR and loss; null where there is nothing to tell. */
export interface Point {
  /** The middle, in seconds since 1970. */
  at: number;
  actual: number | null;
  predicted: number | null;
  loss: number | null;
  lossConstant: number | null;
}

/** A piece of a history, with what points are made of. */
export interface Piece {
  from: number;
  seconds: number;
  impressions: number;
  clicks: number;
  predictedClicks: number | null;
  loss: number | null;
  lossConstant: number | null;
}

/** Pieces of a model's history. */
export function piecesOfHistory(history: readonly ModelBucket[]): Piece[] {
  return history.map((bucket) => ({
    from: secondsOf(bucket.from),
    // A bucket without a width cannot be drawn.
    seconds: Math.max(1, bucket.seconds),
    impressions: bucket.impressions,
    clicks: bucket.clicks,
    predictedClicks: bucket.predicted_clicks,
    loss: bucket.log_loss,
    lossConstant: bucket.log_loss_constant,
  }));
}

/** Pieces of `/v1/metrics`, where no model is known of. */
export function piecesOfRows(rows: readonly MetricsRow[], seconds: number): Piece[] {
  return rows.map((row) => ({
    from: secondsOf(row.bucket ?? ""),
    seconds,
    impressions: row.impressions ?? 0,
    clicks: row.clicks ?? 0,
    predictedClicks: null,
    loss: null,
    lossConstant: null,
  }));
}

/** No more than `most` points over pieces in order; neighbours are put together by their impressions. */
export function pointsOf(pieces: readonly Piece[], most: number): Point[] {
  const first = pieces[0];
  const last = pieces.at(-1);
  if (first === undefined || last === undefined) return [];
  const finest = Math.min(...pieces.map((piece) => piece.seconds));
  const end = last.from + last.seconds;
  const width = finest * Math.max(1, Math.ceil((end - first.from) / finest / most));
  const groups = new Map<number, Piece[]>();
  for (const piece of pieces) {
    const at = Math.floor((piece.from - first.from) / width);
    groups.set(at, [...(groups.get(at) ?? []), piece]);
  }
  const points: Point[] = [];
  for (let at = 0; first.from + at * width < end; at += 1) {
    points.push(pointOf(groups.get(at) ?? [], first.from + (at + 0.5) * width));
  }
  return points;
}

function pointOf(pieces: readonly Piece[], at: number): Point {
  const impressions = pieces.reduce((sum, piece) => sum + piece.impressions, 0);
  const mean = (of: (piece: Piece) => number | null) => weightedMean(pieces, of);
  return {
    at,
    actual: ctr(pieces.reduce((sum, piece) => sum + piece.clicks, 0), impressions),
    predicted: mean((piece) => perImpression(piece.predictedClicks, piece.impressions)),
    loss: mean((piece) => piece.loss),
    lossConstant: mean((piece) => piece.lossConstant),
  };
}

function perImpression(clicks: number | null, impressions: number): number | null {
  return clicks === null ? null : ctr(clicks, impressions);
}

function weightedMean(pieces: readonly Piece[], of: (piece: Piece) => number | null): number | null {
  let weight = 0;
  let sum = 0;
  for (const piece of pieces) {
    const value = of(piece);
    if (value === null) continue;
    weight += piece.impressions;
    sum += value * piece.impressions;
  }
  return weight === 0 ? null : sum / weight;
}

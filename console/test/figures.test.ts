// What is summed on the page must be what the server would say of the whole.

import { expect, test } from "vitest";

import type { MetricsRow } from "../src/api/types";
import { clicksByReason, piecesOfHistory, piecesOfRows, pointsOf, type Piece, totalsOf } from "../src/figures";

const ROWS: MetricsRow[] = [
  { reason: "counted", impressions: 1_000, clicks: 40, clicks_gross: 40, spend_micros: 10_000_000 },
  { reason: "duplicate", impressions: 0, clicks: 0, clicks_gross: 7, spend_micros: 0 },
  { reason: "declared_robot", impressions: 0, clicks: 0, clicks_gross: 3, spend_micros: 0 },
  { reason: "expired", impressions: 0, clicks: 0, clicks_gross: 0, spend_micros: 0 },
];

test("totals are sums over all verdicts", () => {
  const { impressions, net, gross, spend } = totalsOf(ROWS);
  expect([impressions, net, gross]).toEqual([1_000, 40, 50]);
  expect([...spend]).toEqual([["", 10_000_000]]);
  expect(totalsOf([])).toEqual({ impressions: 0, net: 0, gross: 0, spend: new Map() });
});

test("two currencies are never added", () => {
  const several: MetricsRow = { spend_micros: null, spend_by_currency: { EUR: 5, USD: 7 } };
  const { spend } = totalsOf([several, several, { spend_micros: 1 }]);
  expect([...spend]).toEqual([["EUR", 10], ["USD", 14], ["", 1]]);
});

test("verdicts without clicks are not among the bars", () => {
  expect([...clicksByReason(ROWS)]).toEqual([["counted", 40], ["duplicate", 7], ["declared_robot", 3]]);
});

const piece = (from: number, impressions: number, clicks: number, loss: number | null = null): Piece => ({
  from,
  seconds: 1,
  impressions,
  clicks,
  predictedClicks: impressions / 10,
  loss,
  lossConstant: loss,
});

test("neighbours are put together by their impressions", () => {
  const points = pointsOf([piece(0, 10, 5, 0.2), piece(1, 30, 5, 0.4), piece(2, 0, 0), piece(3, 0, 0)], 2);
  expect(points).toHaveLength(2);
  expect(points[0]).toMatchObject({ at: 1, actual: 0.25, predicted: 0.1 });
  expect(points[0]?.loss).toBeCloseTo(0.35, 12);
  expect(points[1]).toEqual({ at: 3, actual: null, predicted: null, loss: null, lossConstant: null });
});

test("a gap is a gap, and no more points than asked for", () => {
  const points = pointsOf([piece(100, 10, 1), piece(1_099, 10, 1)], 60);
  expect(points.length).toBeLessThanOrEqual(60);
  expect(points.filter(({ actual }) => actual !== null)).toHaveLength(2);
  expect(points[0]?.actual).toBe(0.1);
  expect(points.at(-1)?.actual).toBe(0.1);
  expect(pointsOf([], 60)).toEqual([]);
});

test("a history with nothing in it makes points without figures", () => {
  const empty = {
    from: "2026-11-21T10:00:00Z",
    seconds: 60,
    impressions: 0,
    clicks: 0,
    predicted_clicks: 0,
    log_loss: null,
    log_loss_constant: null,
    auc: null,
  };
  const [point] = pointsOf(piecesOfHistory([empty]), 60);
  expect(point).toEqual({ at: 1_795_255_230, actual: null, predicted: null, loss: null, lossConstant: null });
});

test("a bucket of no width does not make points without end", () => {
  const point = { from: "2026-11-21T10:00:00Z", seconds: 0, impressions: 4, clicks: 1, predicted_clicks: 2 };
  const bucket = { ...point, log_loss: 0.5, log_loss_constant: 0.6, auc: null };
  expect(pointsOf(piecesOfHistory([bucket]), 60)).toEqual([
    { at: 1_795_255_200.5, actual: 0.25, predicted: 0.5, loss: 0.5, lossConstant: 0.6 },
  ]);
});

test("rows without a model tell the actual rate only", () => {
  const rows = [{ bucket: "2026-11-21T10:00:00Z", impressions: 20, clicks: 5, clicks_gross: 6 }];
  expect(pointsOf(piecesOfRows(rows, 60), 60)).toEqual([
    { at: 1_795_255_230, actual: 0.25, predicted: null, loss: null, lossConstant: null },
  ]);
});

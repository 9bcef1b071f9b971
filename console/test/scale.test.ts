// A chart must show what there is, and not make hills of nothing.

import { expect, test } from "vitest";

import { lonely, rangeOf } from "../src/scale";

test("a value between two gaps gets a point, others a line", () => {
  expect(lonely([1, null, 2, 3, null, 4])).toEqual([0, 5]);
  expect(lonely([null, 1, undefined, null])).toEqual([1]);
  expect(lonely([])).toEqual([]);
});

test("scales have air, and end above what they show", () => {
  expect(rangeOf(null, null, true)).toEqual([0, 1]);
  expect(rangeOf(2, 10, true)).toEqual([0, 11]);
  const [low, high] = rangeOf(0.24, 0.28, false);
  expect(low).toBeCloseTo(0.236, 12);
  expect(high).toBeCloseTo(0.284, 12);
});

test("a flat line lies on a scale that is not empty", () => {
  for (const [value, isFromZero] of [[0, true], [0, false], [0.3, false], [5, true]] as const) {
    const [low, high] = rangeOf(value, value, isFromZero);
    expect(low).toBeLessThanOrEqual(value);
    expect(high).toBeGreaterThan(value);
  }
});

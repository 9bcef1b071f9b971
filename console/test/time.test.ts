// The server's clock is the only one, and it may run a day in a minute.

import { expect, test } from "vitest";

import { finest, secondsOf, ServerClock, textOf } from "../src/time";

test.each([
  [60, 60, "1s"],
  [300, 300, "1s"],
  [400, 400, "1s"],
  [401, 401, "1m"],
  [300, 7_200, "1m"],
  [86_400, 86_400, "5m"],
  [7 * 86_400, 7 * 86_400, "1h"],
  [30 * 86_400, 30 * 86_400, "1d"],
  [56 * 365 * 86_400, 56 * 365 * 86_400, "1d"],
])("%d s that began %d s ago are cut by %s", (span, age, name) => {
  expect(finest(span, age, 400).name).toBe(name);
});

test("times are read and written as the server does", () => {
  expect(secondsOf("2026-11-21T10:00:00Z")).toBe(1_795_255_200);
  expect(secondsOf("2026-11-21T11:00:00.5+01:00")).toBe(1_795_255_200.5);
  expect(textOf(1_795_255_200.9)).toBe("2026-11-21T10:00:00Z");
  expect(() => secondsOf("now")).toThrow("no time");
});

function paceOf(factor: number, walls: number[]): number[] {
  const clock = new ServerClock();
  return walls.map((wall) => {
    // The server tells whole seconds.
    clock.note(Math.floor(1_000_000 + wall * factor), 50 + wall);
    return clock.pace;
  });
}

test("a usual clock has the pace of one, whatever the rounding", () => {
  const walls = Array.from({ length: 200 }, (_, at) => at * 0.997);
  expect(new Set(paceOf(1, walls))).toEqual(new Set([1]));
});

test("a scaled clock is seen after a second, and told ever more exactly", () => {
  const paces = paceOf(1_440, [0, 1, 2, 10]);
  expect(paces[0]).toBe(1);
  expect(paces.slice(1)).toEqual([1_440, 1_440, 1_440]);
  expect(paceOf(3, [0, 10, 20]).at(-1)).toBe(3);
});

test("a clock that steps back is not followed", () => {
  const clock = new ServerClock();
  clock.note(100, 0);
  clock.note(90, 1);
  expect(clock.now).toBe(100);
  expect(clock.pace).toBe(1);
});

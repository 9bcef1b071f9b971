// Texts are short, and say the unit.

import { expect, test } from "vitest";

import { count, duration, fine, moment, money, percent, rate, tick } from "../src/format";

test.each([
  [0.4, "0.4 s"],
  [-1, "0.0 s"],
  [9.96, "10.0 s"],
  [12.9, "12 s"],
  [60, "1 min"],
  [200, "3 min 20 s"],
  [3_600, "1 h"],
  [7_505, "2 h 5 min"],
  [97_200, "1 d 3 h"],
  [86_400 * 400, "400 d"],
])("%d seconds are %s", (seconds, text) => {
  expect(duration(seconds)).toBe(text);
});

test("numbers", () => {
  expect([count(1_234_567), count(0)]).toEqual(["1,234,567", "0"]);
  expect([0, 0.05, 1, 99.94, 1_234.5].map(rate)).toEqual(["0.0", "0.05", "1.0", "99.9", "1,235"]);
  expect([percent(0.1234), percent(null), percent(0)]).toEqual(["12.34\u00a0%", "\u2013", "0.00\u00a0%"]);
  expect([fine(0.31234567), fine(null)]).toEqual(["0.3123", "\u2013"]);
});

test("money has the currency that is known of it", () => {
  expect(money(new Map(), "")).toBe("0.00");
  expect(money(new Map(), "EUR")).toBe("\u20ac0.00");
  expect(money(new Map([["", 1_250_000]]), "EUR")).toBe("\u20ac1.25");
  expect(money(new Map([["", 1_250_000]]), "")).toBe("1.25");
  expect(money(new Map([["EUR", 5_000_000], ["USD", 7_000_000]]), "EUR")).toBe("\u20ac5.00 + $7.00");
  expect(money(new Map([["no code", 5_000_000]]), "")).toBe("no code\u00a05.00");
});

test("ticks are as fine as their distance", () => {
  const at = 1_795_255_201;
  expect(moment(at)).toBe("2026-11-21 10:00:01");
  expect([tick(at, 1), tick(at, 60), tick(at, 3_600), tick(at, 86_400)]).toEqual(["10:00:01", "10:00", "10:00", "11-21"]);
  expect([tick(1_795_219_200, 3_600), tick(1_795_219_200, 60)]).toEqual(["11-21", "00:00"]);
});

// Two sources tell the same minutes: what is put later wins, and nothing is counted twice.

import { expect, test } from "vitest";

import { Rates, type Span, spansOf } from "../src/rates";

const span = (from: number, to: number, gross: number): Span => ({ from, to, gross, net: gross / 2 });

function ratesOf(...puts: Span[][]): Rates {
  const rates = new Rates();
  for (const spans of puts) rates.put(spans);
  return rates;
}

test("what is put later wins, and the rest keeps its rate", () => {
  const rates = ratesOf([span(0, 10, 4)], [span(4, 6, 8)]);
  expect(rates.spans).toEqual([span(0, 4, 4), span(4, 6, 8), span(6, 10, 4)]);
  rates.put([span(-5, 5, 2), span(5, 20, 6)]);
  expect(rates.spans).toEqual([span(-5, 5, 2), span(5, 20, 6)]);
});

test("old spans are forgotten to the second", () => {
  const rates = ratesOf([span(0, 10, 4), span(10, 20, 6)]);
  rates.forget(15);
  expect(rates.spans).toEqual([span(15, 20, 6)]);
  rates.forget(30);
  expect(rates.spans).toEqual([]);
  rates.put([]);
  expect(rates.spans).toEqual([]);
});

test("buckets without anything are nought, and the one that runs is left out", () => {
  const spans = spansOf([{ at: 120, gross: 120, net: 60 }], 60, 61, 239);
  expect(spans).toEqual([{ from: 120, to: 180, gross: 2, net: 1 }]);
  expect(spansOf([], 60, 0, 180).map(({ gross }) => gross)).toEqual([0, 0, 0]);
});

test("sums stay the same in random orders", () => {
  // A small generator with a seed: one seed, one history.
  let state = 7;
  const random = (below: number) => {
    state = (state * 48_271) % 2_147_483_647;
    return state % below;
  };
  let compared = 0;
  for (let history = 0; history < 200; history += 1) {
    const rates = new Rates();
    const naive = new Array<number | null>(100).fill(null);
    for (let step = 0; step < 20; step += 1) {
      const from = random(90);
      const to = from + 1 + random(10);
      const gross = random(50);
      rates.put([span(from, to, gross)]);
      naive.fill(gross, from, to);
    }
    const told = new Array<number | null>(100).fill(null);
    let end = Number.NEGATIVE_INFINITY;
    for (const { from, to, gross } of rates.spans) {
      if (from < end) throw new Error(`${from} lies before ${end}`);
      told.fill(gross, from, to);
      end = to;
    }
    expect(told).toEqual(naive);
    compared += naive.length;
  }
  expect(compared).toBe(20_000);
});

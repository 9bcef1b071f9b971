// The key, the reasons, the waits, and the words for failures.

import { expect, test, vi } from "vitest";

import { Refusal } from "../src/api/client";
import type { ActiveModels } from "../src/api/types";
import { keyOf, KeyRing } from "../src/key";
import { waitFor } from "../src/poll";
import { REASONS, wordsOf } from "../src/reasons";
import { noticeOf } from "../src/session";
import { factsOf, gainOf } from "../src/view/model";

test("a key is read from the fragment only", () => {
  expect(keyOf("#key=rk_a-b_c")).toBe("rk_a-b_c");
  expect(keyOf("#other=1&key=a%2Bb")).toBe("a+b");
  for (const fragment of ["", "#", "#key=", "#key=%20", "#rk_abc"]) expect(keyOf(fragment), fragment).toBeNull();
});

function memory(): Storage {
  const kept = new Map<string, string>();
  return {
    getItem: (name: string) => kept.get(name) ?? null,
    setItem: (name: string, value: string) => void kept.set(name, value),
    removeItem: (name: string) => void kept.delete(name),
  } as unknown as Storage;
}

test("a key leaves the address at once, and is kept for the tab", () => {
  const storage = memory();
  const ring = new KeyRing(() => storage);
  const replaceState = vi.fn();
  const location = { hash: "#key=secret", pathname: "/console/", search: "?a=1" } as Location;
  expect(ring.takeFromAddress(location, { replaceState } as unknown as History)).toBe(true);
  expect(replaceState).toHaveBeenCalledExactlyOnceWith(null, "", "/console/?a=1");
  expect(new KeyRing(() => storage).key).toBe("secret");
  ring.forget();
  expect([ring.key, new KeyRing(() => storage).key]).toEqual([null, null]);
});

test("a browser that forbids storage still shows the page", () => {
  const ring = new KeyRing(() => {
    throw new DOMException("denied", "SecurityError");
  });
  ring.keep("secret");
  expect(ring.key).toBe("secret");
});

test("every verdict has a name and a sentence of its own", () => {
  const words = REASONS.map(wordsOf);
  expect(words).toHaveLength(16);
  expect(new Set(words.map(({ name }) => name)).size).toBe(16);
  expect(new Set(words.map(({ meaning }) => meaning)).size).toBe(16);
  for (const { meaning } of words) expect(meaning).toMatch(/^[A-Z].{15,90}\.$/);
});

test("slow and failing answers are asked for less often", () => {
  expect(waitFor(2_000, 5, 0, null)).toBe(2_000);
  expect(waitFor(2_000, 900, 0, null)).toBe(9_000);
  expect(waitFor(2_000, 60_000, 0, null)).toBe(30_000);
  expect([1, 2, 3, 4, 99].map((failures) => waitFor(500, 5, failures, null))).toEqual([1_000, 2_000, 4_000, 8_000, 30_000]);
  expect(waitFor(2_000, 5, 1, 60)).toBe(60_000);
});

test("failures are told in words", () => {
  expect(noticeOf(new TypeError("Failed to fetch"), null)).toBe("The server does not answer. The page goes on asking.");
  expect(noticeOf(new TypeError(), 1_795_255_201)).toContain("is of 2026-11-21 10:00:01 UTC");
  expect(noticeOf(new Refusal(403, "the key's scopes do not hold read", null), null)).toContain("do not hold read");
  expect(noticeOf(new Refusal(429, "rate limit exceeded", 1), null)).toContain("more often than it may");
  expect(noticeOf(new Refusal(503, "the log is full", 1), null)).toContain("(503): the log is full");
});

const MODELS: ActiveModels = {
  active: {
    model_version: "linear-0",
    kind: "linear",
    published_at: null,
    age_s: null,
    trained_rows: 0,
    trained_clicks: 0,
  },
  challenger: null,
  traffic: { active: 1 },
  metrics: {
    impressions: 0,
    clicks: 0,
    ctr: null,
    predicted_ctr: null,
    calibration_ratio: null,
    log_loss: null,
    log_loss_constant: null,
    auc: null,
  },
  history: [],
  rows: { pending: 0, dropped: 0, orphans: 0 },
};

test("a model that has learnt nothing is shown all the same", () => {
  const facts = new Map(factsOf(MODELS).map(({ name, value }) => [name, value]));
  const names = ["Version", "Age", "Learnt from", "Log loss", "Calibration", "AUC", "Challenger"];
  expect(names.map((name) => facts.get(name)))
    .toEqual(["linear-0", "\u2013", "0", "\u2013", "\u2013", "\u2013", "none"]);
  expect(gainOf(MODELS)).toContain("not enough");
});

test("the gain over the constant is told in words", () => {
  const gain = (log_loss: number) =>
    gainOf({ ...MODELS, metrics: { ...MODELS.metrics, log_loss, log_loss_constant: 0.4 } });
  expect(gain(0.3)).toBe("25.00\u00a0% better than the constant CTR (0.4000)");
  expect(gain(0.5)).toContain("25.00\u00a0% worse");
});

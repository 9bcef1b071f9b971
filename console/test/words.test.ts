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
    model_version: "linear-1842",
    kind: "linear",
    published_at: "2026-11-21T10:00:00Z",
    age_s: 0.4,
    trained_rows: 12_345,
    trained_clicks: null,
  },
  challenger: null,
  traffic: { active: 1 },
  metrics: null,
  history: null,
};

test("a model without figures yet is shown all the same", () => {
  const facts = new Map(factsOf(MODELS).map(({ name, value }) => [name, value]));
  expect([facts.get("Version"), facts.get("Published"), facts.get("Learnt from"), facts.get("Log loss"), facts.get("Challenger")])
    .toEqual(["linear-1842", "0.4 s ago", "12,345", "\u2013", "none"]);
  expect(factsOf({ ...MODELS, active: null })).toEqual([]);
});

test("the gain over the constant is told in words", () => {
  const metrics = {
    impressions: 10, clicks: 1, ctr: 0.1, predicted_ctr: 0.1, calibration_ratio: 1, auc: 0.7,
    log_loss: 0.3, log_loss_constant: 0.4,
  };
  expect(gainOf({ ...MODELS, metrics })).toBe("25.00\u00a0% better than the constant CTR (0.4000)");
  expect(gainOf({ ...MODELS, metrics: { ...metrics, log_loss: 0.5 } })).toContain("25.00\u00a0% worse");
  expect(gainOf(MODELS)).toContain("not enough");
});

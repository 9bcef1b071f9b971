// The stream arrives in pieces that know nothing of events.

import { expect, test } from "vitest";

import { EventReader } from "../src/api/events";

function read(...pieces: string[]): string[] {
  const reader = new EventReader(100);
  return pieces.flatMap((piece) => reader.push(piece));
}

test("events are whole however the text is cut", () => {
  const text = ":\n\ndata: {\"a\":1}\n\n: still here\n\ndata: two\ndata: lines\n\nevent: other\nid: 7\ndata:x\n\n";
  const whole = ["{\"a\":1}", "two\nlines", "x"];
  expect(read(text)).toEqual(whole);
  let compared = 0;
  for (let at = 1; at < text.length; at += 1) {
    expect(read(text.slice(0, at), text.slice(at)), `cut at ${at}`).toEqual(whole);
    compared += 1;
  }
  expect(read(...text)).toEqual(whole);
  expect(compared).toBeGreaterThan(50);
});

test("all three line ends are read, also in two pieces", () => {
  expect(read("data: a\r\n\r\ndata: b\r\rdata: c\n\n")).toEqual(["a", "b", "c"]);
  expect(read("data: a\r", "\n\r", "\ndata: b\n", "\n")).toEqual(["a", "b"]);
});

test("an event that is not ended is not told", () => {
  expect(read("data: half\n")).toEqual([]);
  expect(read("\n\n\n")).toEqual([]);
  expect(read("data\n\n")).toEqual([""]);
});

test("an event without an end is an error, not a full memory", () => {
  expect(() => read(`data: ${"x".repeat(90)}`, "y".repeat(20))).toThrow("without an end");
  expect(() => read(...Array.from({ length: 30 }, () => "data: 12345\n"))).toThrow("without an end");
});

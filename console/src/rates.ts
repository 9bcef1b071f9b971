// Clicks per second over the last minutes, put together from two sources: spans that the live stream
// tells as they pass, and buckets that are asked for at the start and now and then, because events that
// come late by their own time are in those only. A span is from here to there and has a rate; of two
// that overlap the later put wins, and what is left of the other keeps its rate.

/** A piece of time in seconds, [from, to), with clicks per second in it. */
export interface Span {
  from: number;
  to: number;
  gross: number;
  net: number;
}

export class Rates {
  #spans: Span[] = [];

  /** In order, without overlap. */
  get spans(): readonly Span[] {
    return this.#spans;
  }

  /** Puts spans, which are in order and leave no gap, over what is there. */
  put(spans: readonly Span[]): void {
    const first = spans[0];
    const last = spans.at(-1);
    if (first === undefined || last === undefined) return;
    const before = clip(this.#spans, Number.NEGATIVE_INFINITY, first.from);
    const after = clip(this.#spans, last.to, Number.POSITIVE_INFINITY);
    this.#spans = [...before, ...spans, ...after];
  }

  /** Forgets what lies before. */
  forget(before: number): void {
    this.#spans = clip(this.#spans, before, Number.POSITIVE_INFINITY);
  }

  /** The mean of [from, to); null where nothing is known of it. */
  mean(from: number, to: number): { gross: number; net: number } | null {
    const known = clip(this.#spans, from, to);
    const seconds = known.reduce((sum, span) => sum + span.to - span.from, 0);
    if (seconds === 0) return null;
    const of = (rate: (span: Span) => number) =>
      known.reduce((sum, span) => sum + rate(span) * (span.to - span.from), 0) / seconds;
    return { gross: of((span) => span.gross), net: of((span) => span.net) };
  }
}

function clip(spans: readonly Span[], from: number, to: number): Span[] {
  return spans
    .map((span) => ({ ...span, from: Math.max(span.from, from), to: Math.min(span.to, to) }))
    .filter((span) => span.from < span.to);
}

/** What was counted in a bucket. */
export interface Bucket {
  at: number;
  gross: number;
  net: number;
}

/** Buckets of this width as spans over all of [from, to); those that are not told had nothing. */
export function spansOf(buckets: readonly Bucket[], width: number, from: number, to: number): Span[] {
  const told = new Map(buckets.map((bucket) => [bucket.at, bucket]));
  const spans: Span[] = [];
  for (let at = Math.ceil(from / width) * width; at + width <= to; at += width) {
    const { gross, net } = told.get(at) ?? { gross: 0, net: 0 };
    spans.push({ from: at, to: at + width, gross: gross / width, net: net / width });
  }
  return spans;
}

// Time as the server tells it. The server may run on a scaled clock, a market day in a minute, so the
// browser's clock says nothing here but how long something took.

/** The widths that the server counts in, finest first, with their seconds. */
export const GRANULARITIES = [
  { name: "1s", seconds: 1 },
  { name: "1m", seconds: 60 },
  { name: "5m", seconds: 300 },
  { name: "1h", seconds: 3_600 },
  { name: "1d", seconds: 86_400 },
] as const;

export type Granularity = (typeof GRANULARITIES)[number];

/** The widest. */
export const DAY: Granularity = GRANULARITIES[4];

/** Seconds are kept for an hour; asked for a little less, since the clock goes on while a question travels. */
const SECONDS_KEPT = 3_500;

/** The finest width that cuts a span into no more than `most` pieces; `age_s` is how long ago it began. */
export function finest(span_s: number, age_s: number, most: number): Granularity {
  const fits = ({ seconds }: Granularity) =>
    span_s / seconds <= most && (seconds >= 60 || age_s <= SECONDS_KEPT);
  return GRANULARITIES.find(fits) ?? DAY;
}

/** Seconds since 1970 of an RFC 3339 text. */
export function secondsOf(text: string): number {
  const milliseconds = Date.parse(text);
  if (Number.isNaN(milliseconds)) throw new Error(`${text} is no time`);
  return milliseconds / 1_000;
}

/** RFC 3339 of seconds since 1970. */
export function textOf(seconds: number): string {
  return new Date(Math.floor(seconds) * 1_000).toISOString().replace(".000Z", "Z");
}

/** Seconds that the server's clock can be off by rounding, seen over a short time. */
const ROUNDING_S = 2;

/** Follows the server's clock: what it shows, and how fast it runs beside the wall's. */
export class ServerClock {
  #first: { now: number; wall: number } | null = null;
  #now: number | null = null;
  #pace = 1;

  /** The server's clock showed `now` when ours showed `wall`, both in seconds. */
  note(now: number, wall: number): void {
    this.#first ??= { now, wall };
    this.#now = Math.max(now, this.#now ?? now);
    const wallPassed = wall - this.#first.wall;
    if (wallPassed < 0.5) return;
    const passed = now - this.#first.now;
    const isAsFast = Math.abs(passed - wallPassed) <= ROUNDING_S + 0.1 * wallPassed;
    this.#pace = isAsFast ? 1 : Math.max(1, Math.round(passed / wallPassed));
  }

  /** What it last showed, in seconds since 1970. */
  get now(): number | null {
    return this.#now;
  }

  /** Its seconds in one of the wall's; 1 for all but demos and tests. */
  get pace(): number {
    return this.#pace;
  }
}

// What a chart decides before it draws.

/** Where a value stands between two gaps: no line leads there, so it needs a point. */
export function lonely(values: ArrayLike<number | null | undefined>): number[] {
  const isThere = (at: number) => values[at] !== null && values[at] !== undefined;
  return Array.from(values, (_, at) => at).filter((at) => isThere(at) && !isThere(at - 1) && !isThere(at + 1));
}

/** A scale with air above, and below where it does not begin at nought. */
export function rangeOf(low: number | null, high: number | null, isFromZero: boolean): [number, number] {
  if (low === null || high === null || !Number.isFinite(low) || !Number.isFinite(high)) return [0, 1];
  if (isFromZero && high <= 0) return [0, 1];
  const air = 0.1 * Math.max(high - (isFromZero ? 0 : low), 1e-3 * Math.abs(high), 1e-9);
  return isFromZero ? [0, high + air] : [low - air, high + air];
}

// Numbers, money and times as texts. English, and UTC, because that is what the server counts in.

import type { Spend } from "./figures";

/** Stands where there is no figure. */
export const NONE = "\u2013";

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const TENTHS = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const HUNDREDTHS = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const PLAIN = new Intl.NumberFormat("en", { maximumFractionDigits: 4 });
const ROUGH = new Intl.NumberFormat("en", { maximumSignificantDigits: 2 });
const FOUR = new Intl.NumberFormat("en", { minimumFractionDigits: 4, maximumFractionDigits: 4 });

/** 1,234,567 */
export function count(value: number): string {
  return WHOLE.format(value);
}

/** A number of a scale: as many digits as it has, up to four behind the point. */
export function plain(value: number): string {
  return PLAIN.format(value);
}

/** Two digits that count: 1,500 for 1,478. */
export function about(value: number): string {
  return ROUGH.format(value);
}

/** Clicks per second: 1,234 or 12.3 or 0.05. */
export function rate(value: number): string {
  if (value >= 100) return WHOLE.format(value);
  return value === 0 || value >= 1 ? TENTHS.format(value) : HUNDREDTHS.format(value);
}

/** 0.1234 as 12.34 % */
export function percent(value: number | null): string {
  return value === null ? NONE : `${HUNDREDTHS.format(100 * value)}\u00a0%`;
}

/** Losses and areas: four digits. */
export function fine(value: number | null): string {
  return value === null ? NONE : FOUR.format(value);
}

/** Ratios around 1: two digits. */
export function ratio(value: number | null): string {
  return value === null ? NONE : HUNDREDTHS.format(value);
}

/** Money of each currency; `usual` is the currency where the answer named none, "" where it is not known. */
export function money(spend: Spend, usual: string): string {
  if (spend.size === 0) return amount(0, usual);
  return [...spend].map(([currency, micros]) => amount(micros, currency === "" ? usual : currency)).join(" + ");
}

function amount(micros: number, currency: string): string {
  const value = micros / 1_000_000;
  if (currency === "") return HUNDREDTHS.format(value);
  try {
    return new Intl.NumberFormat("en", { style: "currency", currency }).format(value);
  } catch {
    return `${currency}\u00a0${HUNDREDTHS.format(value)}`;
  }
}

/** 0.4 s, 12 s, 3 min 20 s, 2 h 5 min, 4 d 3 h. */
export function duration(seconds: number): string {
  if (seconds < 10) return `${TENTHS.format(Math.max(0, seconds))} s`;
  const units: Array<[number, string]> = [[86_400, "d"], [3_600, "h"], [60, "min"], [1, "s"]];
  const whole = Math.floor(seconds);
  const at = units.findIndex(([width]) => whole >= width);
  const parts = units.slice(at, at + 2).map(([width, unit], place) => {
    const above = place === 0 ? Number.POSITIVE_INFINITY : (units[at] as [number, string])[0];
    return { value: Math.floor((whole % above) / width), unit };
  });
  return parts.filter(({ value }, place) => place === 0 || value > 0).map(({ value, unit }) => `${value} ${unit}`).join(" ");
}

/** 2026-11-21 10:00:01 */
export function moment(seconds: number): string {
  return new Date(seconds * 1_000).toISOString().slice(0, 19).replace("T", " ");
}

/** A tick of a time axis whose ticks are `step` seconds apart. */
export function tick(seconds: number, step: number): string {
  const text = new Date(seconds * 1_000).toISOString();
  const isMidnight = seconds % 86_400 === 0;
  if (step >= 86_400 || (isMidnight && step >= 3_600)) return text.slice(5, 10);
  return step < 60 ? text.slice(11, 19) : text.slice(11, 16);
}

// Keeps the screen up to date for one key: follows the live stream and asks for the rest, each
// question at its own pace. Nothing runs while nobody looks.

import { type Client, Refusal } from "./api/client";
import type { ActiveModels, Advertisers, Health, LiveEvent, Metrics } from "./api/types";
import { piecesOfHistory, piecesOfRows, pointsOf, type Piece } from "./figures";
import { moment } from "./format";
import { poll } from "./poll";
import { Rates, spansOf } from "./rates";
import type { PeriodWords, Screen } from "./screen";
import { askOf, BUCKETS_MAX, startOf, survey } from "./survey";
import { finest, secondsOf, ServerClock, textOf } from "./time";

/** The live chart shows so many seconds by the wall's clock at the most, and at the least. */
const WINDOW_S = { most: 300, least: 60 };
/** Points of the charts of CTR and loss. */
const POINTS_MAX = 60;
const ADS_MAX = 10;
/** Seconds younger than this are left out of the CTR where there are others. */
const RIPE_S = 3;

/** How often each question is asked, in milliseconds. */
const EVERY_MS = {
  figures: 2_000,
  model: 2_000,
  health: 5_000,
  late: 10_000,
  survey: 5_000,
  currency: 60_000,
  stream: 1_000,
};
type Question = keyof typeof EVERY_MS;

/** A part of all time that figures are shown of. */
export interface Period {
  /** Null for all. */
  seconds: number | null;
  words: PeriodWords;
}

export const PERIODS: Record<string, Period> = {
  hour: { seconds: 3_600, words: "in the last hour" },
  day: { seconds: 86_400, words: "in the last 24 hours" },
  all: { seconds: null, words: "yet" },
};

export class Session {
  readonly #client: Client;
  readonly #screen: Screen;
  /** Told when the key is not, or no longer, good. */
  readonly #expel: (words: string) => void;
  #running: AbortController | null = null;
  #ofPeriod: AbortController | null = null;
  #late: AbortController | null = null;
  #period: Period;
  #clock = new ServerClock();
  /** The pace that the live chart was last filled for. */
  #pace = 1;
  #rates = new Rates();
  /** When the first event happened that is known of. */
  #start: number | null = null;
  #currency = "";
  /** Whether the currency was asked for once, with whatever outcome. */
  readonly #currencyAsked = Promise.withResolvers<void>();
  #answered: number | null = null;
  /** Null where there are none, undefined before the first answer. */
  #models: ActiveModels | null | undefined;
  /** Null before the first answer. */
  #surveyed: Piece[] | null = null;
  readonly #failures = new Map<Question, unknown>();

  constructor(client: Client, screen: Screen, period: Period, expel: (words: string) => void) {
    this.#client = client;
    this.#screen = screen;
    this.#period = period;
    this.#expel = expel;
  }

  /** Begins, or goes on after a pause. */
  run(): void {
    if (this.#running !== null) return;
    this.#running = new AbortController();
    this.#clock = new ServerClock();
    this.#rates = new Rates();
    const stop = this.#running.signal;
    this.#ask("stream", (stop) => this.#follow(stop), stop);
    this.#ask("health", (stop) => this.#askHealth(stop), stop);
    this.#ask("model", (stop) => this.#askModel(stop), stop);
    this.#ask("currency", (stop) => this.#askCurrency(stop), stop);
    this.#runPeriod();
  }

  pause(): void {
    for (const controller of [this.#late, this.#ofPeriod, this.#running]) controller?.abort();
    this.#running = null;
    this.#late = null;
    this.#failures.clear();
  }

  show(period: Period): void {
    this.#period = period;
    this.#surveyed = null;
    if (this.#running !== null) this.#runPeriod();
  }

  #runPeriod(): void {
    this.#ofPeriod?.abort();
    this.#ofPeriod = new AbortController();
    const stop = this.#ofPeriod.signal;
    this.#ask("figures", (stop) => this.#askFigures(stop), stop);
    this.#ask("survey", (stop) => this.#askSurvey(stop), stop);
  }

  #ask(question: Question, ask: (stop: AbortSignal) => Promise<void>, stop: AbortSignal): void {
    void poll(EVERY_MS[question], ask, (error) => this.#note(question, error), stop);
  }

  /** Tells what is wrong while anything is. */
  #note(question: Question, error: unknown): void {
    if (error instanceof Refusal && error.status === 401) return this.#expel(error.message);
    if (error === null) this.#failures.delete(question);
    else this.#failures.set(question, error);
    if (question === "health" && error !== null) this.#screen.health({ kind: "silent" });
    if (question === "currency") this.#currencyAsked.resolve();
    const [failure] = this.#failures.values();
    this.#screen.notice(failure === undefined ? null : noticeOf(failure, this.#answered));
  }

  // ---- what is asked ------------------------------------------------------------------------------

  async #follow(stop: AbortSignal): Promise<void> {
    let heard = 0;
    const take = (event: LiveEvent) => {
      heard += 1;
      this.#live(event);
    };
    try {
      await this.#client.follow<LiveEvent>("v1/live", take, stop);
    } catch (error) {
      // One that worked until now is opened again at once; what is wrong then is told then.
      if (heard === 0) throw error;
    }
    if (heard === 0) throw new Error("the server has ended the stream");
  }

  #live(event: LiveEvent): void {
    const [from, to] = [secondsOf(event.at), secondsOf(event.until)];
    this.#failures.delete("stream");
    this.#clock.note(to, performance.now() / 1_000);
    this.#screen.clock(to, this.#clock.pace);
    const seconds = to - from;
    this.#rates.put([{ from, to, gross: event.clicks_gross / seconds, net: event.clicks / seconds }]);
    this.#showLive();
    const hasOtherPace = Math.abs(Math.log(this.#clock.pace / this.#pace)) > 0.2;
    if (this.#late === null || hasOtherPace) this.#runLate();
  }

  /** Asks for what the stream does not tell: what was before, and what comes late by its own time. */
  #runLate(): void {
    this.#late?.abort();
    this.#late = new AbortController();
    this.#pace = this.#clock.pace;
    this.#ask("late", (stop) => this.#askLate(stop), this.#late.signal);
  }

  async #askLate(stop: AbortSignal): Promise<void> {
    const { from, to } = this.#window();
    const granularity = finest(to - from, to - from, BUCKETS_MAX);
    const rows = await askOf(this.#client, stop)(textOf(from), textOf(to), granularity);
    const buckets = rows.map((row) => ({
      at: secondsOf(row.bucket ?? ""),
      gross: row.clicks_gross ?? 0,
      net: row.clicks ?? 0,
    }));
    this.#rates.put(spansOf(buckets, granularity.seconds, from, to));
    this.#showLive();
  }

  /** What the live chart shows: less than the most where there was nothing before. */
  #window(): { from: number; to: number } {
    const to = this.#clock.now ?? 0;
    const { pace } = this.#clock;
    const earliest = to - WINDOW_S.most * pace;
    const latest = to - WINDOW_S.least * pace;
    return { from: Math.floor(Math.max(earliest, Math.min(this.#start ?? earliest, latest))), to };
  }

  #showLive(): void {
    const { from, to } = this.#window();
    this.#rates.forget(from);
    this.#screen.live(this.#rates.spans, from, to);
  }

  async #askFigures(stop: AbortSignal): Promise<void> {
    const period = this.#period;
    const from = textOf(period.seconds === null ? 0 : (await this.#now(stop)) - period.seconds);
    const [figures, ads] = await Promise.all([
      this.#client.get<Metrics>("v1/metrics", { from, group_by: "reason" }, stop),
      this.#askAds(period, from, stop),
      this.#currencyAsked.promise,
    ]);
    this.#answered = this.#clock.now ?? secondsOf(figures.to);
    // Who reads that ads were shown must not read beside it that none were.
    const hasImpressions = figures.rows.some((row) => (row.impressions ?? 0) > 0);
    if (hasImpressions && this.#surveyed?.length === 0) await this.#askSurvey(stop);
    this.#screen.figures(figures, ads.rows, this.#currency, period.words);
  }

  /** The ranking is made for windows; all time is a question like any other. */
  async #askAds({ seconds }: Period, from: string, stop: AbortSignal): Promise<Metrics> {
    if (seconds !== null) {
      return this.#client.get("v1/ads/top", { window: `${seconds / 60}m`, k: ADS_MAX }, stop);
    }
    const all = { from, group_by: "ad_id", order_by: "clicks:desc", limit: ADS_MAX };
    return this.#client.get("v1/metrics", all, stop);
  }

  /** The server's clock; asked for where the stream has not told it yet. */
  async #now(stop: AbortSignal): Promise<number> {
    if (this.#clock.now !== null) return this.#clock.now;
    const { to } = await this.#client.get<Metrics>("v1/metrics", { granularity: "1s", metrics: "clicks" }, stop);
    return secondsOf(to);
  }

  async #askSurvey(stop: AbortSignal): Promise<void> {
    const { seconds } = this.#period;
    const now = await this.#now(stop);
    const found = await survey(askOf(this.#client, stop), seconds === null ? 0 : now - seconds, now);
    if (seconds === null) this.#start = startOf(found);
    const pieces = piecesOfRows(found.rows, found.granularity.seconds);
    // The second that runs, and the one before it, have their impressions and not yet all their clicks.
    const ripe = pieces.filter((piece) => piece.seconds > 1 || piece.from <= now - RIPE_S);
    this.#surveyed = ripe.length > 0 ? ripe : pieces;
    this.#showModel();
  }

  async #askModel(stop: AbortSignal): Promise<void> {
    const isNone = (error: unknown) => error instanceof Refusal && error.status === 404;
    this.#models = await this.#client.get<ActiveModels>("api/models/active", {}, stop).catch((error: unknown) => {
      if (isNone(error)) return null;
      throw error;
    });
    this.#showModel();
  }

  /** A model's own history where it has one: prediction and outcome of the same impressions. */
  #showModel(): void {
    const history = piecesOfHistory(this.#models?.history ?? []);
    const pieces = history.length > 0 ? history : this.#surveyed;
    this.#screen.model(this.#models, pieces === null ? null : pointsOf(pieces, POINTS_MAX));
  }

  async #askHealth(stop: AbortSignal): Promise<void> {
    const { status, reasons = [] } = await this.#client.get<Health>("readyz", {}, stop, [503]);
    this.#screen.health(status === "ready" ? { kind: "ready" } : { kind: "not ready", reasons });
  }

  /** An answer names the currency only where there are several; else it is that of all advertisers. */
  async #askCurrency(stop: AbortSignal): Promise<void> {
    const { advertisers, next } = await this.#client.get<Advertisers>("v1/advertisers", { limit: 1_000 }, stop);
    const currencies = new Set(advertisers.map(({ currency }) => currency));
    const [only] = currencies;
    this.#currency = currencies.size === 1 && (next ?? null) === null ? (only ?? "") : "";
  }
}

/** A failure in words; `answered` is when the last answer came, by the server's clock. */
export function noticeOf(failure: unknown, answered: number | null): string {
  if (failure instanceof Refusal) {
    if (failure.status === 403) return `This key may not see this: ${failure.message}.`;
    if (failure.status === 429) return "This key asks more often than it may. The page waits before it asks again.";
    return `The server cannot answer (${failure.status}): ${failure.message}. The page goes on asking.`;
  }
  const since = answered === null ? "" : ` What stands here is of ${moment(answered)} UTC.`;
  return `The server does not answer.${since} The page goes on asking.`;
}

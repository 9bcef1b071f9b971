// What the page shows, and the words for what it cannot show. It knows nothing of how figures come.

import type { ActiveModels, Finality, Metrics, MetricsRow } from "./api/types";
import { byId, say } from "./dom";
import type { Point } from "./figures";
import { about, duration, fine, moment, percent, plain, rate } from "./format";
import type { Span } from "./rates";
import { AdsView } from "./view/ads";
import { Chart } from "./view/chart";
import { ModelView } from "./view/model";
import { TotalsView, VerdictsView } from "./view/totals";

const NO_CLICKS =
  "No clicks yet: register an ad, ask for it at /v1/ads/serve, show it and click it. " +
  "The command \u201creckon demo\u201d sends a generated day.";

const FINALITY: Record<string, string> = {
  false: "they can still change",
  server: "clicks and pixels are complete, batches may still add to them",
  all: "they are final",
};

/** Whether the server can do its work. */
export type HealthState =
  | { kind: "ready" }
  | { kind: "not ready"; reasons: string[] }
  | { kind: "silent" };

/** Which part of all time is shown, in words. */
export type PeriodWords = "in the last hour" | "in the last 24 hours" | "yet";

export class Screen {
  readonly #totals = new TotalsView();
  readonly #verdicts = new VerdictsView();
  readonly #ads = new AdsView();
  readonly #model = new ModelView();
  readonly #health = byId("health", HTMLElement);
  readonly #clock = byId("clock", HTMLElement);
  readonly #notice = byId("notice", HTMLElement);
  readonly #cut = byId("cut", HTMLElement);
  readonly #liveSpan = byId("live-span", HTMLElement);
  readonly #rateSpan = byId("rate-span", HTMLElement);
  readonly #live = new Chart(byId("live-chart", HTMLElement), {
    title: "Clicks per second",
    lines: [
      { label: "net", colour: "--accent", isFilled: true },
      { label: "gross", colour: "--ink-soft" },
    ],
    format: rate,
    axis: plain,
    isFromZero: true,
  });
  readonly #rate = new Chart(byId("rate-chart", HTMLElement), {
    title: "CTR, predicted and actual",
    lines: [
      { label: "predicted", colour: "--accent" },
      { label: "actual", colour: "--ink-soft" },
    ],
    format: percent,
    axis: (value) => `${plain(100 * value)}\u00a0%`,
    isFromZero: true,
  });
  readonly #loss = new Chart(byId("loss-chart", HTMLElement), {
    title: "Log loss of the model and of the constant CTR",
    lines: [
      { label: "model", colour: "--accent" },
      { label: "constant CTR", colour: "--ink-soft", isDashed: true },
    ],
    format: fine,
    axis: plain,
    isFromZero: false,
  });
  #hasClicks = false;

  /** Totals and verdicts of one answer, and the ads that are clicked most. */
  figures({ rows, as_of, final }: Metrics, ads: readonly MetricsRow[], currency: string, period: PeriodWords): void {
    this.#totals.show(rows, currency);
    this.#hasClicks = rows.some((row) => (row.clicks_gross ?? 0) > 0);
    this.#verdicts.show(rows, period === "yet" ? NO_CLICKS : `No clicks ${period}.`);
    this.#ads.show(ads, currency, `No clicks ${period}: the ads that are clicked most stand here.`);
    say(this.#cut, `Totals and verdicts as of position ${as_of} of the log; ${finalityWords(final)}.`);
  }

  /** Clicks per second in [from, to). */
  live(spans: readonly Span[], from: number, to: number): void {
    const isEmpty = spans.every((span) => span.gross === 0);
    const shown = duration(to - from);
    say(this.#liveSpan, `last ${shown}`);
    this.#live.draw({
      times: spans.map((span) => (span.from + span.to) / 2),
      values: [spans.map((span) => span.net), spans.map((span) => span.gross)],
      from,
      to,
      empty: isEmpty ? (this.#hasClicks ? `No clicks in the last ${shown}.` : NO_CLICKS) : null,
    });
  }

  /** CTR and loss over time, and the model behind them; what is not known yet is not shown yet. */
  model(models: ActiveModels | null | undefined, points: readonly Point[] | null): void {
    if (models === undefined) return;
    this.#model.show(models);
    if (points === null) return;
    const [from, to] = [points[0]?.at ?? 0, points.at(-1)?.at ?? 1];
    const times = points.map((point) => point.at);
    const room = { times, from, to: Math.max(to, from + 1) };
    const isModelKnown = models !== null;
    say(this.#rateSpan, isModelKnown ? "predicted against actual" : "actual; no model predicts yet");
    this.#rate.draw({
      ...room,
      values: [points.map((point) => point.predicted), points.map((point) => point.actual)],
      empty: points.some((point) => point.actual !== null)
        ? null
        : "No impressions yet: a CTR needs ads that were shown.",
    });
    this.#loss.draw({
      ...room,
      values: [points.map((point) => point.loss), points.map((point) => point.lossConstant)],
      empty: points.some((point) => point.loss !== null) ? null : lossWords(isModelKnown),
    });
  }

  health(state: HealthState): void {
    this.#health.dataset["state"] = state.kind;
    say(this.#health, healthWords(state));
  }

  /** The server's clock; `pace` is how many times as fast as the wall's it runs. */
  clock(now: number, pace: number): void {
    say(this.#clock, `${moment(now)} UTC${pace > 1 ? `, about ${about(pace)} times as fast` : ""}`);
  }

  /** What is wrong, in words; null where nothing is. */
  notice(words: string | null): void {
    this.#notice.hidden = words === null;
    say(this.#notice, words ?? "");
  }
}

function healthWords(state: HealthState): string {
  switch (state.kind) {
    case "ready":
      return "Ready";
    case "not ready":
      return `Not ready: ${state.reasons.join("; ") || "no reason was given"}`;
    case "silent":
      return "No answer";
  }
}

function finalityWords(final: Finality): string {
  return FINALITY[String(final)] ?? "";
}

function lossWords(isModelKnown: boolean): string {
  return isModelKnown
    ? "Not enough was counted yet to judge the model."
    : "No model yet: its log loss stands here beside that of always predicting the mean CTR.";
}

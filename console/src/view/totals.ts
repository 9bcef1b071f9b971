// The five figures at the top, and the bars of what clicks were judged to be. Both come out of one
// answer, so gross is always the sum of the bars.

import type { MetricsRow, Reason } from "../api/types";
import { byId, make, say, showOr } from "../dom";
import { clicksByReason, ctr, totalsOf } from "../figures";
import { count, money, percent } from "../format";
import { REASONS, wordsOf } from "../reasons";

export class TotalsView {
  readonly #net = byId("total-net", HTMLElement);
  readonly #gross = byId("total-gross", HTMLElement);
  readonly #leftOut = byId("total-left-out", HTMLElement);
  readonly #impressions = byId("total-impressions", HTMLElement);
  readonly #ctr = byId("total-ctr", HTMLElement);
  readonly #spend = byId("total-spend", HTMLElement);

  show(rows: readonly MetricsRow[], currency: string): void {
    const totals = totalsOf(rows);
    say(this.#net, count(totals.net));
    say(this.#gross, count(totals.gross));
    const leftOut = totals.gross === 0 ? null : (totals.gross - totals.net) / totals.gross;
    say(this.#leftOut, leftOut === null ? "all that came in" : `${percent(leftOut)} not counted`);
    say(this.#impressions, count(totals.impressions));
    say(this.#ctr, percent(ctr(totals.net, totals.impressions)));
    say(this.#spend, money(totals.spend, currency));
  }
}

export class VerdictsView {
  readonly #list = byId("verdicts-list", HTMLUListElement);
  readonly #empty = byId("verdicts-empty", HTMLElement);
  readonly #others = byId("verdicts-others", HTMLDetailsElement);
  readonly #unseen = byId("verdicts-unseen", HTMLElement);
  readonly #bars = new Map<Reason, Bar>();
  #shown = "none yet";

  show(rows: readonly MetricsRow[], nothing: string): void {
    const clicks = clicksByReason(rows);
    const known = [...new Set([...REASONS, ...clicks.keys()])];
    const seen = known.filter((reason) => clicks.has(reason));
    this.#arrange(seen, known);
    showOr(this.#list, this.#empty, seen.length === 0 ? nothing : null);
    const gross = [...clicks.values()].reduce((sum, value) => sum + value, 0);
    for (const [reason, value] of clicks) this.#bars.get(reason)?.show(value, value / gross);
  }

  /** Puts the bars in their order; only where it changes, so that nothing jumps. */
  #arrange(seen: Reason[], known: Reason[]): void {
    if (this.#shown === seen.join()) return;
    this.#shown = seen.join();
    for (const reason of seen) {
      if (!this.#bars.has(reason)) this.#bars.set(reason, new Bar(reason));
    }
    this.#list.replaceChildren(...seen.flatMap((reason) => this.#bars.get(reason)?.element ?? []));
    const others = known.filter((reason) => !seen.includes(reason));
    const entries = others.map(wordsOf).flatMap((words) => [
      make("dt", "", words.name),
      make("dd", "", words.meaning),
    ]);
    this.#unseen.replaceChildren(...entries);
    this.#others.hidden = others.length === 0;
  }
}

/** One verdict: its name, figure, share and meaning. */
class Bar {
  readonly element: HTMLLIElement;
  readonly #value = make("span", "value");
  readonly #share = make("span", "of-all");
  readonly #fill = make("span", "fill");

  constructor(reason: Reason) {
    const { name, meaning } = wordsOf(reason);
    const track = make("span", "track", this.#fill);
    track.setAttribute("aria-hidden", "true");
    const line = make("p", "line", make("span", "name", name), this.#value, this.#share);
    this.element = make("li", reason === "counted" ? "bar-of accent" : "bar-of", line, track, make("p", "hint", meaning));
    this.element.dataset["reason"] = reason;
  }

  show(value: number, share: number): void {
    say(this.#value, count(value));
    say(this.#share, percent(share));
    this.#fill.style.width = `${100 * share}%`;
  }
}

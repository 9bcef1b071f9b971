// The ads that are clicked most.

import type { MetricsRow } from "../api/types";
import { byId, make, say, showOr } from "../dom";
import { spendOf } from "../figures";
import { count, money, percent } from "../format";

export class AdsView {
  readonly #table = byId("ads-table", HTMLTableElement);
  readonly #rows = byId("ads-rows", HTMLTableSectionElement);
  readonly #empty = byId("ads-empty", HTMLElement);
  readonly #lines: Line[] = [];

  show(rows: readonly MetricsRow[], currency: string, nothing: string): void {
    const clicked = rows.filter((row) => (row.clicks ?? 0) > 0);
    showOr(this.#table, this.#empty, clicked.length === 0 ? nothing : null);
    while (this.#lines.length < clicked.length) this.#lines.push(new Line());
    this.#rows.replaceChildren(...this.#lines.slice(0, clicked.length).map(({ element }) => element));
    const most = Math.max(1, ...clicked.map((row) => row.clicks ?? 0));
    for (const [at, row] of clicked.entries()) this.#lines[at]?.show(row, most, currency);
  }
}

/** One row of the table; it is filled anew rather than made anew. */
class Line {
  readonly element: HTMLTableRowElement;
  readonly #ad = make("th", "ad");
  readonly #cells = ["impressions", "clicks", "ctr", "spend"].map((name) => {
    const cell = make("td", "number");
    cell.dataset["figure"] = name;
    return cell;
  });
  readonly #fill = make("span", "fill");

  constructor() {
    this.#ad.scope = "row";
    const track = make("span", "track", this.#fill);
    track.setAttribute("aria-hidden", "true");
    const [impressions = "", clicks = "", rate = "", spend = ""] = this.#cells;
    this.element = make("tr", "", this.#ad, impressions, clicks, make("td", "share", track), rate, spend);
  }

  show(row: MetricsRow, most: number, currency: string): void {
    const ad = row.ad_id ?? "";
    say(this.#ad, ad);
    this.#ad.title = ad;
    const texts = [
      count(row.impressions ?? 0),
      count(row.clicks ?? 0),
      percent(row.ctr ?? null),
      money(spendOf([row]), currency),
    ];
    for (const [at, cell] of this.#cells.entries()) say(cell, texts[at] ?? "");
    this.#fill.style.width = `${(100 * (row.clicks ?? 0)) / most}%`;
  }
}

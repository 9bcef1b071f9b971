// A chart of lines over time: uPlot for the drawing, and around it what a canvas lacks: a legend that
// tells the values under the cursor or the latest, words for who does not see it, words where it is
// empty, and the same figures as a table on demand.

import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

import { make, say } from "../dom";
import { moment, NONE, tick } from "../format";
import { lonely, rangeOf } from "../scale";

/** One line. */
export interface Line {
  label: string;
  /** Names of custom properties in style.css. */
  colour: "--accent" | "--ink-soft";
  isFilled?: boolean;
  isDashed?: boolean;
}

/** What is drawn: times in seconds, and one list of values a line. */
export interface Drawing {
  times: number[];
  values: Array<Array<number | null>>;
  /** What the time axis shows. */
  from: number;
  to: number;
  /** Words in place of the lines. */
  empty: string | null;
}

export interface ChartOptions {
  /** What is measured, for who does not see it. */
  title: string;
  lines: Line[];
  /** A value of a line. */
  format: (value: number) => string;
  /** A value at the side. */
  axis: (value: number) => string;
  /** The scale begins at nought. */
  isFromZero: boolean;
}

/** Rows of the table on demand. */
const ROWS_MAX = 60;
/** Distances of ticks, in seconds: from seconds to years. */
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 21_600, 43_200]
  .concat([1, 2, 7, 14, 30, 90, 365, 730, 1_825].map((days) => days * 86_400));
const FONT = "12px system-ui, sans-serif";

export class Chart {
  readonly #options: ChartOptions;
  readonly #plot: uPlot;
  readonly #canvas = make("div", "canvas");
  readonly #empty = make("p", "empty over");
  readonly #legend: HTMLElement[];
  readonly #when = make("span", "when");
  readonly #details: HTMLDetailsElement;
  #drawing: Drawing = { times: [], values: [], from: 0, to: 1, empty: "Waiting for the first answer." };

  constructor(host: HTMLElement, options: ChartOptions) {
    this.#options = options;
    this.#legend = options.lines.map(() => make("b", ""));
    this.#details = this.#makeTable();
    host.append(this.#makeLegend(), this.#canvas, this.#details);
    this.#canvas.append(this.#empty);
    this.#canvas.setAttribute("role", "img");
    const none = [[], ...options.lines.map(() => [])] as unknown as uPlot.AlignedData;
    this.#plot = new uPlot(this.#plotOptions(), none, this.#canvas);
    new ResizeObserver(() => this.#fit()).observe(this.#canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#plot.redraw(true, true));
    this.draw(this.#drawing);
  }

  draw(drawing: Drawing): void {
    this.#drawing = drawing;
    const { times, values, from, to, empty } = drawing;
    this.#plot.setData([times, ...values] as uPlot.AlignedData, false);
    this.#plot.setScale("x", { min: from, max: to });
    this.#empty.hidden = empty === null;
    say(this.#empty, empty ?? "");
    this.#canvas.classList.toggle("is-empty", empty !== null);
    this.#canvas.setAttribute("aria-label", this.#words());
    this.#tell();
    if (this.#details.open) this.#fillTable();
  }

  #fit(): void {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    if (width > 0 && height > 0) this.#plot.setSize({ width, height });
  }

  #plotOptions(): uPlot.Options {
    const { lines, axis, isFromZero } = this.#options;
    const usual = {
      stroke: () => colour("--ink-soft"),
      grid: { stroke: () => colour("--line"), width: 1 },
      ticks: { show: false },
      font: FONT,
    };
    return {
      width: 300,
      height: 200,
      // To the right, half of a label of the time.
      padding: [8, 28, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
      scales: {
        x: { time: true, auto: false },
        y: { range: (_, low, high) => rangeOf(low, high, isFromZero) },
      },
      axes: [
        { ...usual, space: 76, size: 26, incrs: STEPS, values: (_, at, __, ___, step) => at.map((time) => tick(time, step)) },
        { ...usual, space: 36, size: 54, values: (_, at) => at.map(axis) },
      ],
      // Days begin at midnight UTC, wherever the viewer is.
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1_000), "Etc/UTC"),
      series: [{}, ...lines.map(seriesOf)],
      hooks: { setCursor: [() => this.#tell()] },
    };
  }

  #makeLegend(): HTMLElement {
    const items = this.#options.lines.map((line, at) => {
      const swatch = make("i", `swatch${line.isDashed === true ? " dashed" : ""}`);
      swatch.style.setProperty("--swatch", `var(${line.colour})`);
      return make("li", "", swatch, `${line.label} `, this.#legend[at] ?? "");
    });
    return make("div", "legend", make("ul", "", ...items), this.#when);
  }

  /** The values under the cursor, or else the latest. */
  #tell(): void {
    const { times, values } = this.#drawing;
    const pointed = this.#plot?.cursor.idx ?? null;
    const at = pointed ?? times.length - 1;
    for (const [line, element] of this.#legend.entries()) {
      const value = values[line]?.[at];
      say(element, value === null || value === undefined ? NONE : this.#options.format(value));
    }
    const time = times[at];
    say(this.#when, pointed === null || time === undefined ? "" : `${moment(time)} UTC`);
  }

  /** The chart in a sentence. */
  #words(): string {
    const { empty, values } = this.#drawing;
    if (empty !== null) return `${this.#options.title}: ${empty}`;
    const told = this.#options.lines.map(({ label }, line) => {
      const known = (values[line] ?? []).filter((value) => value !== null);
      const last = known.at(-1);
      if (last === undefined) return `${label}: no figures`;
      const [low, high] = [Math.min(...known), Math.max(...known)].map(this.#options.format);
      return `${label}: ${this.#options.format(last)} at the end, between ${low} and ${high}`;
    });
    return `${this.#options.title}. ${told.join(". ")}.`;
  }

  #makeTable(): HTMLDetailsElement {
    const details = make("details", "as-table", make("summary", "", "As a table"));
    details.addEventListener("toggle", () => this.#fillTable());
    return details;
  }

  #fillTable(): void {
    const { times, values } = this.#drawing;
    const head = make("tr", "", ...["Time, UTC", ...this.#options.lines.map(({ label }) => label)].map(columnHead));
    const rows = times.map((time, at) => {
      const cells = values.map((line) => {
        const value = line[at];
        return make("td", "number", value === null || value === undefined ? NONE : this.#options.format(value));
      });
      return make("tr", "", rowHead(moment(time)), ...cells);
    });
    const shown = rows.slice(-ROWS_MAX).reverse();
    const table = make("table", "", make("thead", "", head), make("tbody", "", ...shown));
    table.setAttribute("aria-label", `${this.#options.title}, latest first`);
    const box = make("div", "scroll", table);
    box.tabIndex = 0;
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", `${this.#options.title}, as a table`);
    this.#details.replaceChildren(...[...this.#details.children].slice(0, 1), box);
  }
}

function columnHead(text: string, at: number): HTMLElement {
  const cell = make("th", at === 0 ? "" : "number", text);
  cell.scope = "col";
  return cell;
}

function rowHead(text: string): HTMLElement {
  const cell = make("th", "", text);
  cell.scope = "row";
  return cell;
}

function seriesOf(line: Line): uPlot.Series {
  return {
    label: line.label,
    stroke: () => colour(line.colour),
    width: 1.5,
    points: { size: 4, show: true, filter: (plot, at) => lonely(plot.data[at] ?? []) },
    ...(line.isDashed === true ? { dash: [5, 4] } : {}),
    ...(line.isFilled === true ? { fill: () => colour("--accent-faint") } : {}),
  };
}

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

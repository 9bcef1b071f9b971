// Server-sent events out of a stream of text, as the HTML standard reads them. Written here because an
// EventSource cannot send a key in a header, and keys do not belong into addresses.

/** Cuts text that arrives in pieces into the data of whole events. */
export class EventReader {
  readonly #lengthMax: number;
  #rest = "";
  #data: string[] = [];

  /** An event that grows longer than this is an error. */
  constructor(lengthMax: number) {
    this.#lengthMax = lengthMax;
  }

  /** Takes the next piece; gives the data of the events that it ends. */
  push(piece: string): string[] {
    // A carriage return at the end may be half of a line break: it waits for what follows.
    const text = this.#rest + piece;
    const whole = text.endsWith("\r") ? text.slice(0, -1) : text;
    const lines = whole.split(/\r\n|\n|\r/);
    this.#rest = (lines.pop() ?? "") + text.slice(whole.length);
    const events = lines.map((line) => this.#take(line)).filter((data) => data !== null);
    const waiting = this.#data.reduce((sum, data) => sum + data.length, this.#rest.length);
    if (waiting > this.#lengthMax) throw new Error("the stream sends an event without an end");
    return events;
  }

  #take(line: string): string | null {
    if (line === "") {
      const data = this.#data.join("\n");
      const isEvent = this.#data.length > 0;
      this.#data = [];
      return isEvent ? data : null;
    }
    const field = /^data(?:: ?(.*))?$/s.exec(line);
    if (field !== null) this.#data.push(field[1] ?? "");
    return null;
  }
}

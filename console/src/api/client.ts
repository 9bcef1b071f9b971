// Asks the server. The key goes into a header, never into an address, and every question has an end.

import { EventReader } from "./events";

/** How long an answer may take, in milliseconds. */
const WAIT_MS_MAX = 15_000;
/** A stream says something each second; silence for so long means that it is cut. */
const SILENCE_MS_MAX = 10_000;
/** The most text of one event. */
const EVENT_LENGTH_MAX = 1_000_000;

/** The server answered, and not with what was asked for. */
export class Refusal extends Error {
  readonly status: number;
  /** When to come back, in seconds; null where it was not said. */
  readonly retry_after_s: number | null;

  constructor(status: number, detail: string, retry_after_s: number | null) {
    super(detail);
    this.name = "Refusal";
    this.status = status;
    this.retry_after_s = retry_after_s;
  }
}

/** Values of a question; what is undefined is left out. */
export type Parameters = Record<string, string | number | undefined>;

export class Client {
  readonly #root: URL;
  readonly #key: string;

  /** `root` ends with a slash; paths are read from there. */
  constructor(root: URL, key: string) {
    this.#root = root;
    this.#key = key;
  }

  /** The JSON of an answer; statuses in `also` answer too, any other is a [`Refusal`]. */
  async get<T>(path: string, parameters: Parameters, stop: AbortSignal, also: number[] = []): Promise<T> {
    const signal = AbortSignal.any([stop, AbortSignal.timeout(WAIT_MS_MAX)]);
    const answer = await fetch(this.#address(path, parameters), this.#options("application/json", signal));
    if (!answer.ok && !also.includes(answer.status)) throw await refusal(answer);
    return (await answer.json()) as T;
  }

  /** Reads a stream of events until it ends; `take` gets each as it comes. */
  async follow<T>(path: string, take: (event: T) => void, stop: AbortSignal): Promise<void> {
    const silence = new AbortController();
    const signal = AbortSignal.any([stop, silence.signal]);
    const hush = () => setTimeout(() => silence.abort(new Error("the stream has gone silent")), SILENCE_MS_MAX);
    let timer = hush();
    try {
      const answer = await fetch(this.#address(path, {}), this.#options("text/event-stream", signal));
      if (!answer.ok || answer.body === null) throw await refusal(answer);
      const pieces = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      const reader = new EventReader(EVENT_LENGTH_MAX);
      for (;;) {
        const { done, value } = await pieces.read();
        if (done) return;
        clearTimeout(timer);
        timer = hush();
        for (const data of reader.push(value)) take(JSON.parse(data) as T);
      }
    } finally {
      clearTimeout(timer);
    }
  }

  #address(path: string, parameters: Parameters): URL {
    const address = new URL(path, this.#root);
    for (const [name, value] of Object.entries(parameters)) {
      if (value !== undefined) address.searchParams.set(name, String(value));
    }
    return address;
  }

  #options(accept: string, signal: AbortSignal): RequestInit {
    return {
      headers: { authorization: `Bearer ${this.#key}`, accept },
      cache: "no-store",
      credentials: "omit",
      signal,
    };
  }
}

/** What the server says is wrong, in its own words where it has any. */
async function refusal(answer: Response): Promise<Refusal> {
  const problem = (await answer.json().catch(() => null)) as { detail?: unknown } | null;
  const detail = typeof problem?.detail === "string" ? problem.detail : `status ${answer.status}`;
  const seconds = Number(answer.headers.get("retry-after") ?? Number.NaN);
  return new Refusal(answer.status, detail, Number.isFinite(seconds) ? seconds : null);
}

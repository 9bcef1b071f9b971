// Asks something again and again: as often as wanted, less often where answers take long or fail.

import { Refusal } from "./api/client";

/** A question waits ten times as long as its last answer took: at most a tenth of a core is ours. */
const REST = 10;
const WAIT_MS_MAX = 30_000;

/** How long to wait for the next question, in milliseconds, after `failures` in a row. */
export function waitFor(every_ms: number, took_ms: number, failures: number, retry_after_s: number | null): number {
  const usual = Math.max(every_ms, REST * took_ms);
  const patient = failures === 0 ? usual : Math.max(usual, 1_000 * 2 ** Math.min(failures - 1, 10));
  return Math.max(Math.min(patient, WAIT_MS_MAX), (retry_after_s ?? 0) * 1_000);
}

/** Runs `ask` until `stop`; `outcome` is told after each time, with the error or null. */
export async function poll(
  every_ms: number,
  ask: (stop: AbortSignal) => Promise<void>,
  outcome: (error: unknown) => void,
  stop: AbortSignal,
): Promise<void> {
  let failures = 0;
  while (!stop.aborted) {
    const started = performance.now();
    let failure: unknown = null;
    try {
      await ask(stop);
    } catch (error) {
      failure = error;
    }
    if (stop.aborted) return;
    failures = failure === null ? 0 : failures + 1;
    outcome(failure);
    const retry_after_s = failure instanceof Refusal ? failure.retry_after_s : null;
    await rest(waitFor(every_ms, performance.now() - started, failures, retry_after_s), stop);
  }
}

/** Waits, or less where it is stopped. */
async function rest(wait_ms: number, stop: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(done, wait_ms);
    function done() {
      clearTimeout(timer);
      stop.removeEventListener("abort", done);
      resolve();
    }
    stop.addEventListener("abort", done);
  });
}

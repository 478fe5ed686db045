import { sleep, type Clock } from "@torpor/kernel";
import type { Runners } from "../runners/runners.ts";
import type { ExpectedCallback, SnapshotResult } from "./callbacks.ts";
import type { Intent } from "./intent.ts";

const QUIET_POLL_MS = 50;
const QUIET_WITHIN_MS = 5_000;

/** Waits until a runner has no request open here: frozen amid one, it would find a dead connection and an answer it never read. */
export async function untilQuiet(
  { clock, runners }: { readonly clock: Clock; readonly runners: Runners },
  intent: Intent,
): Promise<"quiet" | "busy" | "canceled"> {
  const untilMs = clock.monotonicMs() + QUIET_WITHIN_MS;
  while (runners.openRequestsOf(intent.runnerId) > 0) {
    if (clock.monotonicMs() > untilMs) return "busy";
    await sleep(clock, QUIET_POLL_MS, intent.signal);
    if (intent.signal.aborted) return "canceled";
  }
  return "quiet";
}

/** The gateway's word on a freeze, or null when it took too long or the intent was cancelled. */
export async function callbackWithin(
  deps: { readonly clock: Clock; readonly timeoutMs: number },
  intent: Intent,
  expected: ExpectedCallback,
): Promise<SnapshotResult | null> {
  const told = new AbortController();
  const late = sleep(deps.clock, deps.timeoutMs, AbortSignal.any([intent.signal, told.signal]));
  const result = await Promise.race([expected.result, late.then(() => null)]);
  told.abort();
  return result;
}

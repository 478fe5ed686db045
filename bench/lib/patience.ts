import type { CallOutcome } from "@torpor/http";

/** For anything that one part, killed and started again, may keep us waiting for. */
const LIMIT_MS = 180_000;
const LOOK_EVERY_MS = 10;
const RETRY_PAUSE_MS = 50;

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** The body of an answer. A call that was lost because a part was away is made again; a refusal is thrown. */
export async function retried<T>(call: () => Promise<CallOutcome<T>>): Promise<T> {
  const deadlineMs = performance.now() + LIMIT_MS;
  for (;;) {
    const outcome = await call();
    if (outcome.kind === "ok") return outcome.body;
    const isFinal = outcome.kind === "refused" && outcome.status < 500;
    if (isFinal || performance.now() > deadlineMs) throw new Error(`Cannot go on: ${outcome.message}`);
    await pause(RETRY_PAUSE_MS);
  }
}

/** Undefined instead of an error: a part may be away just now. */
export async function quietly<T>(look: () => Promise<T>): Promise<T | undefined> {
  try {
    return await look();
  } catch {
    return undefined;
  }
}

/** Looks until something is there. `seen` says what was there instead when it never is. */
export async function until<T>(what: string, look: () => Promise<T | undefined>, seen?: () => Promise<unknown>): Promise<T> {
  const deadlineMs = performance.now() + LIMIT_MS;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > deadlineMs)
      throw new Error(`Cannot go on: not within ${LIMIT_MS / 1000} s: ${what}: ${JSON.stringify(await seen?.(), null, 1)}`);
    await pause(LOOK_EVERY_MS);
  }
}

import { setTimeout as delay } from "node:timers/promises";

/** How long anything may take that should happen soon. Generous, because the machine may be busy; nothing here measures speed. */
export const SOON_MS = 60_000;

/**
 * Asks again and again until the answer is not undefined, and returns it. Throws when that takes longer than `withinMs`; `what` and
 * what `seen` returns then tell the reader where it got stuck.
 */
export async function until<T>(
  what: string,
  ask: () => Promise<T | undefined> | T | undefined,
  options: { readonly withinMs?: number; readonly everyMs?: number; readonly seen?: () => unknown } = {},
): Promise<T> {
  const { withinMs = SOON_MS, everyMs = 50, seen } = options;
  const endMs = performance.now() + withinMs;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (performance.now() > endMs)
      throw new Error(
        `Waited ${withinMs / 1000} s in vain until ${what}${seen === undefined ? "" : `; seen: ${JSON.stringify(await seen(), null, 1)}`}`,
      );
    await delay(everyMs);
  }
}

import type { Clock } from "@torpor/kernel";
import type { Platform } from "../platform/platform.ts";
import type { IntentKey } from "./intent.ts";

/**
 * Sends the run's heartbeat for a runner that stands still, until the result is called. The platform's clock for a stalled run
 * goes on meanwhile. A heartbeat that gets lost is made good by the next: there are many within that time.
 */
export function heartbeatFor(
  key: IntentKey,
  deps: { readonly clock: Clock; readonly platform: Platform; readonly heartbeatMs: number },
): () => void {
  const { clock, platform, heartbeatMs } = deps;
  const beat = (): void => {
    void platform.runHeartbeat(key, {}, { runnerId: key.runnerId });
    timer = clock.after(heartbeatMs, beat);
  };
  let timer = clock.after(heartbeatMs, beat);
  return () => timer.cancel();
}

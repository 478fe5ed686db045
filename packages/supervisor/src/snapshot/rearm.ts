// Intents that nobody remembers.
//
// A runner asks once to be put to sleep and never again for the same wait. When its request is lost on the way, or this process
// was started since, it just goes on polling, at a snapshot about which we know nothing. It is put to sleep when
//   - it has not asked this process for that snapshot (then what became of the intent is known),
//   - it has been at this snapshot for `PATIENCE_MS` since we first heard of it: a runner that had not asked yet does so
//     within that time, because it asks as soon as its task can be suspended,
//   - and the platform says that the run waits there.
import type { Clock } from "@torpor/kernel";
import type { Log } from "@torpor/observe";
import type { Platform } from "../platform/platform.ts";
import type { Runner } from "../runners/runner.ts";
import type { Waits } from "../sleep/waits.ts";
import type { Intents } from "./intents.ts";
import { judgeWait } from "./verdict.ts";

export const PATIENCE_MS = 10_000;

interface Watch {
  readonly snapshotId: string;
  readonly sinceMs: number;
  asked: boolean;
}

export interface RearmDeps {
  readonly platform: Platform;
  readonly intents: Intents;
  readonly waits: Waits;
  readonly clock: Clock;
  readonly log: Log;
  readonly enabled: () => boolean;
}

/** Arms the intents of runners whose wish to sleep has not come to us. */
export class Rearm {
  readonly #deps: RearmDeps;
  readonly #watches = new WeakMap<Runner, Watch>();

  constructor(deps: RearmDeps) {
    this.#deps = deps;
  }

  /** The runner asked to be put to sleep at this snapshot. */
  asked(runner: Runner, snapshotId: string): void {
    this.#watches.set(runner, { snapshotId, sinceMs: this.#deps.clock.monotonicMs(), asked: true });
  }

  /** The runner asked for news of its run and there is none: it is still at this snapshot. */
  stillAt(runner: Runner, runId: string, snapshotId: string): void {
    if (runner.runId !== runId || !this.#deps.enabled() || this.#deps.intents.of(runId) !== undefined) return;
    const nowMs = this.#deps.clock.monotonicMs();
    let watch = this.#watches.get(runner);
    if (watch?.snapshotId !== snapshotId) {
      watch = { snapshotId, sinceMs: nowMs, asked: false };
      this.#watches.set(runner, watch);
    }
    if (watch.asked || nowMs - watch.sinceMs < PATIENCE_MS) return;
    watch.asked = true;
    void this.#arm(runner, runId, watch);
  }

  async #arm(runner: Runner, runId: string, watch: Watch): Promise<void> {
    const latest = await this.#deps.platform.latest(runId);
    if (latest.kind !== "ok") {
      watch.asked = false; // the next poll asks again
      return;
    }
    if (runner.runId !== runId || judgeWait(latest.body, watch.snapshotId).kind !== "waits") return;
    if (latest.body.torporWait !== undefined) this.#deps.waits.told(runId, watch.snapshotId, latest.body.torporWait);
    this.#deps.intents.schedule({ runId, runnerId: runner.name, snapshotId: watch.snapshotId }, { why: "rearmed" });
  }
}

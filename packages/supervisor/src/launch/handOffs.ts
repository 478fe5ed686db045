// Runs that are given to an idle runner.
//
// A runner that was told to take a run may be dead or frozen without our knowing. Invariants:
//   W1  A hand-off counts only when the run has begun (L12): a sign of its runner that passed through here, the word of a broker that
//       knows, or a newer snapshot at the platform. What is said of an earlier hand-out of the same run does not count for this one.
//   W2  If the platform cannot be asked, we do nothing: late runners are normal while it is slow, and a second sandbox for
//       each would make it slower. The platform's own time-out is the net.
//   W3  A hand-off is checked once. A restart of this process forgets it, and the same time-out covers that.
import { warmStart, type DequeuedMessage } from "@torpor/contracts";
import type { Clock, Timer } from "@torpor/kernel";
import type { Log, Metrics } from "@torpor/observe";
import type { RouteCaller } from "../callers.ts";
import type { Platform } from "../platform/platform.ts";

export interface HandOffsDeps {
  readonly broker: RouteCaller;
  readonly platform: Platform;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  /** Undefined: a hand-off is believed. */
  readonly verifyDelayMs: number | undefined;
  /** The hand-off did not count: the run starts in a sandbox of its own. */
  readonly onMissed: (message: DequeuedMessage) => void;
}

export type HandOff =
  /** The run has begun there; the runner's name, where it is known. */
  | { readonly kind: "taken"; readonly runnerId: string | undefined }
  /** Written to a runner of whom nobody can say more: whether it has begun is looked up behind it. */
  | { readonly kind: "given" }
  /** For certain: none has it, or none will be believed to. */
  | { readonly kind: "none" };

/** A broker passes over two runners that give no sign, one second each, before it answers. */
const DISPATCH_TIMEOUT_MS = 5_000;

export class HandOffs {
  readonly #deps: HandOffsDeps;
  /** By the snapshot that the run was handed out with, as all here. */
  readonly #checks = new Map<string, Timer>();
  /** Offers that are not answered yet. */
  readonly #open = new Map<string, (runnerId: string | undefined) => void>();

  constructor(deps: HandOffsDeps) {
    this.#deps = deps;
  }

  /** Offers a run to the idle runners. */
  async offer(message: DequeuedMessage): Promise<HandOff> {
    const handOut = message.snapshot.friendlyId;
    const begun = new Promise<HandOff>((resolve) => {
      this.#open.set(handOut, (runnerId) => resolve({ kind: "taken", runnerId }));
    });
    const handOff = await Promise.race([begun, this.#ask(message)]);
    this.#open.delete(handOut);
    this.#deps.metrics.count("torpor_warm_starts_total", { outcome: handOff.kind });
    if (handOff.kind === "given") this.#expect(message);
    return handOff;
  }

  /** The run has begun, as it was handed out at this snapshot (W1). */
  started(snapshotId: string, runnerId?: string): void {
    this.#open.get(snapshotId)?.(runnerId);
    this.#checks.get(snapshotId)?.cancel();
    this.#checks.delete(snapshotId);
  }

  close(): void {
    for (const timer of this.#checks.values()) timer.cancel();
    this.#checks.clear();
  }

  async #ask(message: DequeuedMessage): Promise<HandOff> {
    const outcome = await this.#deps.broker.call(warmStart.dispatch, {
      body: { dequeuedMessage: message, acknowledge: true },
      timeoutMs: DISPATCH_TIMEOUT_MS,
    });
    if (outcome.kind === "unreachable") return { kind: outcome.happened === "maybe" ? "given" : "none" };
    if (outcome.kind !== "ok" || !outcome.body.didWarmStart) return { kind: "none" };
    return outcome.body.acknowledged === true ? { kind: "taken", runnerId: outcome.body.controllerId } : { kind: "given" };
  }

  #expect(message: DequeuedMessage): void {
    const { verifyDelayMs, clock } = this.#deps;
    if (verifyDelayMs === undefined) return;
    this.#checks.set(
      message.snapshot.friendlyId,
      clock.after(verifyDelayMs, () => void this.#check(message)),
    );
  }

  async #check(message: DequeuedMessage): Promise<void> {
    const runId = message.run.friendlyId;
    if (!this.#checks.delete(message.snapshot.friendlyId)) return;
    const latest = await this.#deps.platform.latest(runId);
    if (latest.kind !== "ok") return; // W2
    const hasMoved = latest.body.snapshot.friendlyId !== message.snapshot.friendlyId;
    if (hasMoved) return;
    this.#deps.log.warn({ runId }, "an idle runner took a run and did not start it; it gets a sandbox of its own");
    this.#deps.metrics.count("torpor_warm_starts_total", { outcome: "missed" });
    this.#deps.onMissed(message);
  }
}

// Takes one due intent through the rest of its life: check, freeze, report, destroy or thaw.
//
// S1  Nothing is frozen before the platform has said that the run waits at this very snapshot, and while the runner has a
//     request open here.
// S2  The sandbox is destroyed only after the platform has accepted (L5). Refused: it goes on, its files are deleted (L7).
// S3  When the platform's word was lost, its latest snapshot is read. Nobody guesses: a sandbox that may have been
//     accepted stays frozen as long as the gateway holds it.
// S4  While it is frozen we send the run's heartbeat for it: the time must not count against a stall.
import type { gateway as gatewayRoutes, ReplyOf } from "@torpor/contracts";
import { withRetries, type CallOutcome } from "@torpor/http";
import { Limiter, type Clock } from "@torpor/kernel";
import type { Gateway } from "../gateway/gateway.ts";
import { isPassing, type Platform } from "../platform/platform.ts";
import type { Runner } from "../runners/runner.ts";
import type { Runners } from "../runners/runners.ts";
import type { Callbacks, ExpectedCallback, SnapshotResult } from "./callbacks.ts";
import { failReasonOf, refusalReasonOf } from "./failReasons.ts";
import type { Intent, WrittenImage } from "./intent.ts";
import type { FailReason } from "./lifeCycle.ts";
import { reportSuspension, type ReportDeps } from "./report.ts";
import type { TellSnapshot } from "./tell.ts";
import { heartbeatFor } from "./heartbeat.ts";
import { judgeWait } from "./verdict.ts";
import { callbackWithin, untilQuiet } from "./waits.ts";

const HOLD = "hold";
/** A gateway that is being started again is back within this. */
const THAW_ATTEMPTS = 20;
const MAX_WAITING = 10_000;

export interface SleeperDeps {
  readonly platform: Platform;
  readonly gateway: Gateway;
  readonly callbacks: Callbacks;
  readonly runners: Runners;
  readonly clock: Clock;
  readonly random: () => number;
  readonly tell: TellSnapshot;
  /** Freezes at once. */
  readonly limit: number;
  readonly holdMs: number;
  readonly timeoutMs: number;
  readonly heartbeatMs: number;
  readonly callbackUrl: () => string;
  /** The intent is over; failed ones may come back. */
  readonly onEnded: (intent: Intent, failure?: FailReason) => void;
  /** The platform has accepted: this runner will not run again under this name. */
  readonly onAsleep: (runner: Runner, imageId: string) => void;
  /** How long the frozen sandbox is worth keeping in memory; 0: not at all. */
  readonly keepMs: (runId: string) => number;
  /** A sandbox stood still for so long until its memory was on disk. */
  readonly onFroze: (frozenMs: number) => void;
  /** Memory images fill what this node gives them: those that no run needs are to go at once. */
  readonly onQuotaExceeded: () => void;
  /** Fires when this process must not wait any longer. What is held is found again at the next start. */
  readonly stop: AbortSignal;
}

/** Puts runs to sleep. */
export class Sleeper {
  readonly #deps: SleeperDeps;
  readonly #limiter: Limiter;

  constructor(deps: SleeperDeps) {
    this.#deps = deps;
    this.#limiter = new Limiter({ limit: deps.limit, maxWaiting: MAX_WAITING });
  }

  /** From due to its end. Never throws for what the platform, the gateway or a cancel do. */
  async carryOut(intent: Intent): Promise<void> {
    try {
      const turn = await this.#limiter.run(intent.signal, () => this.#inTurn(intent));
      if (turn.kind === "full") this.#fail(intent, "queue_full");
    } catch (error) {
      if (!intent.ended) this.#fail(intent, "internal");
      throw error;
    }
  }

  /** The last part alone, for a held sandbox that was found at a start. */
  async resume(intent: Intent, image: WrittenImage): Promise<void> {
    const stopHeartbeats = heartbeatFor(intent, this.#deps);
    try {
      await this.#decide(intent, image);
    } finally {
      stopHeartbeats();
    }
  }

  /** Lets a sandbox go on that a cancelled intent had reached. Safe to repeat. */
  async thaw(intent: Intent): Promise<void> {
    const { gateway } = this.#deps;
    await this.#untilAnswered(() => gateway.cancelSnapshot(intent.runnerId));
    this.#awake(intent);
  }

  async #inTurn(intent: Intent): Promise<void> {
    intent.move("check", { state: "checking" });
    if (this.#deps.runners.get(intent.runnerId) === undefined) return this.#fail(intent, "sandbox_gone");
    if (!(await this.#stillWaits(intent))) return;
    const quiet = await untilQuiet(this.#deps, intent);
    if (quiet === "busy") this.#fail(intent, "runner_busy");
    if (quiet !== "quiet") return;
    const runner = this.#deps.runners.get(intent.runnerId); // more may be known of it by now than when it was looked up before
    if (runner === undefined) return this.#fail(intent, "sandbox_gone");
    const stopHeartbeats = heartbeatFor(intent, this.#deps);
    try {
      const image = await this.#freeze(intent, runner);
      if (image !== null) await this.#decide(intent, image);
    } finally {
      stopHeartbeats();
    }
  }

  /** S1, first half. */
  async #stillWaits(intent: Intent): Promise<boolean> {
    const latest = await this.#deps.platform.latest(intent.runId);
    if (intent.signal.aborted) return false;
    if (latest.kind === "ok") {
      const verdict = judgeWait(latest.body, intent.snapshotId);
      if (verdict.kind === "waits") return true;
      this.#cancel(intent, verdict.reason);
    } else if (isPassing(latest)) this.#fail(intent, "platform_unreachable");
    else this.#cancel(intent, "superseded");
    return false;
  }

  async #freeze(intent: Intent, runner: Runner): Promise<WrittenImage | null> {
    const { gateway, callbacks, clock, tell } = this.#deps;
    const expected = callbacks.expect(intent, runner.instanceId === null ? null : [runner.instanceId, runner.name]);
    const startedMs = clock.monotonicMs();
    intent.move("freeze", { state: "freezing", nonce: expected.nonce, startedMs });
    runner.phase = "frozen";
    tell("snapshot.dispatched", intent, { reason: "due" });
    const callback = { url: this.#deps.callbackUrl(), metadata: { ...expected.metadata } };
    const asked = await gateway.snapshot(intent.runnerId, { callback, extensions: [HOLD], hold_ms: this.#deps.holdMs });
    const cannotFollow = asked.kind === "refused" || (asked.kind === "unreachable" && asked.happened === "no");
    if (intent.signal.aborted && !cannotFollow) {
      this.#discardLate(expected);
      await this.thaw(intent); // again: the cancel may have reached the gateway before the request did
      return null;
    }
    if (cannotFollow) return intent.signal.aborted ? null : this.#notFrozen(intent, expected, asked);
    const result = await callbackWithin(this.#deps, intent, expected);
    if (result === null) this.#discardLate(expected);
    return intent.signal.aborted ? null : await this.#written(intent, result, asked.kind === "ok" ? asked.body : undefined);
  }

  async #written(
    intent: Intent,
    result: SnapshotResult | null,
    asked: ReplyOf<typeof gatewayRoutes.snapshotInstance>,
  ): Promise<WrittenImage | null> {
    const { clock, holdMs, tell } = this.#deps;
    const isOther = result?.status === "completed" && asked !== undefined && asked.snapshot_id !== result.snapshot_id;
    if (result === null || result.status === "failed" || isOther) {
      this.#fail(intent, failReasonOf(result));
      await this.thaw(intent);
      return null;
    }
    const frozenMs = result.frozen_ms ?? result.duration_ms ?? 0;
    const image = {
      imageId: result.snapshot_id,
      isHeld: result.held === true,
      frozenMs,
      sizeBytes: result.size_bytes ?? 0,
      deadlineMs: clock.monotonicMs() + holdMs,
    };
    if (image.isHeld) this.#deps.onFroze(frozenMs);
    intent.move("hold", { state: "held", image, reported: false });
    tell("snapshot.frozen", intent, {
      reason: image.isHeld ? "held" : "copied",
      durationMs: frozenMs,
      properties: { sizeBytes: image.sizeBytes, imageId: image.imageId },
    });
    return image;
  }

  /** S2. */
  async #decide(intent: Intent, image: WrittenImage): Promise<void> {
    const report: ReportDeps = this.#deps;
    const answer = await reportSuspension(report, intent, image);
    if (answer === "canceled") return;
    if (answer === "accepted") return await this.#destroy(intent, image);
    if (answer === "stopped") return; // held until the next start asks the platform again
    const { tell } = this.#deps;
    if (answer === "refused") {
      intent.move("refuse", { state: "refused", reason: "not_accepted" });
      tell("snapshot.refused", intent, { reason: "not_accepted", properties: { imageId: image.imageId } });
      this.#deps.onEnded(intent);
    } else this.#fail(intent, answer);
    await this.#undo(intent, image);
  }

  async #destroy(intent: Intent, image: WrittenImage): Promise<void> {
    const { gateway, runners, tell } = this.#deps;
    intent.move("accept", { state: "accepted", image });
    tell("snapshot.completed", intent, {
      reason: "accepted",
      durationMs: image.frozenMs,
      properties: { sizeBytes: image.sizeBytes, imageId: image.imageId },
    });
    const keepMs = this.#deps.keepMs(intent.runId);
    const runner = runners.get(intent.runnerId);
    if (runner !== undefined) this.#deps.onAsleep(runner, image.imageId);
    const committed = image.isHeld ? await this.#untilAnswered(() => gateway.commit(image.imageId, keepMs)) : null;
    if (committed?.kind === "ok" && committed.body.outcome === "kept")
      tell("snapshot.kept", intent, { reason: "worth_it", properties: { keepMs: Math.round(keepMs) } });
    // Thawed in the meantime, or never held: it must go all the same, because the run will wake elsewhere (L8).
    if (committed === null || committed.kind !== "ok") await this.#untilAnswered(() => gateway.remove(intent.runnerId));
    intent.move("destroy", { state: "destroyed", reason: "accepted" });
    this.#deps.onEnded(intent);
  }

  async #undo(intent: Intent, image: WrittenImage): Promise<void> {
    const { gateway } = this.#deps;
    await this.#untilAnswered<unknown>(() => (image.isHeld ? gateway.abort(image.imageId) : gateway.removeImage(image.imageId)));
    this.#awake(intent);
  }

  /** A gateway that could not cancel in time still finishes its copy, which nobody will restore (L7). */
  #discardLate(expected: ExpectedCallback): void {
    const { gateway } = this.#deps;
    void expected.result.then(async (late) => {
      if (late.status !== "completed") return;
      await this.#untilAnswered<unknown>(() =>
        late.held === true ? gateway.abort(late.snapshot_id) : gateway.removeImage(late.snapshot_id),
      );
    });
  }

  #notFrozen(intent: Intent, expected: ExpectedCallback, asked: Exclude<CallOutcome<unknown>, { kind: "ok" }>): null {
    this.#deps.callbacks.forget(expected.nonce);
    this.#fail(intent, refusalReasonOf(asked));
    this.#awake(intent);
    return null;
  }

  #awake(intent: Intent): void {
    const runner = this.#deps.runners.get(intent.runnerId);
    if (runner?.phase === "frozen") runner.phase = "running";
  }

  #cancel(intent: Intent, reason: "resumed" | "superseded"): void {
    intent.move("cancel", { state: "canceled", reason });
    this.#deps.tell("snapshot.canceled", intent, { reason, properties: { phase: "checking" } });
    this.#deps.onEnded(intent);
  }

  #fail(intent: Intent, reason: FailReason): void {
    intent.move("fail", { state: "failed", reason });
    this.#deps.tell("snapshot.failed", intent, { reason });
    this.#deps.onEnded(intent, reason);
    if (reason === "quota_exceeded") this.#deps.onQuotaExceeded();
  }

  #untilAnswered<T>(call: () => Promise<CallOutcome<T>>): Promise<CallOutcome<T>> {
    const { clock, random, stop } = this.#deps;
    return withRetries({ attempts: THAW_ATTEMPTS, baseMs: 100, maxMs: 5_000, clock, random, signal: stop, retryable: isPassing }, call);
  }
}

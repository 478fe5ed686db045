// Wakes a sleeping run.
//
// The quick way: as soon as the sandbox runs we say `continue` for its runner, and answer its first look at the history with
// the latest snapshot alone; the task goes on 0.2 s after the gateway was asked. The long way, on which the runner finds
// SUSPENDED, QUEUED and PENDING_EXECUTING in its history, reads its new name and says `continue` itself, needs nothing of
// this and takes 1 to 5 s; it is what remains when ours fails.
import type { DequeuedMessage, RestoreOutcomeBody } from "@torpor/contracts";
import { withRetries, type CallOutcome } from "@torpor/http";
import { sleep, type Clock } from "@torpor/kernel";
import type { Log } from "@torpor/observe";
import type { SupervisorConfig } from "../config.ts";
import type { Gateway } from "../gateway/gateway.ts";
import { isPassing, type Platform } from "../platform/platform.ts";
import type { Lineages } from "../runners/lineages.ts";
import type { Runner } from "../runners/runner.ts";
import type { Runners } from "../runners/runners.ts";
import { noteWoken } from "../sleep/ahead.ts";
import type { EarlyWakes } from "../sleep/earlyWakes.ts";
import { wholeMs } from "../platform/timeline.ts";
import { noteFirstNews } from "../sleep/firstNews.ts";
import type { Waits } from "../sleep/waits.ts";
import type { WakeWay, Woken } from "../sleep/wakeTeller.ts";
import type { Intents } from "../snapshot/intents.ts";
import { isExecuting } from "../snapshot/verdict.ts";
import { restoreMetadata, servedBy, type WorkloadAddress } from "./environment.ts";
import { restoredName } from "./names.ts";
import { roomOf } from "./plan.ts";
import { restoreFailure } from "./restoreFailure.ts";
import { RestoreNames } from "./restoreNames.ts";
import type { Placer } from "./placer.ts";

/** How long we wait for our own freezing of this run to end before we believe the hand-out alone. */
const SETTLE_WITHIN_MS = 15_000;
const CONTINUE_ATTEMPTS = 4;
/** Who is ready ahead of time and happens to ask nothing is told this much later that there is something new. */
const NOTIFY_AFTER_MS = 20;

export interface RestorerDeps {
  readonly config: SupervisorConfig;
  readonly platform: Platform;
  readonly gateway: Gateway;
  readonly placer: Placer;
  readonly runners: Runners;
  readonly intents: Intents;
  readonly lineages: Lineages;
  readonly waits: Waits;
  /** Runs that were made ready before their time. */
  readonly early: EarlyWakes;
  readonly tellWoken: (woken: Woken) => void;
  readonly onWoke: (durationMs: number) => void;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
  readonly address: () => WorkloadAddress;
  readonly notify: (runner: Runner, runId: string) => void;
  /** A runner has left its run just before it was continued for it. */
  readonly onLeft: (runner: Runner, runId: string) => void;
  /** Whether a run fell asleep into this memory image here. */
  readonly isImageOurs: (imageId: string) => boolean;
  /** Removes a runner whose run is another's now. */
  readonly retire: (runner: Runner) => Promise<void>;
  readonly stop: AbortSignal;
}

export type RestoreResult =
  /** `continued`: the engine has it executing; else its runner says so itself, in a moment. */
  | {
      readonly kind: "restored";
      readonly runner: Runner;
      readonly tookMs: number;
      readonly continued: boolean;
      /** The gateway's steps, in milliseconds. */
      readonly steps?: Readonly<Record<string, number>>;
    }
  /** It runs no more, because the run had moved on meanwhile. */
  | { readonly kind: "moved_on"; readonly reason: string }
  | { readonly kind: "failed"; readonly outcome: RestoreOutcomeBody["outcome"]; readonly reason: string; readonly message: string };

type Message = DequeuedMessage & { readonly checkpoint: NonNullable<DequeuedMessage["checkpoint"]> };

export class Restorer {
  readonly #deps: RestorerDeps;
  readonly #names = new RestoreNames();

  constructor(deps: RestorerDeps) {
    this.#deps = deps;
  }

  /** Whether a sandbox of this sleeping run has its room here already. */
  hasSandboxOf(runId: string): boolean {
    return this.#deps.early.has(runId);
  }

  /** Restores the run's checkpoint into a new sandbox and continues the run. */
  async restore(message: Message): Promise<RestoreResult> {
    const { clock, config, gateway, placer, runners, waits } = this.#deps;
    const runId = message.run.friendlyId;
    const snapshotId = message.snapshot.friendlyId;
    await this.#ourFreezeIsOver(runId);
    const wait = waits.over(runId);
    const endsAtMs = wait?.isExact === true ? wait.endsAtMs : null;
    const ahead = await this.#deps.early.claim(runId, message.checkpoint.location);
    if (ahead !== null) return await this.#goOn(ahead, message, endsAtMs);
    const former = runners.takeAway(runId);
    if (former !== undefined) await this.#deps.retire(former);
    const startedMs = clock.monotonicMs();
    let way: WakeWay = "restored";
    let steps: Readonly<Record<string, number>> = {};
    const lineage = await this.#lineageOf(message);
    const gate = Promise.withResolvers<void>();
    const usedBefore = this.#names.usedFor(message.checkpoint.id);
    const placement = await placer.place({
      isRestore: true,
      snapshotId,
      nameOf: (tryNumber) => restoredName(runId, message.checkpoint.id, this.#names.use(message.checkpoint.id, usedBefore + tryNumber)),
      onTry: (name) => void this.#expect(name, message, lineage, gate.promise),
      onNotStarted: (name) => void runners.remove(name),
      ask: async (name) => {
        const restored = await gateway.restore(message.checkpoint.location, {
          name,
          metadata: restoreMetadata(config, { name, message, address: this.#deps.address(), lineage }),
          cpu: message.run.machine.cpu,
          memory_gb: message.run.machine.memory,
          labels: { org: message.organization.id },
        });
        if (restored.kind === "ok" && restored.body.extensions?.includes("thawed") === true) way = "thawed";
        if (restored.kind === "ok") steps = wholeMs(restored.body._timing);
        return restored;
      },
    });
    if (placement.kind === "failed") {
      gate.resolve();
      return restoreFailure(placement, usedBefore === 0 && !this.#deps.isImageOurs(message.checkpoint.location));
    }
    const runner = runners.get(placement.name);
    if (runner === undefined) return { kind: "moved_on", reason: "runner_ended" };
    runners.located(runner, placement.sandbox);
    runner.phase = "running";
    runner.taskId = wait?.taskId ?? null;
    if (runner.heardMs > runner.createdMs) noteWoken(runner, clock, this.#deps.onWoke);
    try {
      const result = await this.#continue(runner, message, clock.monotonicMs() - startedMs);
      if (result.kind !== "restored") return result;
      this.#deps.tellWoken({ message, runner, way, endsAtMs });
      return { ...result, steps };
    } finally {
      gate.resolve();
      runner.continued = null;
    }
  }

  /** It runs already, and has waited for this; its memory image is consumed. */
  async #goOn(runner: Runner, message: Message, endsAtMs: number | null): Promise<RestoreResult> {
    runner.restoredAt = message.snapshot.friendlyId;
    runner.attemptNumber = message.run.attemptNumber;
    try {
      const result = await this.#continue(runner, message, 0);
      if (result.kind === "restored") this.#deps.tellWoken({ message, runner, way: "ahead", endsAtMs });
      if (runner.ahead?.hasLeft === true) this.#deps.onLeft(runner, message.run.friendlyId);
      return result;
    } finally {
      runner.ahead?.call();
      runner.ahead = null;
    }
  }

  #expect(name: string, message: Message, lineage: readonly string[], continued: Promise<void>): void {
    const { runners } = this.#deps;
    const runner = runners.add({
      name,
      room: roomOf(message),
      lineage: lineage.filter((alias) => alias !== name),
      restoredAt: message.snapshot.friendlyId,
      adopted: false,
      attemptNumber: message.run.attemptNumber,
      serves: servedBy(message),
    });
    runner.phase = "starting";
    runner.continued = continued;
    runner.wakeAskedMs = this.#deps.clock.monotonicMs();
    runners.take(runner, message.run.friendlyId);
  }

  /** The quick way's first half. The sandbox runs for certain now. */
  async #continue(runner: Runner, message: Message, tookMs: number): Promise<RestoreResult> {
    const { platform, clock, random, stop, log } = this.#deps;
    const runId = message.run.friendlyId;
    const at = { runId, snapshotId: message.snapshot.friendlyId };
    const retries = { attempts: CONTINUE_ATTEMPTS, baseMs: 100, maxMs: 1_000, clock, random, signal: stop, retryable: isPassing };
    const outcome = await withRetries(retries, () => platform.continueRun(at, { runnerId: runner.name }));
    if (outcome.kind === "ok") {
      if (runner.ahead === null) this.#deps.notify(runner, runId);
      else {
        noteFirstNews(clock, runner, message, outcome.body);
        // It waits for the answer to its question; told at once it would ask another one first
        clock.after(NOTIFY_AFTER_MS, () => this.#deps.notify(runner, runId));
      }
      return { kind: "restored", runner, tookMs, continued: true };
    }
    if (isPassing(outcome)) {
      log.warn({ runId, runnerId: runner.name, error: outcome.message }, "could not continue a restored run; its runner will");
      return { kind: "restored", runner, tookMs, continued: false };
    }
    return await this.#afterRefusal(runner, message, { tookMs, outcome });
  }

  /** Continued by the runner itself, or cancelled meanwhile: then its runner must go on and say so. Anything else: the sandbox goes. */
  async #afterRefusal(
    runner: Runner,
    message: Message,
    refusal: { readonly tookMs: number; readonly outcome: Exclude<CallOutcome<unknown>, { kind: "ok" }> },
  ): Promise<RestoreResult> {
    const runId = message.run.friendlyId;
    const latest = await this.#deps.platform.latest(runId);
    const isOurs = latest.kind === "ok" && isExecuting(latest.body) && latest.body.run.attemptNumber === message.run.attemptNumber;
    if (isOurs || (latest.kind !== "ok" && isPassing(latest))) {
      this.#deps.notify(runner, runId);
      return { kind: "restored", runner, tookMs: refusal.tookMs, continued: latest.kind === "ok" };
    }
    this.#deps.runners.remove(runner.name);
    await this.#deps.gateway.remove(runner.name);
    const isStillHandedOut = latest.kind === "ok" && latest.body.snapshot.friendlyId === message.snapshot.friendlyId;
    if (isStillHandedOut) return { kind: "failed", outcome: "fail", reason: "continue_refused", message: refusal.outcome.message };
    return { kind: "moved_on", reason: latest.kind === "ok" ? latest.body.snapshot.executionStatus : "run_gone" };
  }

  /** The hand-out itself says that the platform has accepted; our own report of it may not know yet (L5). */
  async #ourFreezeIsOver(runId: string): Promise<void> {
    const intent = this.#deps.intents.of(runId);
    if (intent === undefined) return;
    intent.poke();
    await Promise.race([intent.settled, sleep(this.#deps.clock, SETTLE_WITHIN_MS, this.#deps.stop)]);
    this.#deps.intents.cancel(runId, "reassigned");
  }

  async #lineageOf(message: Message): Promise<readonly string[]> {
    const known = this.#deps.lineages.take(message.run.friendlyId);
    if (known !== undefined) return known;
    const images = await this.#deps.gateway.images();
    const image = images.kind === "ok" ? images.body.snapshots.find(({ id }) => id === message.checkpoint.location) : undefined;
    return image === undefined ? [] : [image.instanceName];
  }
}

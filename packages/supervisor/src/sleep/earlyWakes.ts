// Sleeping runs that are made ready before their wait ends, so that they go on at its very end.
//
// E1  A run whose end is known is restored so long before it as a wake takes here (95th percentile), and the moment by which the
//     platform hands runs out ahead of their end. Its runner idles: what it asks for is answered with nothing new, and the platform
//     hears nothing of it. It goes on when the platform has answered `continue`, which it does at the end of the wait (see Restorer).
// E2  Its memory image stays on the disk, reserved, until the run is about to go on. A sandbox that dies ahead of time, is not wanted,
//     or is left behind by a crash of ours costs nothing but the earliness: the image is free again as soon as the sandbox has ended,
//     and the run wakes as it would have. What the runner says meanwhile is refused (L8), and one that leaves is not called.
//     The image is deleted before the platform hears `continue`, by whomever (L6): who may have gone on has no image to come back from.
// E3  Whoever is not called for soon after its time ends (the run waits in the queue, or was cancelled): it takes up room.
// E4  Nothing of this must survive. The net under every timer here is the ordinary wake.
import { withRetries } from "@torpor/http";
import type { Timer } from "@torpor/kernel";
import type { Log } from "@torpor/observe";
import type { NodeRoom } from "../dequeue/nodeRoom.ts";
import { aheadName } from "../launch/names.ts";
import { fits } from "../launch/plan.ts";
import { isPassing } from "../platform/platform.ts";
import type { Runner } from "../runners/runner.ts";
import { judgeAcceptance } from "../snapshot/verdict.ts";
import type { AsleepRun } from "./asleepRun.ts";
import { makeReady, type MakeReadyDeps } from "./makeReady.ts";

export interface EarlyWakesDeps extends MakeReadyDeps {
  readonly random: () => number;
  readonly stop: AbortSignal;
  readonly log: Log;
  readonly room: NodeRoom;
  readonly draining: () => boolean;
}

/** Why somebody who was made ready is not wanted. */
export type EarlyLoss = "not_called" | "canceled" | "other_image" | "shutdown" | "died" | "left" | "not_consumed";

/**
 * The platform hands a run out 150 ms before its end; until then its sandbox should be ready, and one wake in twenty takes longer
 * than others. Idling costs a sandbox's memory for this time, and being late a user's.
 */
const READY_BEFORE_MS = 250;
/** Sooner than this before its end nobody is made ready: a wait that is nearly over wakes as others do. */
const MIN_LEAD_MS = 20;
/** The engine queues a run some tens of ms after its end; one that is not handed out by then waits for its queue. */
const CALLED_WITHIN_MS = 10_000;
/** Node's timers are exact up to 24 days; in between the wall clock may be set. */
const LONGEST_TIMER_MS = 3_600_000;
/** A wall clock that was put back by more has its runs made ready later. */
const CLOCK_SLACK_MS = 1_000;
/** Its run waits for this; beyond it the run wakes as others do. */
const CONSUME_ATTEMPTS = 3;
const MAX_RUNS = 20_000;

interface Entry {
  readonly run: AsleepRun;
  timer: Timer | null;
  /** What was made of it; null until its time has come. */
  runner: Promise<Runner | null> | null;
}

export class EarlyWakes {
  readonly #deps: EarlyWakesDeps;
  readonly #byRun = new Map<string, Entry>();
  readonly #leaving = new Map<string, Promise<void>>();
  #names = 0;

  constructor(deps: EarlyWakesDeps) {
    this.#deps = deps;
  }

  /** A run fell asleep here; when its end is known, it is made ready in time. */
  asleep(run: AsleepRun): void {
    if (!this.#deps.room.can("reserve") || this.#byRun.size >= MAX_RUNS) return;
    const former = this.#byRun.get(run.runId);
    if (former !== undefined) void this.#giveUp(former, "other_image"); // it went on elsewhere meanwhile
    const entry: Entry = { run, timer: null, runner: null };
    this.#byRun.set(run.runId, entry);
    this.#arm(entry);
  }

  /** Whether a sandbox of this run takes up room here already. */
  has(runId: string): boolean {
    return this.#byRun.get(runId)?.runner != null;
  }

  /**
   * The platform has handed the run out with this memory image: whoever was made ready for it, with the image consumed for good (L6).
   * Null: the run is restored as others are.
   */
  async claim(runId: string, imageId: string): Promise<Runner | null> {
    await this.#leaving.get(runId);
    const entry = this.#byRun.get(runId);
    this.#byRun.delete(runId);
    entry?.timer?.cancel();
    const runner = (await entry?.runner) ?? null;
    if (entry === undefined || runner === null) return null;
    if (this.#deps.runners.get(runner.name) !== runner) return this.#lost(entry, "died");
    if (entry.run.imageId !== imageId) {
      await this.#dismiss(entry, runner, "other_image");
      return null;
    }
    if (this.#deps.runners.openRequestsOf(runner.name) === 0 && !(await this.#lives(runner))) {
      await this.#dismiss(entry, runner, "died");
      return null;
    }
    if (runner.ahead !== null) runner.ahead.isClaimed = !runner.ahead.hasLeft;
    if (runner.ahead?.hasLeft !== true && (await this.#consume(imageId))) return runner;
    await this.#dismiss(entry, runner, runner.ahead?.hasLeft === true ? "left" : "not_consumed");
    return null;
  }

  /** Who is ready has ended its run by itself, for instance because a limit of the task was over at its thaw: it is not called. */
  left(runner: Runner): void {
    if (runner.ahead === null) return;
    runner.ahead.hasLeft = true;
    const entry = this.#byRun.get(runner.runId ?? "");
    if (entry !== undefined) void this.#giveUp(entry, "left");
  }

  /** Something about the run has changed; if it does not sleep any more, nobody needs to be ready for it. */
  async look(runId: string): Promise<void> {
    const entry = this.#byRun.get(runId);
    if (entry === undefined) return;
    const latest = await this.#deps.platform.latest(runId);
    if (latest.kind === "ok" && judgeAcceptance(latest.body, entry.run.imageId) === "no") await this.#giveUp(entry, "canceled");
  }

  /** Everybody who was made ready goes; the images are free again. */
  async close(): Promise<void> {
    await Promise.all([...this.#byRun.values()].map((entry) => this.#giveUp(entry, "shutdown")));
  }

  #arm(entry: Entry): void {
    const { clock } = this.#deps;
    entry.timer = clock.after(Math.min(Math.max(0, this.#beginsInMs(entry)), LONGEST_TIMER_MS), () => {
      if (this.#beginsInMs(entry) > CLOCK_SLACK_MS) this.#arm(entry);
      else this.#begin(entry);
    });
  }

  #beginsInMs({ run }: Entry): number {
    const { clock, costs } = this.#deps;
    return run.endsAtMs - clock.nowMs() - costs.prices().wakeP95Ms - READY_BEFORE_MS;
  }

  #begin(entry: Entry): void {
    const { clock, room, runners, draining } = this.#deps;
    const { run } = entry;
    const leftMs = run.endsAtMs - clock.nowMs();
    const { free, isEmpty } = room.view(runners.placed());
    const isPossible = leftMs >= MIN_LEAD_MS && !draining() && !room.isShort && (isEmpty || fits(run.room, free));
    if (!isPossible) {
      this.#deps.metrics.count("torpor_early_wakes_total", { outcome: "no_room" });
      this.#byRun.delete(run.runId);
      return;
    }
    const name = aheadName(run.runId, run.imageId, ++this.#names);
    entry.runner = makeReady(this.#deps, name, run).catch((error: unknown) => {
      this.#deps.log.error({ err: error, runId: run.runId }, "a run could not be made ready ahead of time, unforeseen");
      return null;
    });
    entry.timer = clock.after(leftMs + CALLED_WITHIN_MS, () => void this.#giveUp(entry, "not_called"));
  }

  /** Deletes the image, which nobody can restore from then on. False: perhaps it is there still. */
  async #consume(imageId: string): Promise<boolean> {
    const { gateway, clock, random, stop } = this.#deps;
    const retries = { attempts: CONSUME_ATTEMPTS, baseMs: 50, maxMs: 500, clock, random, signal: stop, retryable: isPassing };
    return (await withRetries(retries, () => gateway.removeImage(imageId))).kind === "ok";
  }

  async #lives(runner: Runner): Promise<boolean> {
    const instance = await this.#deps.gateway.instance(runner.name);
    return instance.kind === "ok" && instance.body.state === "running";
  }

  async #giveUp(entry: Entry, reason: EarlyLoss): Promise<void> {
    const { runId } = entry.run;
    if (this.#byRun.get(runId) !== entry) return;
    this.#byRun.delete(runId);
    entry.timer?.cancel();
    const leaving = this.#settle(entry, reason);
    this.#leaving.set(runId, leaving);
    await leaving.finally(() => this.#leaving.delete(runId));
  }

  async #settle(entry: Entry, reason: EarlyLoss): Promise<void> {
    const runner = (await entry.runner) ?? null;
    if (runner !== null) await this.#dismiss(entry, runner, reason);
  }

  async #dismiss(entry: Entry, runner: Runner, reason: EarlyLoss): Promise<void> {
    this.#lost(entry, reason);
    await this.#deps.retire(runner);
  }

  #lost({ run }: Entry, reason: EarlyLoss): null {
    this.#deps.metrics.count("torpor_early_wakes_total", { outcome: reason });
    this.#deps.timeline.add(run.runId, { name: "wake.not_needed", reason, snapshotId: run.snapshotId });
    return null;
  }
}

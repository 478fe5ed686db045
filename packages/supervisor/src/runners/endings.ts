// Runners that end, and the runs they leave behind.
import type { RunExecutionData } from "@torpor/contracts";
import { withRetries } from "@torpor/http";
import type { Clock } from "@torpor/kernel";
import type { Log, Metrics } from "@torpor/observe";
import type { Gateway } from "../gateway/gateway.ts";
import { persistently, type PersistOptions } from "../platform/persistent.ts";
import { isMissingRoute, isPassing, type Platform } from "../platform/platform.ts";
import type { Timeline } from "../platform/timeline.ts";
import type { Intents } from "../snapshot/intents.ts";
import { peek } from "../workload/relay.ts";
import { hasLeft, judgeLostRun, type LostRunVerdict, type RunnerEnd } from "./lostRun.ts";
import { lastSeenAt, type Runner } from "./runner.ts";
import type { Runners } from "./runners.ts";

/** The platform's own stall takes over after this. */
const REPORT_BUDGET_MS = 120_000;
/** A run moves on a few times in a moment at most: its wait ends, it is cancelled. */
const MAX_LOOKS = 5;
/** A gateway that is being started again is back within this; later its own list is looked at (see caretaker.ts). */
const REMOVE_ATTEMPTS = 12;
/** One that has ended by itself holds nothing any more: to free its name is worth a moment, not a wait. */
const FREE_NAME_ATTEMPTS = 3;

export interface EndingsDeps {
  readonly platform: Platform;
  readonly gateway: Gateway;
  readonly runners: Runners;
  readonly intents: Intents;
  readonly timeline: Timeline;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly dropSocket: (runner: Runner) => void;
  readonly stop: AbortSignal;
}

export class Endings {
  readonly #deps: EndingsDeps;
  /** Ends that are being dealt with: a gateway may tell one twice. */
  readonly #ending = new WeakSet<Runner>();

  constructor(deps: EndingsDeps) {
    this.#deps = deps;
  }

  /** The sandbox has ended by itself. Its run, if it still is its run, is told to the platform at once. */
  async ended(runner: Runner, end: RunnerEnd): Promise<void> {
    if (this.#ending.has(runner)) return;
    this.#ending.add(runner);
    const { metrics, log } = this.#deps;
    const { runId } = runner;
    metrics.count("torpor_runners_ended_total", { left_run: String(runId !== null) });
    log.info({ runnerId: runner.name, runId, ...end }, "a runner ended");
    if (runId !== null) await this.#memoryIsDecided(runner, runId);
    this.#forget(runner);
    // Before anything is told: what is told may hand the run out again, to a sandbox of the same name.
    await this.#remove(runner, FREE_NAME_ATTEMPTS);
    if (runId !== null) await this.#tell(runner, runId, end);
  }

  /** Died while it was being frozen, or after: if its memory is whole it sleeps all the same, and the gateway says so in a moment. */
  async #memoryIsDecided(runner: Runner, runId: string): Promise<void> {
    const intent = this.#deps.intents.of(runId);
    if (intent?.runnerId !== runner.name || !(intent.state === "freezing" || intent.state === "held" || intent.state === "accepted"))
      return;
    await Promise.race([intent.settled, aborted(this.#deps.stop)]);
  }

  /** The runner lives on and has left its run without an end. */
  async abandoned(runner: Runner, runId: string, why: string): Promise<void> {
    if (runner.runId === runId) this.#deps.runners.unbind(runner);
    this.#deps.intents.cancel(runId, "runner_ended", runner.name);
    await this.#tell(runner, runId, { exitCode: null, reason: why });
  }

  /** Its run is another's now, or nobody's: the sandbox goes. */
  async retire(runner: Runner): Promise<void> {
    const isOurs = this.#deps.runners.get(runner.name) === runner && (runner.instanceId !== null || runner.ahead !== null);
    this.#forget(runner);
    if (isOurs) this.#deps.runners.sendAway(runner.name);
    await this.#remove(runner, REMOVE_ATTEMPTS);
  }

  async #remove({ name, instanceId }: Runner, attempts: number): Promise<void> {
    const { gateway, clock, random, stop } = this.#deps;
    await withRetries({ attempts, baseMs: 100, maxMs: 5_000, clock, random, signal: stop, retryable: isPassing }, () =>
      gateway.remove(name, instanceId),
    );
  }

  #forget(runner: Runner): void {
    this.#deps.intents.runnerEnded(runner.name);
    this.#deps.dropSocket(runner);
    if (this.#deps.runners.get(runner.name) === runner) this.#deps.runners.remove(runner.name);
  }

  /** A run that moves on between the look and the report is looked at again: it may be its runner's still. */
  async #tell(runner: Runner, runId: string, end: RunnerEnd): Promise<void> {
    for (let look = 1; look <= MAX_LOOKS; look++) if ((await this.#tellOnce(runner, runId, { end, look })) === "done") return;
    this.#deps.log.warn({ runId }, "a lost run moved on whenever it was looked at; the platform will find it stalled");
  }

  async #tellOnce(
    runner: Runner,
    runId: string,
    { end, look }: { readonly end: RunnerEnd; readonly look: number },
  ): Promise<"done" | "moved_on"> {
    const { platform, log } = this.#deps;
    const { outcome: latest } = await persistently(this.#persist(), () => platform.latest(runId));
    if (latest.kind !== "ok") {
      log.warn({ runId, error: latest.message }, "a lost run could not be looked up; the platform will find it stalled");
      return "done";
    }
    const verdict = await this.#judge(runner, runId, latest.body, end);
    if (verdict.kind === "none") return "done";
    const lost = { name: "runner.lost", reason: end.reason.slice(0, 256), runnerId: runner.name, snapshotId: verdict.snapshotId } as const;
    if (look === 1) this.#deps.timeline.add(runId, lost);
    const { outcome } = await persistently(this.#persist(), () => this.#act(runId, runner, verdict));
    if (outcome.kind === "ok") return "done";
    if (!isMissingRoute(outcome)) log.warn({ runId, error: outcome.message }, "the platform did not take the report of a lost run");
    // Of one that never said where it is, nobody could tell its run from another's later on
    const canLookAgain = outcome.kind === "refused" && !isMissingRoute(outcome) && lastSeenAt(runner) !== null;
    return canLookAgain ? "moved_on" : "done";
  }

  async #judge(runner: Runner, runId: string, latest: RunExecutionData, end: RunnerEnd): Promise<LostRunVerdict> {
    const seenAt = lastSeenAt(runner);
    const since = seenAt === null || seenAt === latest.snapshot.friendlyId ? [] : await this.#since(runId, seenAt);
    if (this.#deps.runners.holderOf(runId) !== undefined || hasLeft(since)) return { kind: "none" }; // another runner's by now
    return judgeLostRun({
      latest,
      attemptNumber: runner.attemptNumber,
      handedOutAt: runner.restoredAt ?? runner.snapshotId,
      wasRestored: runner.restoredAt !== null,
      end,
    });
  }

  #persist(): PersistOptions {
    const { clock, random, stop } = this.#deps;
    return { clock, random, signal: stop, budgetMs: REPORT_BUDGET_MS };
  }

  /** Statuses of the run since the runner last saw it; none when the platform does not tell. */
  async #since(runId: string, snapshotId: string): Promise<string[]> {
    const outcome = await this.#deps.platform.since({ runId, snapshotId }, { runnerId: undefined });
    return outcome.kind === "ok" ? (peek.history(outcome.body) ?? []).map(({ executionStatus }) => executionStatus) : [];
  }

  #act(runId: string, runner: Runner, verdict: Exclude<LostRunVerdict, { kind: "none" }>) {
    const { platform } = this.#deps;
    const at = { runId, snapshotId: verdict.snapshotId };
    if (verdict.kind === "release") return platform.release(at, "runner_ended_before_start");
    if (verdict.kind === "restore_failed") return platform.restoreOutcome(at, { outcome: "fail", reason: "runner_ended_after_restore" });
    return platform.complete(
      at,
      { completion: { ok: false, id: runId, error: verdict.error }, forceRequeue: true },
      { runnerId: runner.name },
    );
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

// What runners do to their runs.
//
// A1  An intent is cancelled before the call that ends its wait is passed on (L1).
// A2  A runner gets a run by acting on it, not only by `run:start`; it cannot get one that another live runner holds (R4),
//     and what the platform accepts from it makes it the holder.
// A3  An outage of the platform is sat out here for the calls that a run's fate hangs on: a runner gives up after some 10 s.
// A4  A repeat of a call whose first answer was lost is refused by the engine. The runner is told what became of the first.
import { TorporError } from "@torpor/contracts";
import { sleep, type Clock } from "@torpor/kernel";
import { Answer, type CallOutcome } from "@torpor/http";
import { persistently, type Persisted } from "../platform/persistent.ts";
import type { Platform } from "../platform/platform.ts";
import type { Runner } from "../runners/runner.ts";
import { foundOut } from "../runners/foundOut.ts";
import { hasLeft } from "../runners/lostRun.ts";
import type { Runners } from "../runners/runners.ts";
import type { Intents } from "../snapshot/intents.ts";
import { noteWoken, untilCalled } from "../sleep/ahead.ts";
import { takeFirstNews, whereItGoesOn } from "../sleep/firstNews.ts";
import type { Waits } from "../sleep/waits.ts";
import type { Rearm } from "../snapshot/rearm.ts";
import { Beginnings } from "./beginnings.ts";
import { completedAlready } from "./completedAlready.ts";
import { by, type WorkloadCaller } from "./identity.ts";
import { latestOnly, NOTHING_NEW, passOn, peek } from "./relay.ts";

/** Shorter than the 300 s after which Node gives up on an answer. */
const COMPLETE_BUDGET_MS = 60_000;
const START_BUDGET_MS = 20_000;
const CONTINUE_BUDGET_MS = 5_000;
/** How long a restored runner's first look waits for our own `continue`; it gives up on us after 10 s. */
const CONTINUED_WITHIN_MS = 2_000;
/** A runner that was made ready ahead of time asks for news and gives up on us after 10 s. */
const AHEAD_ANSWER_MS = 5_000;

/** Attempts count from 1: it has begun none. */
const NO_ATTEMPT = 0;

export interface RunActionsDeps {
  readonly platform: Platform;
  readonly runners: Runners;
  readonly intents: Intents;
  readonly rearm: Rearm;
  readonly waits: Waits;
  readonly clock: Clock;
  readonly random: () => number;
  readonly stop: AbortSignal;
  readonly notify: (runner: Runner, runId: string) => void;
  /** A runner shows that it has taken the run that was handed out at this snapshot; the platform has not been asked yet. */
  readonly onSign: (snapshotId: string, runnerId: string | undefined) => void;
  /** That run has started somewhere. */
  readonly onStarted: (snapshotId: string, runnerId: string | undefined) => void;
  /** A start was accepted, and its answer is lost: nobody will execute this attempt. */
  readonly onStartLost: (runner: Runner, runId: string) => void;
  /** A sleeping run's runner was heard so long after its wake was decided. */
  readonly onWoke: (durationMs: number) => void;
  /** Looks at the sandboxes that are here. False: it could not be done. */
  readonly takeStock: () => Promise<boolean>;
  /** Whether a runner may tell the platform that it goes on (L6). */
  readonly mayGoOn: (runner: Runner) => Promise<boolean>;
  /** A runner that is ready ahead of time has ended its run by itself. */
  readonly onLeftAhead: (runner: Runner) => void;
  /** The run needs its memory images no more. */
  readonly onImagesIdle: (runId: string) => void;
}

interface At {
  readonly runId: string;
  readonly snapshotId: string;
}

/** The actions on one run, as the workload routes call them. */
export class RunActions {
  readonly #deps: RunActionsDeps;
  readonly #beginnings: Beginnings;

  constructor(deps: RunActionsDeps) {
    this.#deps = deps;
    this.#beginnings = new Beginnings(deps.clock);
  }

  async start(at: At, body: unknown, caller: WorkloadCaller): Promise<Answer<never>> {
    const { intents, runners, platform } = this.#deps;
    this.#mayAct(caller.runner, at.runId);
    this.#deps.onSign(at.snapshotId, caller.runner?.name);
    intents.cancel(at.runId, "started", caller.runner?.name, at.snapshotId);
    const { runner } = caller;
    const { outcome, mayHaveHappened } = await this.#beginnings.during(runner, () =>
      this.#persist(START_BUDGET_MS, () => platform.start(at, body, by(caller))),
    );
    if (outcome.kind === "ok") {
      this.#deps.onStarted(at.snapshotId, caller.runner?.name);
      const started = peek.started(outcome.body);
      if (runner !== null) {
        runners.take(runner, at.runId);
        runner.begunRunId = at.runId;
        runner.attemptNumber = started?.run.attemptNumber ?? runner.attemptNumber;
        runner.taskId = started?.execution?.task.id ?? null;
        this.#note(runner, at.runId, started?.snapshot.friendlyId ?? at.snapshotId);
      }
      if (started !== undefined) intents.observe(at.runId, started.snapshot.friendlyId, started.snapshot.executionStatus);
    } else if (mayHaveHappened && runner !== null) {
      runners.bind(runner, at.runId);
      this.#deps.onStartLost(runner, at.runId);
    } else if (runner !== null && runner.begunRunId !== at.runId) {
      runner.attemptNumber = NO_ATTEMPT; // what executes now is another's, and does not end with this one
    }
    return passOn(outcome);
  }

  async complete(asked: At, body: unknown, caller: WorkloadCaller): Promise<Answer<never>> {
    const { intents, runners, platform } = this.#deps;
    const { runner } = caller;
    this.#mayAct(runner, asked.runId);
    intents.cancel(asked.runId, "completed", runner?.name, asked.snapshotId); // before anything is waited for (L1)
    const at = { ...asked, snapshotId: await whereItGoesOn(this.#deps.clock, runner, asked.snapshotId) };
    if (runner !== null && runner.ahead !== null) {
      this.#deps.onLeftAhead(runner);
      throw notItsYet(at, runner);
    }
    if (at.snapshotId !== asked.snapshotId) intents.cancel(at.runId, "completed", runner?.name, at.snapshotId);
    const isHolder = runner !== null && runner.runId === at.runId;
    if (isHolder) runner.completing = true;
    const persisted = await this.#persist(COMPLETE_BUDGET_MS, () => platform.complete(at, body, by(caller)));
    const outcome = await this.#recovered(at, body, persisted);
    if (isHolder) runner.completing = false;
    const result = outcome.kind === "ok" ? peek.completed(outcome.body) : undefined;
    if (result?.attemptStatus === "RETRY_IMMEDIATELY") {
      if (isHolder) this.#note(runner, at.runId, result.snapshot.friendlyId);
    } else if (result !== undefined) {
      if (isHolder && runner.runId === at.runId) runners.unbind(runner);
      this.#deps.onImagesIdle(at.runId);
    }
    return passOn(outcome);
  }

  async heartbeat(at: At, body: unknown, caller: WorkloadCaller): Promise<Answer<never>> {
    const { runner } = caller;
    this.#heard(runner, at);
    if (runner?.ahead != null) return new Answer({ ok: true } as never, { status: 200 }); // its run sleeps, for all that the platform knows
    if (runner?.runId === at.runId) this.#deps.intents.heard(at.runId, runner.name, at.snapshotId);
    return passOn(await this.#deps.platform.runHeartbeat(at, body, by(caller)));
  }

  async continueRun(at: At, caller: WorkloadCaller): Promise<Answer<never>> {
    const { intents, platform } = this.#deps;
    const { runner } = caller;
    this.#mayAct(runner, at.runId);
    if (runner !== null && !(await this.#deps.mayGoOn(runner))) throw notItsYet(at, runner);
    intents.cancel(at.runId, "continued", runner?.name, at.snapshotId);
    const { outcome } = await this.#persist(CONTINUE_BUDGET_MS, () => platform.continueRun(at, by(caller)));
    const told = outcome.kind === "refused" && runner?.restoredAt === at.snapshotId ? await this.#alreadyContinued(at, outcome) : outcome;
    if (told.kind === "ok") {
      if (runner !== null) {
        this.#note(runner, at.runId, at.snapshotId);
        // The runner does not take the state from this answer, it waits to see it in the history.
        this.#deps.notify(runner, at.runId);
      }
      this.#deps.onImagesIdle(at.runId);
    }
    return passOn(told);
  }

  async since(at: At, caller: WorkloadCaller): Promise<Answer<never>> {
    const { runner } = caller;
    const { runners } = this.#deps;
    this.#heard(runner, at);
    if (runner !== null && (await this.#hasNoNewsYet(runner))) return NOTHING_NEW;
    if (runner?.continued != null) await Promise.race([runner.continued, sleep(this.#deps.clock, CONTINUED_WITHIN_MS)]);
    const news = takeFirstNews(this.#deps.clock, runner, at.snapshotId);
    if (news !== undefined) {
      this.#deps.intents.observe(at.runId, news.snapshotId, "EXECUTING");
      return new Answer(news.body as never, { status: 200 });
    }
    const outcome = await this.#deps.platform.since(at, by(caller));
    if (outcome.kind !== "ok") return passOn(outcome);
    const history = peek.history(outcome.body) ?? [];
    for (const { friendlyId, executionStatus, torporWait } of history) {
      this.#deps.intents.observe(at.runId, friendlyId, executionStatus);
      if (torporWait !== undefined) this.#deps.waits.told(at.runId, friendlyId, torporWait);
    }
    if (history.length === 0 && runner?.runId === at.runId) {
      this.#deps.intents.heard(at.runId, runner.name, at.snapshotId);
      this.#deps.rearm.stillAt(runner, at.runId, at.snapshotId);
    }
    const isCanceled = history.at(-1)?.executionStatus === "PENDING_CANCEL";
    if (isCanceled && runner !== null && !(await this.#beginnings.hears(runner))) return NOTHING_NEW;
    // A restored runner would take SUSPENDED and QUEUED in its own history for the loss of its run.
    const left = hasLeft(history.map(({ executionStatus }) => executionStatus));
    const found = left && runner !== null ? await foundOut(runner, { runners, takeStock: this.#deps.takeStock }) : runner;
    if (found === "not_yet") return NOTHING_NEW;
    const isRestored = found?.restoredAt != null && at.snapshotId < found.restoredAt;
    if (left && !isRestored && found?.runId === at.runId) runners.unbind(found);
    return isRestored && history.length > 1 ? passOn({ ...outcome, body: latestOnly(outcome.body) }) : passOn(outcome);
  }

  /** Notes how long a wake took, and lets a runner that was made ready ahead of time wait until it is called. */
  async #hasNoNewsYet(runner: Runner): Promise<boolean> {
    const { clock, onWoke } = this.#deps;
    // Sooner than its gateway says that it runs, it cannot go on: then that ends its wake
    if (runner.phase !== "starting") noteWoken(runner, clock, onWoke);
    return (await untilCalled(clock, runner, AHEAD_ANSWER_MS)) === "not_yet";
  }

  /** Who acts on a run has it, unless somebody else does (A2). Throws `forbidden` then, but not to one that had it before: the platform will tell it. */
  #mayAct(runner: Runner | null, runId: string): void {
    if (runner === null) return;
    runner.heardMs = this.#deps.clock.monotonicMs();
    const holder = this.#deps.runners.holderOf(runId);
    if (holder === undefined || holder === runner || runner.formerRunIds.has(runId)) return;
    throw new TorporError("forbidden", `Cannot act on ${runId} as ${runner.name}: another runner has it`);
  }

  #heard(runner: Runner | null, at: At): void {
    this.#mayAct(runner, at.runId);
    this.#deps.intents.observe(at.runId, at.snapshotId);
    if (runner !== null) this.#note(runner, at.runId, at.snapshotId);
  }

  #note(runner: Runner, runId: string, snapshotId: string): void {
    this.#deps.runners.bind(runner, runId);
    if (runner.runId === runId && snapshotId > (runner.snapshotId ?? "")) runner.snapshotId = snapshotId;
  }

  #persist<T>(budgetMs: number, call: () => Promise<CallOutcome<T>>): Promise<Persisted<T>> {
    const { clock, random, stop } = this.#deps;
    return persistently({ clock, random, signal: stop, budgetMs }, call);
  }

  /** A4 for `complete`. */
  async #recovered(at: At, body: unknown, { outcome, mayHaveHappened }: Persisted<unknown>): Promise<CallOutcome<unknown>> {
    if (outcome.kind !== "refused" || !mayHaveHappened) return outcome;
    const latest = await this.#deps.platform.latest(at.runId);
    const result = latest.kind === "ok" ? completedAlready(at, body, latest.body) : null;
    return result === null ? outcome : { kind: "ok", status: 200, body: { result } };
  }

  /** A4 for `continue`: we may have said it for the runner, after its restore. */
  async #alreadyContinued(at: At, refusal: CallOutcome<unknown>): Promise<CallOutcome<unknown>> {
    const latest = await this.#deps.platform.latest(at.runId);
    if (latest.kind !== "ok") return refusal;
    const { snapshot, run } = latest.body;
    const isOurs = snapshot.friendlyId > at.snapshotId && snapshot.executionStatus === "EXECUTING";
    return isOurs ? { kind: "ok", status: 200, body: { snapshot, run } } : refusal;
  }
}

/** It was made ready ahead of time: for the platform its run sleeps, and what it believes in is over (L8). */
function notItsYet({ runId, snapshotId }: At, { name }: Runner): TorporError {
  return new TorporError("snapshot_stale", `Cannot act on ${runId} at ${snapshotId} as ${name}: the run has not been given to it`);
}

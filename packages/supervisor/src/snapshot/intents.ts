// Who may sleep, and when: the intents of this node.
//
// N1  A run has at most one intent. A newer wait replaces it, an older or equal request changes nothing.
// N2  A cancel names its reason and, unless it comes from the platform, the runner it comes from; another runner's is ignored (L2).
// N3  A cancel reaches every state (L1). Once the platform was told of a written image, only its word decides: until then
//     a cancel thaws, afterwards it makes us ask sooner (L4, L5).
// N4  A runner that has fallen silent is not frozen. Its intent waits out the grace period, then rests until it is heard again (L3).
// N5  What failed without the run having moved is tried again, later and later: the runner never repeats its request.
// N6  When is decided by cost (see sleep/planSleep.ts). A run that is to stay awake has an intent, too: it comes due when the wait
//     has not ended long after it should have, or when others need its room.
//
// All of it lives in memory. The net under each timer here is the traffic of the waiting runner itself: a supervisor that
// starts again arms it anew (see rearm.ts), and until then the task waits in memory, which costs room but nothing else.
import { backoffMs, TimerWheel, type Clock, type Timer } from "@torpor/kernel";
import type { Log } from "@torpor/observe";
import type { Runners } from "../runners/runners.ts";
import type { Waits } from "../sleep/waits.ts";
import { Intent, type IntentKey } from "./intent.ts";
import type { CancelReason, FailReason } from "./lifeCycle.ts";
import type { TellSnapshot } from "./tell.ts";

const TICK_MS = 100;
/** One lap is a minute, the longest delay there is. */
const SLOT_COUNT = 600;

/**
 * No sandbox is frozen sooner than this after its request was answered. The answer must have left and its socket must be
 * drained: a runner frozen before it has read the answer repeats the request after its restore, and on a connection that
 * dies without a word it waits 306 s for it. Half a second was enough in every one of some 1 400 measured cycles.
 */
export const MIN_BEFORE_FREEZE_MS = 500;

const RETRY_BASE_MS = 5_000;
const RETRY_MAX_MS = 600_000;
/** Somebody else's turn is over soon. */
const BUSY: ReadonlySet<FailReason> = new Set(["gateway_busy", "queue_full", "runner_busy"]);
const BUSY_BASE_MS = 1_000;
const SILENT_RECHECK_MS = 1_000;

const NEVER_AGAIN: ReadonlySet<FailReason> = new Set(["sandbox_gone", "not_supported"]);

export interface IntentsDeps {
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
  readonly runners: Runners;
  readonly tell: TellSnapshot;
  /** Decides when. */
  readonly waits: Waits;
  readonly socketGraceMs: number;
  /** Takes a due intent through the rest of its life. */
  readonly carryOut: (intent: Intent) => Promise<void>;
  /** A cancelled intent had got as far as the gateway: let the sandbox go on. */
  readonly thaw: (intent: Intent) => Promise<void>;
}

/** The intents of this node. */
export class Intents {
  readonly #deps: IntentsDeps;
  readonly #wheel: TimerWheel<Intent>;
  readonly #byRun = new Map<string, Intent>();
  /** Intents of runners that fell silent (N4). */
  readonly #resting = new Map<string, IntentKey>();
  readonly #working = new Set<Promise<void>>();
  #timer: Timer | null = null;
  #draining = false;

  constructor(deps: IntentsDeps) {
    this.#deps = deps;
    this.#wheel = new TimerWheel({ tickMs: TICK_MS, slotCount: SLOT_COUNT }, deps.clock.monotonicMs());
  }

  /** The run's intent, if it has one that has not ended. */
  of(runId: string): Intent | undefined {
    return this.#byRun.get(runId);
  }

  get size(): number {
    return this.#byRun.size;
  }

  /** Notes that a runner may be put to sleep while its run waits at this snapshot. `why` stands in the timeline. */
  schedule(key: IntentKey, options: { readonly why: string; readonly delayMs?: number; readonly failures?: number }): void {
    if (this.#draining) return;
    const current = this.#byRun.get(key.runId);
    if (current !== undefined && current.snapshotId >= key.snapshotId) return;
    if (current !== undefined) {
      this.#end(current, "superseded", "snapshot.replaced");
      if (!current.ended) return; // told to the platform already: its word comes first, and it will refuse what is stale
    }
    this.#resting.delete(key.runId);
    const nowMs = this.#deps.clock.monotonicMs();
    const planned = options.delayMs === undefined ? this.#plan(key) : null;
    const delayMs = Math.max(options.delayMs ?? planned?.delayMs ?? 0, MIN_BEFORE_FREEZE_MS);
    const dueAtMs = nowMs + delayMs;
    const intent = new Intent(key, { dueAtMs, failures: options.failures ?? 0, notBeforeMs: nowMs + MIN_BEFORE_FREEZE_MS });
    this.#byRun.set(key.runId, intent);
    this.#wheel.schedule(key.runId, dueAtMs, intent);
    this.#deps.tell(planned?.stays === true ? "snapshot.not_worth_it" : "snapshot.scheduled", key, {
      reason: options.why,
      properties: { ...planned?.told, delayMs: Math.round(delayMs) },
    });
    this.#arm();
  }

  /** Others need the room: the run sleeps as soon as it may. False: it is on its way already, or gone. */
  hasten(runId: string): boolean {
    const intent = this.#byRun.get(runId);
    if (intent?.state !== "scheduled") return false;
    const nowMs = this.#deps.clock.monotonicMs();
    const dueAtMs = Math.max(nowMs, intent.notBeforeMs);
    if (!intent.hasten(dueAtMs)) return false;
    this.#wheel.schedule(runId, dueAtMs, intent);
    this.#deps.tell("snapshot.hastened", intent, { reason: "pressure", properties: { delayMs: Math.round(dueAtMs - nowMs) } });
    this.#arm();
    return true;
  }

  /** Those that have not ended, in no particular order. */
  all(): IterableIterator<Intent> {
    return this.#byRun.values();
  }

  /** Takes in an intent that is past its timer: a frozen sandbox found at a start. */
  adopt(intent: Intent): void {
    this.#byRun.set(intent.runId, intent);
  }

  /**
   * Cancels the run's intent, in whatever state it is (N3). With `by`, only if it is that runner's own (N2); with `at`, only if the
   * runner does not speak of a snapshot from before: a call that was on its way for long ends no later wait.
   */
  cancel(runId: string, reason: CancelReason, by?: string, at = ""): void {
    const isLate = ({ snapshotId }: IntentKey): boolean => at !== "" && at < snapshotId;
    const resting = this.#resting.get(runId);
    if (resting !== undefined && (by === undefined || resting.runnerId === by) && !isLate(resting)) this.#resting.delete(runId);
    const intent = this.#byRun.get(runId);
    if (intent === undefined || (by !== undefined && intent.runnerId !== by)) return;
    if (isLate(intent)) return;
    if (reason !== "shutdown") this.#deps.waits.forget(runId);
    this.#end(intent, reason, "snapshot.canceled");
  }

  /** An engine snapshot of the run was seen, from whatever source. A newer one than the intent's ends it (L1). */
  observe(runId: string, snapshotId: string, status?: string): void {
    this.#deps.waits.seen(runId, snapshotId);
    const resting = this.#resting.get(runId);
    if (resting !== undefined && snapshotId > resting.snapshotId) this.#resting.delete(runId);
    const intent = this.#byRun.get(runId);
    if (intent === undefined || snapshotId <= intent.snapshotId) return;
    this.#end(intent, status === "EXECUTING" ? "resumed" : "superseded", "snapshot.canceled");
  }

  /** The runner is no more. */
  runnerEnded(runnerId: string): void {
    for (const intent of this.#byRun.values()) if (intent.runnerId === runnerId) this.#end(intent, "runner_ended", "snapshot.canceled");
    for (const [runId, key] of this.#resting) if (key.runnerId === runnerId) this.#resting.delete(runId);
  }

  /** The runner was heard while its run waits, at this snapshot if it said so: an intent that rested goes on (N4). */
  heard(runId: string, runnerId: string, snapshotId?: string): void {
    const resting = this.#resting.get(runId);
    if (resting?.runnerId !== runnerId) return;
    if (snapshotId === undefined || snapshotId === resting.snapshotId) this.schedule(resting, { why: "heard_again" });
  }

  /** The last step of one that was carried out. Failed ones come back while the runner still holds the run (N5). */
  ended(intent: Intent, failure?: FailReason): void {
    if (this.#byRun.get(intent.runId) === intent) this.#byRun.delete(intent.runId);
    if (failure === undefined || NEVER_AGAIN.has(failure) || this.#draining) return;
    if (this.#deps.runners.holderOf(intent.runId)?.name !== intent.runnerId) return;
    const failures = intent.failures + 1;
    const delayMs = backoffMs(failures, {
      baseMs: BUSY.has(failure) ? BUSY_BASE_MS : RETRY_BASE_MS,
      factor: 2,
      maxMs: RETRY_MAX_MS,
      random: this.#deps.random,
    });
    this.schedule(intent, { why: "retry", delayMs, failures });
  }

  /**
   * Takes no more, cancels what can be cancelled, and resolves when the rest (held sandboxes whose fate the platform
   * decides) has ended. Whoever cannot wait that long leaves it to the next start.
   */
  async drain(): Promise<void> {
    this.#draining = true;
    this.#timer?.cancel();
    this.#timer = null;
    for (const intent of this.#byRun.values()) this.#end(intent, "shutdown", "snapshot.canceled");
    await Promise.all([...this.#byRun.values()].map((intent) => intent.settled));
    await Promise.all(this.#working);
  }

  #end(intent: Intent, reason: CancelReason, event: "snapshot.canceled" | "snapshot.replaced"): void {
    const { phase } = intent;
    if (intent.ended || phase.state === "accepted") return;
    if (phase.state === "held" && phase.reported) return intent.poke();
    const reachedGateway = phase.state === "freezing" || phase.state === "held";
    this.#wheel.cancel(intent.runId);
    this.#byRun.delete(intent.runId);
    intent.move("cancel", { state: reachedGateway ? "thawed" : "canceled", reason });
    this.#deps.tell(event, intent, { reason, properties: { phase: phase.state } });
    if (reachedGateway) this.#track(this.#deps.thaw(intent));
  }

  /** N6. */
  #plan(key: IntentKey): { readonly delayMs: number; readonly stays: boolean; readonly told: Readonly<Record<string, string | number>> } {
    const { waits, runners, clock } = this.#deps;
    const { plan, kind, endsAtMs } = waits.decide(key, runners.get(key.runnerId)?.taskId ?? null);
    const { reason, expectedRestMs, breakEvenMs } = plan;
    const told = {
      decision: reason,
      waitKind: kind,
      breakEvenMs: Math.round(breakEvenMs),
      ...(expectedRestMs === null ? {} : { expectedRestMs: Math.round(expectedRestMs) }),
    };
    const lateMs = Math.max(0, (endsAtMs ?? 0) - clock.nowMs()) + breakEvenMs;
    return { stays: plan.kind === "stay", delayMs: plan.kind === "stay" ? lateMs : plan.kind === "after" ? plan.delayMs : 0, told };
  }

  #arm(): void {
    if (this.#timer !== null || this.#wheel.size === 0 || this.#draining) return;
    this.#timer = this.#deps.clock.after(TICK_MS, () => {
      this.#timer = null;
      for (const intent of this.#wheel.advance(this.#deps.clock.monotonicMs())) this.#due(intent);
      this.#arm();
    });
  }

  #due(intent: Intent): void {
    intent.move("come_due", { state: "due" });
    const runner = this.#deps.runners.get(intent.runnerId);
    const lostMs = runner?.socketLostMs ?? null;
    if (lostMs === null || (runner !== undefined && runner.heardMs > lostMs)) return this.#track(this.#deps.carryOut(intent));
    const nowMs = this.#deps.clock.monotonicMs();
    if (nowMs - lostMs >= this.#deps.socketGraceMs) {
      this.#end(intent, "runner_ended", "snapshot.canceled");
      this.#resting.set(intent.runId, intent);
      return;
    }
    const dueAtMs = nowMs + SILENT_RECHECK_MS;
    intent.move("postpone", { state: "scheduled", dueAtMs });
    this.#wheel.schedule(intent.runId, dueAtMs, intent);
  }

  /** Work on the way: awaited by a drain, and what it throws unforeseen is told. */
  #track(work: Promise<void>): void {
    const tracked: Promise<void> = work
      .catch((error: unknown) => this.#deps.log.error({ err: error }, "an intent went wrong unforeseen"))
      .finally(() => this.#working.delete(tracked));
    this.#working.add(tracked);
  }
}

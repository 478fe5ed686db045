// The waits of the runs of this node, from the runner's request to sleep until the run goes on: what was decided about each, and
// what is learnt from it when it is over. All of it is lost at a restart, which costs a few waits in memory and nothing else.
import type { WaitFacts } from "@torpor/contracts";
import type { Clock } from "@torpor/kernel";
import type { Metrics } from "@torpor/observe";
import type { IntentKey } from "../snapshot/intent.ts";
import type { NodeCosts } from "./nodeCosts.ts";
import { expectedRestMs, planKeep, planSleep, type SleepPlan, type WaitEnd, type WaitKind } from "./planSleep.ts";
import type { WaitHistory } from "./waitHistory.ts";

/** Beyond this the oldest are forgotten: their runs wake all the same, nothing is learnt from them. */
const MAX_WAITS = 20_000;

/** One wait that is going on. */
export interface Wait {
  readonly runId: string;
  readonly snapshotId: string;
  readonly taskId: string | null;
  readonly kind: WaitKind;
  /** Wall time at which it ends at the latest; null: nobody knows. */
  readonly endsAtMs: number | null;
  readonly isExact: boolean;
  /** Monotonic. */
  readonly startedMs: number;
  /** What was decided, and from when that counts. */
  readonly plan: SleepPlan;
}

export interface WaitsDeps {
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly costs: NodeCosts;
  readonly history: WaitHistory;
  /** `COMPUTE_SNAPSHOT_DELAY_MS`; null: decided by cost. */
  readonly fixedDelayMs: number | null;
  /** Whether others need the room of those who wait. */
  readonly isShort: () => boolean;
}

interface Told {
  readonly snapshotId: string;
  readonly facts: WaitFacts;
}

export class Waits {
  readonly #deps: WaitsDeps;
  readonly #told = new Map<string, Told>();
  readonly #going = new Map<string, Wait>();

  constructor(deps: WaitsDeps) {
    this.#deps = deps;
  }

  /** The platform has said what the run waits for at this snapshot. */
  told(runId: string, snapshotId: string, facts: WaitFacts): void {
    remember(this.#told, runId, { snapshotId, facts });
  }

  /** The run's wait, awake or asleep. */
  of(runId: string): Wait | undefined {
    return this.#going.get(runId);
  }

  /** Decides when the runner may be frozen. Asked again about the same wait, it counts from its beginning. */
  decide(key: IntentKey, taskId: string | null): Wait {
    const { clock, costs, history, fixedDelayMs, isShort, metrics } = this.#deps;
    const told = this.#told.get(key.runId);
    const facts = told?.snapshotId === key.snapshotId ? told.facts : undefined;
    const before = this.#going.get(key.runId);
    const startedMs = before?.snapshotId === key.snapshotId ? before.startedMs : clock.monotonicMs();
    const kind = kindOf(facts);
    const isExact = kind === "DATETIME";
    const endsAtMs = facts?.knownEndAt?.getTime() ?? null;
    const plan = planSleep({
      kind,
      end: endOf({ endsAtMs, isExact }, clock),
      waitedMs: clock.monotonicMs() - startedMs,
      past: history.of(taskId, kind),
      prices: costs.prices(),
      isShort: isShort(),
      fixedDelayMs,
    });
    metrics.count("torpor_sleep_decisions_total", { decision: plan.kind, reason: plan.reason });
    const wait = { runId: key.runId, snapshotId: key.snapshotId, taskId, kind, endsAtMs, isExact, startedMs, plan };
    remember(this.#going, key.runId, wait);
    return wait;
  }

  /** How much longer the run's wait is expected to last; null: nobody knows. */
  expectedRestMs(runId: string): number | null {
    const { clock, history } = this.#deps;
    const wait = this.#going.get(runId);
    if (wait === undefined) return null;
    const waitedMs = clock.monotonicMs() - wait.startedMs;
    return expectedRestMs({ end: endOf(wait, clock), past: history.of(wait.taskId, wait.kind), waitedMs });
  }

  /** How long the run's frozen sandbox is worth keeping; 0: not at all. */
  keepMs(runId: string): number {
    const { clock, history, isShort } = this.#deps;
    const wait = this.#going.get(runId);
    if (wait === undefined) return 0;
    const waitedMs = clock.monotonicMs() - wait.startedMs;
    return planKeep({ end: endOf(wait, clock), past: history.of(wait.taskId, wait.kind), waitedMs, isShort: isShort() });
  }

  /** A newer engine snapshot of the run was seen: its wait is over. Learns from it, and returns what it was. */
  seen(runId: string, snapshotId: string): Wait | undefined {
    const wait = this.#going.get(runId);
    return wait === undefined || snapshotId <= wait.snapshotId ? undefined : this.over(runId);
  }

  /** The wait is over, since it ended: the run goes on. */
  over(runId: string): Wait | undefined {
    const wait = this.forget(runId);
    if (wait === undefined || wait.isExact) return wait;
    const { plan } = wait;
    this.#deps.history.learn(wait.taskId, wait.kind, {
      lengthMs: this.#deps.clock.monotonicMs() - wait.startedMs,
      delayMs: plan.kind === "stay" ? null : plan.kind === "after" ? plan.delayMs : 0,
      breakEvenMs: plan.breakEvenMs,
    });
    return wait;
  }

  /** The run is over, or another's: nothing can be learnt of how long it would have waited. */
  forget(runId: string): Wait | undefined {
    const wait = this.#going.get(runId);
    this.#going.delete(runId);
    this.#told.delete(runId);
    return wait;
  }
}

function endOf({ endsAtMs, isExact }: Pick<Wait, "endsAtMs" | "isExact">, clock: Clock): WaitEnd | null {
  return endsAtMs === null ? null : { inMs: endsAtMs - clock.nowMs(), isExact };
}

function kindOf(facts: WaitFacts | undefined): WaitKind {
  const [first, ...more] = facts?.types ?? [];
  if (first === undefined) return "UNKNOWN";
  return more.length === 0 ? first : "SEVERAL";
}

function remember<T>(map: Map<string, T>, key: string, value: T): void {
  map.delete(key);
  map.set(key, value);
  if (map.size > MAX_WAITS) map.delete(map.keys().next().value ?? "");
}

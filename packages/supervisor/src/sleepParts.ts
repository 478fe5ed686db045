// Putting waiting runs to sleep: the part of the graph between who lives here and how their runs are launched.
import type { Kit } from "./coreParts.ts";
import type { Room, Runner } from "./runners/runner.ts";
import { whoMakesRoom, type Sleepy } from "./sleep/pressure.ts";
import { WaitHistory } from "./sleep/waitHistory.ts";
import { Waits } from "./sleep/waits.ts";
import { Intents } from "./snapshot/intents.ts";
import { Rearm } from "./snapshot/rearm.ts";
import { Sleeper } from "./snapshot/sleeper.ts";
import { snapshotTeller } from "./snapshot/tell.ts";

export type Sleep = ReturnType<typeof createSleep>;

/** With snapshots off no runner's wish gets in; these only complete the type. */
const OFF = { fixedDelayMs: 0, dispatchLimit: 1, holdMs: 60_000, timeoutMs: 60_000 };

/** Putting waiting runs to sleep. */
export function createSleep(kit: Kit) {
  const { config, base, runners, room, state, costs, sweeper } = kit;
  const snapshots = config.snapshots.kind === "on" ? config.snapshots : OFF;
  const tell = snapshotTeller({ log: base.log, metrics: base.metrics, timeline: kit.timeline });
  const history = new WaitHistory();
  const waits = new Waits({ ...base, costs, history, fixedDelayMs: snapshots.fixedDelayMs, isShort: () => room.isShort });
  const sleeper = new Sleeper({
    ...base,
    callbacks: kit.callbacks,
    runners,
    tell,
    limit: snapshots.dispatchLimit,
    holdMs: snapshots.holdMs,
    timeoutMs: snapshots.timeoutMs,
    heartbeatMs: config.runner.heartbeatSeconds * 1000,
    callbackUrl: kit.deps.callbackUrl,
    onEnded: (intent, failure) => intents.ended(intent, failure),
    onAsleep: (runner, imageId) => fallAsleep(kit, waits, runner, imageId),
    keepMs: (runId) => (room.can("keep") ? waits.keepMs(runId) : 0),
    onFroze: (frozenMs) => costs.froze(frozenMs),
    onQuotaExceeded: () => void sweeper.sweep().catch((error: unknown) => base.log.error({ err: error }, "sweeping failed, unforeseen")),
  });
  const intents: Intents = new Intents({
    ...base,
    runners,
    tell,
    waits,
    socketGraceMs: config.workload.socketGraceMs,
    carryOut: (intent) => sleeper.carryOut(intent),
    thaw: (intent) => sleeper.thaw(intent),
  });
  const noSleepReason = (): string | null => {
    if (config.snapshots.kind === "off") return "snapshots are off (COMPUTE_SNAPSHOTS_ENABLED)";
    return room.canSnapshot ? null : "this node's gateway cannot freeze sandboxes";
  };
  room.onShort = (missing) => makeRoom(kit, { intents, waits }, missing);
  const rearm = new Rearm({ ...base, intents, waits, enabled: () => noSleepReason() === null && !state.draining });
  return { sleeper, intents, waits, rearm, noSleepReason };
}

/** Others need room: whoever waits longest sleeps first. Runs that execute have no intent, so they are never touched. */
function makeRoom({ runners, base }: Kit, { intents, waits }: { intents: Intents; waits: Waits }, missing: Room): void {
  // One that could not be frozen just now makes no room; it has its own time to be tried again
  const hopeful = [...intents.all()].filter(({ failures, state }) => failures === 0 || state !== "scheduled");
  const waiting = hopeful.map(({ runId, runnerId, state }): Sleepy => {
    const startedMs = waits.of(runId)?.startedMs ?? base.clock.monotonicMs();
    return {
      runId,
      room: runners.get(runnerId)?.room ?? { cpu: 0, memoryGib: 0 },
      expectedRestMs: waits.expectedRestMs(runId),
      waitedMs: base.clock.monotonicMs() - startedMs,
      isOnItsWay: state !== "scheduled",
    };
  });
  for (const runId of whoMakesRoom(missing, waiting)) intents.hasten(runId);
}

function fallAsleep({ lineages, images, runners, sockets, early }: Kit, waits: Waits, runner: Runner, imageId: string): void {
  const { runId, room, attemptNumber, serves, taskId } = runner;
  if (runId !== null) {
    lineages.remember(runId, runner);
    images.keep(runId, imageId);
    const { endsAtMs = null, snapshotId = "" } = waits.of(runId) ?? {};
    const lineage = [...runner.lineage, runner.name];
    if (endsAtMs !== null) early.wakes?.asleep({ runId, imageId, snapshotId, taskId, attemptNumber, room, lineage, serves, endsAtMs });
  }
  sockets.drop(runner);
  runners.remove(runner.name);
}

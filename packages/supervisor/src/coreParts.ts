import type { DequeuedMessage } from "@torpor/contracts";
import type { Clock, Random } from "@torpor/kernel";
import type { Log, Metrics } from "@torpor/observe";
import type { RouteCaller } from "./callers.ts";
import type { SupervisorConfig } from "./config.ts";
import { NodeRoom } from "./dequeue/nodeRoom.ts";
import { Gateway } from "./gateway/gateway.ts";
import { deploymentIdOf, type WorkloadAddress } from "./launch/environment.ts";
import { HandOffs } from "./launch/handOffs.ts";
import { Launcher } from "./launch/launcher.ts";
import { Placer } from "./launch/placer.ts";
import { Restorer } from "./launch/restorer.ts";
import { Platform } from "./platform/platform.ts";
import { Timeline } from "./platform/timeline.ts";
import { Caretaker } from "./runners/caretaker.ts";
import { Endings } from "./runners/endings.ts";
import { Lineages } from "./runners/lineages.ts";
import type { Runner } from "./runners/runner.ts";
import { Runners } from "./runners/runners.ts";
import { Callbacks } from "./snapshot/callbacks.ts";
import { ImageKeeper } from "./snapshot/imageKeeper.ts";
import { Intents } from "./snapshot/intents.ts";
import { Rearm } from "./snapshot/rearm.ts";
import { Sleeper } from "./snapshot/sleeper.ts";
import { snapshotTeller } from "./snapshot/tell.ts";
import { signDeploymentToken } from "./workload/deploymentToken.ts";
import { Identity } from "./workload/identity.ts";
import { RunnerSockets } from "./workload/sockets.ts";

export interface CoreDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly platform: RouteCaller;
  readonly gateway: RouteCaller;
  /** Null: no idle runners are kept. */
  readonly broker: RouteCaller | null;
  readonly subscriptions: { subscribe(runId: string): void; unsubscribe(runId: string): void };
  /** Where runners reach this supervisor; known when it listens. */
  readonly address: () => WorkloadAddress;
  readonly callbackUrl: () => string;
  /** Fires when nothing may be waited for any longer. */
  readonly stop: AbortSignal;
}

export type Kit = ReturnType<typeof createKit>;
export type Sleep = ReturnType<typeof createSleep>;
export type Care = ReturnType<typeof createCare>;
export type Launch = ReturnType<typeof createLaunch>;

/** What everybody uses: the neighbours, and who lives here. */
export function createKit(config: SupervisorConfig, deps: CoreDeps) {
  const { clock, log, metrics, stop } = deps;
  const platform = new Platform(deps.platform);
  const gateway = new Gateway(deps.gateway);
  const base = { clock, random: (): number => deps.random.unit(), log, metrics, platform, gateway, stop };
  const runners = new Runners({
    clock,
    onBound: (runId) => deps.subscriptions.subscribe(runId),
    onUnbound: (runId) => deps.subscriptions.unsubscribe(runId),
  });
  const identity = new Identity({ runners, token: config.workload.token, log });
  const sockets = new RunnerSockets({ clock, log, identify: (caller) => identity.ofSocket(caller) });
  return {
    config,
    deps,
    base,
    runners,
    identity,
    sockets,
    state: { ready: false, draining: false },
    timeline: new Timeline(base),
    room: new NodeRoom({ ...base, ...config.dequeue }),
    callbacks: new Callbacks({ workerToken: config.platform.token, random: deps.random }),
    images: new ImageKeeper({ gateway }),
    lineages: new Lineages(),
    dropSocket: (runner: Runner): void => sockets.drop(runner),
    notify: (runner: Runner, runId: string): void => void sockets.notify(runner, runId),
  };
}

/** With snapshots off no runner's wish gets in; these only complete the type. */
const OFF = { delayMs: 0, dispatchLimit: 1, holdMs: 60_000, timeoutMs: 60_000 };

/** Putting waiting runs to sleep. */
export function createSleep(kit: Kit) {
  const { config, base, runners, room, state } = kit;
  const snapshots = config.snapshots.kind === "on" ? config.snapshots : OFF;
  const tell = snapshotTeller({ log: base.log, metrics: base.metrics, timeline: kit.timeline });
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
    onAsleep: (runner, imageId) => fallAsleep(kit, runner, imageId),
  });
  const intents: Intents = new Intents({
    ...base,
    runners,
    tell,
    delayMs: snapshots.delayMs,
    socketGraceMs: config.workload.socketGraceMs,
    carryOut: (intent) => sleeper.carryOut(intent),
    thaw: (intent) => sleeper.thaw(intent),
  });
  const noSleepReason = (): string | null => {
    if (config.snapshots.kind === "off") return "snapshots are off (COMPUTE_SNAPSHOTS_ENABLED)";
    return room.canSnapshot ? null : "this node's gateway cannot freeze sandboxes";
  };
  const rearm = new Rearm({ ...base, intents, enabled: () => noSleepReason() === null && !state.draining });
  return { sleeper, intents, rearm, noSleepReason };
}

function fallAsleep({ lineages, images, runners, sockets }: Kit, runner: Runner, imageId: string): void {
  if (runner.runId !== null) {
    lineages.remember(runner.runId, runner);
    images.keep(runner.runId, imageId);
  }
  sockets.drop(runner);
  runners.remove(runner.name);
}

/** Ends of runners, and what is found at the gateway. */
export function createCare({ config, base, runners, timeline, dropSocket }: Kit, { intents, sleeper }: Sleep) {
  const endings = new Endings({ ...base, runners, intents, timeline, dropSocket });
  return { endings, caretaker: new Caretaker({ ...base, runners, intents, sleeper, endings, idleMs: config.idleRunnerMs }) };
}

/** Sandboxes for runs. */
export function createLaunch(kit: Kit, { intents }: Sleep, { endings }: Care) {
  const { base, config, deps, runners, room, timeline, state, notify, lineages } = kit;
  const { address, broker } = deps;
  const retire = (runner: Runner): Promise<void> => endings.retire(runner);
  const placer = new Placer({ ...base, attempts: config.gateway.createAttempts, retryBaseMs: config.gateway.createRetryBaseMs });
  const restorer = new Restorer({ ...base, config, placer, runners, intents, lineages, address, notify, retire });
  const { warmStart } = config;
  const onMissed = (message: DequeuedMessage): void => void launcher.launchCold(message);
  const handOffs =
    broker === null || warmStart.kind === "off"
      ? null
      : new HandOffs({ ...base, broker, verifyDelayMs: warmStart.verifyDelayMs, onMissed });
  const deploymentIdFor = (message: DequeuedMessage): Promise<string> => deploymentId(config, message);
  const draining = (): boolean => state.draining;
  const launcher: Launcher = new Launcher({
    ...base,
    config,
    placer,
    restorer,
    handOffs,
    runners,
    intents,
    room,
    timeline,
    address,
    deploymentIdFor,
    draining,
    retire,
  });
  return { launcher, handOffs };
}

async function deploymentId(config: SupervisorConfig, message: DequeuedMessage): Promise<string> {
  const { token } = config.workload;
  const deployment = deploymentIdOf(message);
  if (token.kind === "off") return deployment;
  const claims = {
    ver: 1 as const,
    deployment,
    deployment_version: message.backgroundWorker.version,
    environment_id: message.environment.id,
    environment_type: message.environment.type,
    org_id: message.organization.id,
    project_id: message.project.id,
  };
  return await signDeploymentToken(claims, token);
}

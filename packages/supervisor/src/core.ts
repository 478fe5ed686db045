// Builds the supervisor's graph from its neighbours: platform, gateway, runners, and the broker of idle runners.
// Nothing here opens a port, so that a test builds the same graph around fakes.
import { WORKLOAD_HEADERS, type DequeuedMessage, type InstanceEvent } from "@torpor/contracts";
import type { Authenticators, Mounted } from "@torpor/http";
import type { Clock, Random } from "@torpor/kernel";
import type { Log, Metrics } from "@torpor/observe";
import type { RouteCaller } from "./callers.ts";
import type { SupervisorConfig } from "./config.ts";
import { Consumers } from "./dequeue/consumers.ts";
import { NodeRoom } from "./dequeue/nodeRoom.ts";
import { Presence } from "./dequeue/presence.ts";
import { Gateway } from "./gateway/gateway.ts";
import { GatewayEvents } from "./gateway/gatewayEvents.ts";
import { deploymentIdOf, type WorkloadAddress } from "./launch/environment.ts";
import { HandOffs } from "./launch/handOffs.ts";
import { Launcher } from "./launch/launcher.ts";
import { Placer } from "./launch/placer.ts";
import { Restorer } from "./launch/restorer.ts";
import { Platform } from "./platform/platform.ts";
import { Timeline } from "./platform/timeline.ts";
import { Caretaker } from "./runners/caretaker.ts";
import { Endings } from "./runners/endings.ts";
import type { Runner } from "./runners/runner.ts";
import { Runners } from "./runners/runners.ts";
import { Callbacks } from "./snapshot/callbacks.ts";
import { ImageKeeper } from "./snapshot/imageKeeper.ts";
import { Intents } from "./snapshot/intents.ts";
import { Rearm } from "./snapshot/rearm.ts";
import { Sleeper } from "./snapshot/sleeper.ts";
import { Sweeper } from "./snapshot/sweeper.ts";
import { snapshotTeller } from "./snapshot/tell.ts";
import { callbackDoor } from "./workload/callbackDoor.ts";
import { signDeploymentToken } from "./workload/deploymentToken.ts";
import { Identity } from "./workload/identity.ts";
import { workloadRoutes, type WorkloadCallers } from "./workload/routes.ts";
import { RunActions } from "./workload/runActions.ts";
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

export type Core = ReturnType<typeof createCore>;

/** The supervisor without its ports. */
export function createCore(config: SupervisorConfig, deps: CoreDeps) {
  const { clock, log, metrics, stop } = deps;
  const random = (): number => deps.random.unit();
  const platform = new Platform(deps.platform);
  const gateway = new Gateway(deps.gateway);
  const base = { clock, random, log, metrics, platform, gateway, stop };
  const state = { ready: false, draining: false };
  const timeline = new Timeline(base);
  const tell = snapshotTeller({ log, metrics, timeline });
  const room = new NodeRoom({ ...base, ...config.dequeue });
  const runners = new Runners({ clock, onBound: (runId) => deps.subscriptions.subscribe(runId), onUnbound: (runId) => deps.subscriptions.unsubscribe(runId) });
  const callbacks = new Callbacks({ workerToken: config.platform.token, random: deps.random });
  const images = new ImageKeeper({ gateway });
  const snapshots = config.snapshots.kind === "on" ? config.snapshots : { delayMs: 0, dispatchLimit: 1, holdMs: 60_000, timeoutMs: 60_000 };

  const sleeper = new Sleeper({
    ...base,
    callbacks,
    runners,
    tell,
    limit: snapshots.dispatchLimit,
    holdMs: snapshots.holdMs,
    timeoutMs: snapshots.timeoutMs,
    heartbeatMs: config.runner.heartbeatSeconds * 1000,
    callbackUrl: deps.callbackUrl,
    onEnded: (intent, failure) => intents.ended(intent, failure),
    onAsleep: (runner, imageId) => {
      if (runner.runId !== null) {
        restorer.remember(runner.runId, runner);
        images.keep(runner.runId, imageId);
      }
      sockets.drop(runner);
      runners.remove(runner.name);
    },
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
  const rearm = new Rearm({ ...base, intents: () => intents, enabled: () => noSleepReason() === null && !state.draining });
  const identity = new Identity({ runners, token: config.workload.token, log });
  const sockets: RunnerSockets = new RunnerSockets({
    clock,
    log,
    identify: (caller) => identity.ofSocket(caller),
    onStart: (runner, message) => {
      if (runners.bind(runner, message.run.friendlyId) === "bound") runner.snapshotId ??= message.snapshot.friendlyId;
    },
    onStop: (runner, message) => {
      if (runner.runId === message.run.friendlyId && !runner.completing) void endings.abandoned(runner, message.run.friendlyId, "the runner has left the run");
    },
    onBack: (runner) => {
      if (runner.runId === null) return;
      intents.heard(runner.runId, runner.name);
      sockets.notify(runner, runner.runId);
    },
  });
  const dropSocket = (runner: Runner): void => sockets.drop(runner);
  const notify = (runner: Runner, runId: string): void => void sockets.notify(runner, runId);
  const endings = new Endings({ ...base, runners, intents, timeline, dropSocket });
  const placer = new Placer({ ...base, attempts: config.gateway.createAttempts, retryBaseMs: config.gateway.createRetryBaseMs });
  const restorer = new Restorer({ ...base, config, placer, runners, intents, address: deps.address, notify, retire: (runner) => endings.retire(runner) });
  const handOffs = deps.broker === null || config.warmStart.kind === "off" ? null : new HandOffs({ ...base, broker: deps.broker, verifyDelayMs: config.warmStart.verifyDelayMs, onMissed: (message) => void launcher.launchCold(message) });
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
    address: deps.address,
    deploymentIdFor: (message) => deploymentIdFor(config, message),
    draining: () => state.draining,
    retire: (runner) => endings.retire(runner),
  });
  const actions = new RunActions({
    ...base,
    runners,
    intents,
    rearm,
    notify,
    onStarted: (runId) => handOffs?.started(runId),
    onStartLost: (runner, runId) => void endings.abandoned(runner, runId, "the answer to its start was lost"),
    onImagesIdle: (runId) => void images.release(runId),
  });
  const caretaker = new Caretaker({ ...base, runners, intents, sleeper, endings, idleMs: config.idleRunnerMs });
  const sweeper = new Sweeper(base);
  const consumers = new Consumers({ ...base, config: config.dequeue, runners, room, launch: (message) => launcher.launch(message) });
  const events = new GatewayEvents({ ...base, onEvent: (event) => onGatewayEvent(event), onGap: () => void caretaker.look() });
  const presence = new Presence({ ...base, instanceName: config.instanceName, heartbeatMs: config.platform.heartbeatMs, runIds: () => runners.runIds() });

  function onGatewayEvent(event: InstanceEvent): void {
    const runner = runners.get(event.name);
    if (runner === undefined || (runner.instanceId !== null && runner.instanceId !== event.id)) return;
    if (event.type === "exited") void endings.ended(runner, { exitCode: event.exitCode, reason: event.reason });
    else if (intents.of(runner.runId ?? "") === undefined && runner.phase === "frozen") runner.phase = "running";
  }

  /** Something about a run has changed: its runner looks, and so do we when its sandbox is about to be frozen or is (L1, L4). */
  async function onNotify(runId: string): Promise<void> {
    const holder = runners.holderOf(runId);
    if (holder !== undefined) sockets.notify(holder, runId);
    if (intents.of(runId) === undefined) return;
    const latest = await platform.latest(runId);
    if (latest.kind === "ok") intents.observe(runId, latest.body.snapshot.friendlyId, latest.body.snapshot.executionStatus);
  }

  const routes: Mounted[] = workloadRoutes({
    actions,
    intents,
    runners,
    platform,
    forwardDebugLogs: config.runner.sendDebugLogs,
    noSleepReason,
    receiveCallback: callbackDoor({ callbacks, clock, gatewayToken: config.gateway.token, gatewayIsForeign: () => room.isForeign }),
  });
  const authenticators: Authenticators<WorkloadCallers> = {
    sandbox: (request) => identity.ofRequest(request),
    callback: async () => null, // judged by its handler, over its raw body
  };

  /** Counts an open request of a runner; call the result when its answer has left. */
  function trackRequest(headers: Readonly<Record<string, string | string[] | undefined>>, remoteAddress: string): () => void {
    const claim = headers[WORKLOAD_HEADERS.runnerId];
    const runner = identity.peek(typeof claim === "string" ? claim : undefined, remoteAddress);
    if (runner === undefined) return () => {};
    runner.openRequests++;
    return () => void runner.openRequests--;
  }

  return { state, platform, gateway, timeline, room, runners, intents, sockets, consumers, events, presence, caretaker, sweeper, handOffs, launcher, callbacks, routes, authenticators, trackRequest, onNotify };
}

async function deploymentIdFor(config: SupervisorConfig, message: DequeuedMessage): Promise<string> {
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

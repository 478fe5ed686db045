import type { DequeuedMessage } from "@torpor/contracts";
import type { Clock, Random } from "@torpor/kernel";
import type { Log, Metrics } from "@torpor/observe";
import type { RouteCaller } from "./callers.ts";
import type { SupervisorConfig } from "./config.ts";
import { NodeRoom } from "./dequeue/nodeRoom.ts";
import { Gateway } from "./gateway/gateway.ts";
import { deploymentIdOf, type WorkloadAddress } from "./launch/environment.ts";
import { HandOffs } from "./launch/handOffs.ts";
import { LaunchReports } from "./launch/launchReports.ts";
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
import { aheadMetadata } from "./sleep/aheadMetadata.ts";
import { EarlyWakes } from "./sleep/earlyWakes.ts";
import { NodeCosts } from "./sleep/nodeCosts.ts";
import { tellWoken } from "./sleep/wakeTeller.ts";
import { Callbacks } from "./snapshot/callbacks.ts";
import { ImageKeeper } from "./snapshot/imageKeeper.ts";
import { Sweeper } from "./snapshot/sweeper.ts";
import type { Sleep } from "./sleepParts.ts";
import { signDeploymentToken } from "./workload/deploymentToken.ts";
import { Identity } from "./workload/identity.ts";
import { RunnerSockets } from "./workload/sockets.ts";
import type { WarmDoor } from "./workload/warmDoor.ts";
import { WarmSigns } from "./workload/warmSigns.ts";
import { openWarmDoor } from "./warmParts.ts";

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
export type Care = ReturnType<typeof createCare>;
export type Launch = ReturnType<typeof createLaunch>;

/** What everybody uses: the neighbours, and who lives here. */
export function createKit(config: SupervisorConfig, deps: CoreDeps) {
  const { clock, log, metrics, stop } = deps;
  const platform = new Platform(deps.platform);
  const gateway = new Gateway(deps.gateway);
  const base = { clock, random: (): number => deps.random.unit(), log, metrics, platform, gateway, stop };
  const warm: { door: WarmDoor | null } = { door: null };
  const runners = new Runners({
    clock,
    onRemoved: (runner) => warm.door?.leave(runner),
    onBound: (runId) => deps.subscriptions.subscribe(runId),
    onUnbound: (runId) => deps.subscriptions.unsubscribe(runId),
  });
  const costs = new NodeCosts();
  const images = new ImageKeeper({ gateway });
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
    /** Where runners wait for another run; null when none are kept here. */
    warm,
    early: { wakes: null } as { wakes: EarlyWakes | null },
    signs: new WarmSigns(clock),
    timeline: new Timeline(base),
    room: new NodeRoom({ ...base, ...config.dequeue, costs }),
    costs,
    callbacks: new Callbacks({ workerToken: config.platform.token, random: deps.random }),
    images,
    sweeper: new Sweeper({ ...base, images }),
    lineages: new Lineages(),
    dropSocket: (runner: Runner): void => sockets.drop(runner),
    notify: (runner: Runner, runId: string): void => void sockets.notify(runner, runId),
  };
}

/** Ends of runners, and what is found at the gateway. */
export function createCare({ config, base, runners, timeline, dropSocket, costs }: Kit, { intents, sleeper }: Sleep) {
  const endings = new Endings({ ...base, runners, intents, timeline, dropSocket });
  const onMemory = (memoryBytes: number): void => costs.held(memoryBytes);
  return { endings, caretaker: new Caretaker({ ...base, runners, intents, sleeper, endings, idleMs: config.idleRunnerMs, onMemory }) };
}

/** Sandboxes for runs. */
export function createLaunch(kit: Kit, { intents, waits }: Sleep, { endings }: Care) {
  const noteArrival = openWarmDoor(kit, endings);
  const { base, config, deps, runners, room, timeline, state, notify, lineages } = kit;
  const { address, broker } = deps;
  const retire = (runner: Runner): Promise<void> => endings.retire(runner);
  const placer = new Placer({ ...base, attempts: config.gateway.createAttempts, retryBaseMs: config.gateway.createRetryBaseMs });
  const draining = (): boolean => state.draining;
  const early = new EarlyWakes({
    ...base,
    ...kit,
    retire,
    draining,
    metadataOf: (name, run) => aheadMetadata(config, { name, run, address: address() }),
  });
  kit.early.wakes = early;
  const restorer = new Restorer({
    ...base,
    config,
    placer,
    runners,
    intents,
    waits,
    early,
    lineages,
    address,
    notify,
    retire,
    isImageOurs: (imageId) => kit.images.isAccepted(imageId),
    onLeft: (runner, runId) => void endings.abandoned(runner, runId, "the runner left its run just before it went on"),
    onWoke: (durationMs) => kit.costs.woke(durationMs),
    tellWoken: (woken) => tellWoken({ ...base, timeline }, woken),
  });
  const { warmStart } = config;
  const onMissed = (message: DequeuedMessage): void => void launcher.launchCold(message);
  const handOffs =
    broker === null || warmStart.kind === "off"
      ? null
      : new HandOffs({ ...base, broker, verifyDelayMs: warmStart.verifyDelayMs, onMissed });
  const deploymentIdFor = (message: DequeuedMessage): Promise<string> => deploymentId(config, message);
  const launcher: Launcher = new Launcher({
    ...base,
    config,
    placer,
    restorer,
    handOffs,
    runners,
    intents,
    room,
    reports: new LaunchReports({ ...base, timeline }),
    address,
    deploymentIdFor,
    draining,
    retire,
    onArrival: noteArrival,
    makeRoom: async (needs, free) => await kit.warm.door?.makeRoom(needs, free),
  });
  return { launcher, handOffs, earlyWakes: early };
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

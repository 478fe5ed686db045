// The supervisor without its ports: its graph, built from its neighbours (platform, gateway, runners, the broker of idle
// runners). A test builds the same graph around fakes.
//
//   kit ── what everybody uses ──▶ sleep ──▶ care ──▶ launch ──▶ workload
//                                  (intents)  (ends)   (places)   (what runners call)
import { WORKLOAD_HEADERS, type InstanceEvent } from "@torpor/contracts";
import type { Authenticators, Mounted } from "@torpor/http";
import type { SupervisorConfig } from "./config.ts";
import { createCare, createKit, createLaunch, type Care, type CoreDeps, type Kit, type Launch } from "./coreParts.ts";
import { Consumers } from "./dequeue/consumers.ts";
import { Presence } from "./dequeue/presence.ts";
import { GatewayEvents } from "./gateway/gatewayEvents.ts";
import { mayGoOn } from "./sleep/ahead.ts";
import { createSleep, type Sleep } from "./sleepParts.ts";
import type { Sweeper } from "./snapshot/sweeper.ts";
import { callbackDoor } from "./workload/callbackDoor.ts";
import { workloadRoutes, type WorkloadCallers } from "./workload/routes.ts";
import { RunActions } from "./workload/runActions.ts";
import type { SocketHandlers } from "./workload/sockets.ts";

export type { CoreDeps } from "./coreParts.ts";

export interface Core extends Kit, Sleep, Care, Launch {
  readonly consumers: Consumers;
  readonly events: GatewayEvents;
  readonly presence: Presence;
  readonly sweeper: Sweeper;
  readonly routes: Mounted[];
  readonly authenticators: Authenticators<WorkloadCallers>;
  readonly socketHandlers: SocketHandlers;
  /** Counts an open request of a runner; call the result when its answer has left. */
  trackRequest(headers: Readonly<Record<string, string | string[] | undefined>>, remoteAddress: string): () => void;
  /** Something about a run has changed: its runner looks, and so do we when its sandbox is about to be frozen or is (L1, L4). */
  onNotify(runId: string): Promise<void>;
}

/** Builds the graph. Nothing runs yet. */
export function createCore(config: SupervisorConfig, deps: CoreDeps): Core {
  const kit = createKit(config, deps);
  const sleep = createSleep(kit);
  const care = createCare(kit, sleep);
  const launch = createLaunch(kit, sleep, care);
  const { base, runners, room } = kit;
  return {
    ...kit,
    ...sleep,
    ...care,
    ...launch,
    consumers: new Consumers({ ...base, config: config.dequeue, runners, room, launch: (message) => launch.launcher.launch(message) }),
    events: new GatewayEvents({
      ...base,
      onEvent: (event) => onGatewayEvent(kit, sleep, care, event),
      onGap: () => void care.caretaker.look(),
    }),
    presence: new Presence({
      ...base,
      instanceName: config.instanceName,
      heartbeatMs: config.platform.heartbeatMs,
      runIds: () => runners.runIds(),
    }),
    routes: createRoutes(kit, sleep, care, launch),
    authenticators: {
      sandbox: (request) => kit.identity.ofRequest(request),
      callback: async () => null, // judged by its handler, over its raw body
    },
    socketHandlers: createSocketHandlers(kit, sleep, care, launch),
    trackRequest: (headers, remoteAddress) => trackRequest(kit, headers, remoteAddress),
    onNotify: (runId) => onNotify(kit, sleep, runId),
  };
}

function createRoutes(kit: Kit, { intents, waits, rearm, noSleepReason }: Sleep, { endings, caretaker }: Care, launch: Launch): Mounted[] {
  const { base, config, runners, callbacks, images, room, notify } = kit;
  const { handOffs } = launch;
  const actions = new RunActions({
    ...base,
    runners,
    intents,
    rearm,
    waits,
    onWoke: (durationMs) => kit.costs.woke(durationMs),
    notify,
    onSign: (snapshotId, runnerId) => onSign(kit, launch, { snapshotId, runnerId }),
    onStarted: (snapshotId, runnerId) => handOffs?.started(snapshotId, runnerId),
    onStartLost: (runner, runId) => void endings.abandoned(runner, runId, "the answer to its start was lost"),
    takeStock: () => caretaker.look(),
    mayGoOn: (runner) => mayGoOn(base.gateway, runner),
    onLeftAhead: (runner) => launch.earlyWakes.left(runner),
    onImagesIdle: (runId) => void images.release(runId),
  });
  const receiveCallback = callbackDoor({
    callbacks,
    clock: base.clock,
    gatewayToken: config.gateway.token,
    gatewayIsForeign: () => room.isForeign,
  });
  return workloadRoutes({
    actions,
    intents,
    rearm,
    runners,
    platform: base.platform,
    forwardDebugLogs: config.runner.sendDebugLogs,
    noSleepReason,
    warmDoor: kit.warm.door,
    receiveCallback,
  });
}

/** A runner here shows that it has taken a run, whoever gave it (L12). */
function onSign(
  { signs }: Kit,
  { handOffs }: Launch,
  { snapshotId, runnerId }: { readonly snapshotId: string; readonly runnerId: string | undefined },
): void {
  signs.seen(snapshotId);
  handOffs?.started(snapshotId, runnerId);
}

function createSocketHandlers(kit: Kit, { intents }: Sleep, { endings }: Care, launch: Launch): SocketHandlers {
  const { runners, sockets } = kit;
  return {
    onStart: (runner, { run, snapshot }) => {
      onSign(kit, launch, { snapshotId: snapshot.friendlyId, runnerId: runner.name });
      if (runners.bind(runner, run.friendlyId) === "bound") runner.snapshotId ??= snapshot.friendlyId;
    },
    onStop: (runner, { run }) => {
      if (runner.ahead !== null) launch.earlyWakes.left(runner);
      else if (runner.runId === run.friendlyId && !runner.completing)
        void endings.abandoned(runner, run.friendlyId, "the runner has left the run");
    },
    onBack: (runner) => {
      if (runner.runId === null) return;
      intents.heard(runner.runId, runner.name);
      sockets.notify(runner, runner.runId);
    },
  };
}

function onGatewayEvent({ runners }: Kit, { intents }: Sleep, { endings }: Care, event: InstanceEvent): void {
  const runner = runners.get(event.name);
  if (runner === undefined || (runner.instanceId !== null && runner.instanceId !== event.id)) return;
  if (event.type === "exited") void endings.ended(runner, { exitCode: event.exitCode, reason: event.reason });
  else if (runner.phase === "frozen" && intents.of(runner.runId ?? "") === undefined) runner.phase = "running";
}

async function onNotify({ base, runners, notify, early }: Kit, { intents }: Sleep, runId: string): Promise<void> {
  const holder = runners.holderOf(runId);
  if (holder !== undefined) notify(holder, runId);
  if (holder?.ahead != null) await early.wakes?.look(runId);
  if (intents.of(runId) === undefined) return;
  const latest = await base.platform.latest(runId);
  if (latest.kind === "ok") intents.observe(runId, latest.body.snapshot.friendlyId, latest.body.snapshot.executionStatus);
}

function trackRequest(
  { identity, runners }: Kit,
  headers: Readonly<Record<string, string | string[] | undefined>>,
  remoteAddress: string,
): () => void {
  const claim = headers[WORKLOAD_HEADERS.runnerId];
  return runners.requestOpened(() => identity.peek(typeof claim === "string" ? claim : undefined, remoteAddress));
}

// What becomes of a run that was handed to this node.
//
// A run that cannot be placed is always given back with its reason (L11): the platform puts it elsewhere at once, not
// after a stall.
import type { DequeuedMessage } from "@torpor/contracts";
import { assertNever, sleep, type Clock } from "@torpor/kernel";
import type { Log } from "@torpor/observe";
import type { SupervisorConfig } from "../config.ts";
import type { NodeRoom } from "../dequeue/nodeRoom.ts";
import type { Gateway } from "../gateway/gateway.ts";
import type { Room, Runner } from "../runners/runner.ts";
import type { Runners } from "../runners/runners.ts";
import type { Intents } from "../snapshot/intents.ts";
import { createMetadata, imageReference, runnerEnv, servedBy, type WorkloadAddress } from "./environment.ts";
import type { HandOffs } from "./handOffs.ts";
import { warmReadyInMs } from "./idleRunners.ts";
import type { LaunchReports } from "./launchReports.ts";
import { freshName } from "./names.ts";
import type { Placer } from "./placer.ts";
import { planLaunch, roomOf, type LaunchPlan } from "./plan.ts";
import type { Restorer } from "./restorer.ts";

const ROOM_RECHECK_MS = 250;
/** Well within the 60 s in which the platform expects a run to start. */
const ROOM_WITHIN_MS = 15_000;

export interface LauncherDeps {
  readonly config: SupervisorConfig;
  readonly gateway: Gateway;
  readonly placer: Placer;
  readonly restorer: Restorer;
  readonly handOffs: HandOffs | null;
  readonly runners: Runners;
  readonly intents: Intents;
  readonly room: NodeRoom;
  readonly reports: LaunchReports;
  readonly clock: Clock;
  readonly log: Log;
  readonly address: () => WorkloadAddress;
  readonly deploymentIdFor: (message: DequeuedMessage) => Promise<string>;
  readonly draining: () => boolean;
  /** A run has come that this node may start. */
  readonly onArrival: (message: DequeuedMessage) => void;
  /** Removes idle runners, so that what is free grows to what is needed. */
  readonly makeRoom: (needs: Room, free: Room) => Promise<void>;
  /** Removes a runner whose run is another's now. */
  readonly retire: (runner: Runner) => Promise<void>;
  readonly stop: AbortSignal;
}

export class Launcher {
  readonly #deps: LauncherDeps;
  /** Runs that are on their way to a runner. */
  #starting = 0;

  constructor(deps: LauncherDeps) {
    this.#deps = deps;
  }

  /** Takes a run as far as a running sandbox, or gives it back. Never throws for what other parts do. */
  async launch(message: DequeuedMessage): Promise<void> {
    this.#deps.onArrival(message);
    this.#starting++;
    try {
      await this.#retireFormerRunner(message);
      await this.#carryOut(message, this.#deps.handOffs !== null);
    } finally {
      this.#starting--;
    }
  }

  /** An idle runner that took the run did not start it. */
  async launchCold(message: DequeuedMessage): Promise<void> {
    if (!this.#hasBegunHere(message)) await this.#carryOut(message, false);
  }

  async #carryOut(message: DequeuedMessage, canAskWarm: boolean): Promise<void> {
    const { room, runners, restorer, draining } = this.#deps;
    const { checkpoint } = message;
    const { free, isEmpty } = room.view(runners.placed());
    const plan = planLaunch({
      hasCheckpoint: checkpoint !== undefined,
      hasImage: message.image !== undefined,
      needs: restorer.hasSandboxOf(message.run.friendlyId) ? { cpu: 0, memoryGib: 0 } : roomOf(message),
      free,
      idle: runners.idle(),
      nodeIsEmpty: isEmpty,
      canAskWarm,
      draining: draining(),
      hasTemplate: room.hasTemplate(message.image, roomOf(message)),
      warmReadyInMs: warmReadyInMs(runners.all(), message, this.#deps.clock.monotonicMs()),
      othersStart: this.#starting > 1,
    });
    switch (plan.kind) {
      case "restore":
        return checkpoint === undefined ? undefined : await this.#restore({ ...message, checkpoint });
      case "warm":
        return await this.#offer(message);
      case "make_room":
        await this.#deps.makeRoom(roomOf(message), free);
        return await this.#carryOut(message, false);
      case "clone":
      case "cold":
        return await this.#create(message, plan);
      case "give_back":
        if (plan.reason === "node_full" && (await this.#roomAppears(message))) return await this.#carryOut(message, false);
        return await this.#deps.reports.givenBack(message, plan.reason);
      default:
        return assertNever(plan);
    }
  }

  /** A runner that we have given up has begun all the same: the run is its own. */
  #hasBegunHere(message: DequeuedMessage): boolean {
    return this.#deps.runners.holderOf(message.run.friendlyId) !== undefined;
  }

  /** To whoever waits for one; else it gets a sandbox. */
  async #offer(message: DequeuedMessage): Promise<void> {
    const { handOffs, clock } = this.#deps;
    const startedMs = clock.monotonicMs();
    const handOff = (await handOffs?.offer(message)) ?? { kind: "none" };
    if (handOff.kind === "none" && !this.#hasBegunHere(message)) return await this.#carryOut(message, false);
    if (handOff.kind === "taken")
      this.#deps.reports.placed("launch.warm", message, handOff.runnerId, clock.monotonicMs() - startedMs, { reason: "idle_runner" });
  }

  /** The platform has taken the run from whoever held it here: that one's intent dies with it, and its sandbox goes. */
  async #retireFormerRunner(message: DequeuedMessage): Promise<void> {
    const { runners, intents, log, retire } = this.#deps;
    const runId = message.run.friendlyId;
    if (message.checkpoint !== undefined) return; // restoring waits for our own freeze first, which has that runner's sandbox destroyed
    intents.cancel(runId, "reassigned");
    const former = runners.takeAway(runId);
    if (former === undefined || former.completing) return;
    log.warn({ runId, runnerId: former.name }, "a run was handed out anew while a runner here had it; that runner is removed");
    await retire(former);
  }

  async #create(message: DequeuedMessage, planned: Extract<LaunchPlan, { kind: "clone" | "cold" }>): Promise<void> {
    const { config, clock, gateway, placer, room, runners } = this.#deps;
    const { image = "", run } = message;
    const startedMs = clock.monotonicMs();
    const deploymentId = await this.#deps.deploymentIdFor(message);
    let start: { readonly start?: "clone" | "cold" | undefined; readonly start_reason?: string | undefined } = {};
    const placement = await placer.place({
      isRestore: false,
      snapshotId: message.snapshot.friendlyId,
      nameOf: (tryNumber) => freshName(run.friendlyId, run.attemptNumber, tryNumber),
      onTry: (name) => this.#expect(name, message),
      onNotStarted: (name) => void runners.remove(name),
      ask: async (name) => {
        const outcome = await gateway.create({
          name,
          image: imageReference(image),
          env: runnerEnv(config, { name, message, deploymentId, address: this.#deps.address(), nowMs: clock.nowMs() }),
          cpu: run.machine.cpu,
          memory_gb: run.machine.memory,
          metadata: createMetadata(message),
          labels: { org: message.organization.id },
        });
        if (outcome.kind === "ok") start = outcome.body;
        return outcome;
      },
    });
    if (placement.kind === "failed") return await this.#deps.reports.givenBack(message, placement.reason, placement.message);
    const isClone = start.start === "clone";
    if (start.start !== planned.kind) room.templateChanged(message.image, roomOf(message), isClone);
    const tookMs = clock.monotonicMs() - startedMs;
    const reason = isClone ? (planned.kind === "clone" ? planned.reason : "no_idle_runner") : start.start_reason;
    const why = reason === undefined ? {} : { reason };
    this.#deps.reports.placed(isClone ? "launch.cloned" : "launch.created", message, placement.name, tookMs, why);
    const runner = runners.get(placement.name);
    if (runner === undefined) return; // it has exited already; whoever heard that has told the platform
    runners.located(runner, placement.sandbox);
    runner.phase = "running";
  }

  #expect(name: string, message: DequeuedMessage): void {
    const { runners } = this.#deps;
    const runner = runners.add({
      name,
      room: roomOf(message),
      lineage: [],
      restoredAt: null,
      adopted: false,
      attemptNumber: message.run.attemptNumber,
      serves: servedBy(message),
    });
    runner.phase = "starting";
    runner.snapshotId = message.snapshot.friendlyId;
    runners.take(runner, message.run.friendlyId);
  }

  async #restore(message: DequeuedMessage & { checkpoint: NonNullable<DequeuedMessage["checkpoint"]> }): Promise<void> {
    const { restorer, gateway } = this.#deps;
    const result = await restorer.restore(message);
    if (result.kind === "restored") {
      this.#deps.reports.placed("launch.restored", message, result.runner.name, result.tookMs, { properties: result.steps ?? {} });
      // Nobody can restore it again (L6), and nobody needs it any more (L7)
      if (result.continued) await gateway.removeImage(message.checkpoint.location);
      return;
    }
    await this.#deps.reports.notRestored(message, result);
  }

  async #roomAppears(message: DequeuedMessage): Promise<boolean> {
    const { clock, room, runners, stop, draining } = this.#deps;
    const untilMs = clock.monotonicMs() + ROOM_WITHIN_MS;
    while (clock.monotonicMs() < untilMs && !stop.aborted && !draining()) {
      await sleep(clock, ROOM_RECHECK_MS, stop);
      if (room.hasRoom(roomOf(message), runners.placed())) return true;
    }
    return false;
  }
}

// Holds what is known here against what the gateway has: at a start, after the gateway was away, and now and then.
//
// T1  A sandbox that is not known here is taken in: after a restart, or when the answer to its creation was lost.
// T2  A frozen one is never left frozen: the platform's latest word says whether it is destroyed, told of again, or thawed.
// T3  A runner that the gateway does not have any more has ended, whether or not that was told. So has one that ended while nobody
//     here knew of it: if its run is still its own, the platform is told.
// T4  A runner that holds no run and says nothing for long is removed; one that is not ours is forgotten, whatever it holds.
import type { InstanceView } from "@torpor/contracts";
import { withRetries, type CallOutcome } from "@torpor/http";
import type { Clock } from "@torpor/kernel";
import type { Log } from "@torpor/observe";
import type { Gateway } from "../gateway/gateway.ts";
import { isPassing, type Platform } from "../platform/platform.ts";
import { Intent } from "../snapshot/intent.ts";
import type { Intents } from "../snapshot/intents.ts";
import type { Sleeper } from "../snapshot/sleeper.ts";
import { holdsRun, judgeAdoption, readNotes, type SandboxNotes } from "./adoption.ts";
import type { Endings } from "./endings.ts";
import { isHearsay, Runner, type RunnerFacts } from "./runner.ts";
import type { Runners } from "./runners.ts";

/** A sandbox that is being made is not in the gateway's list for a moment. */
const VANISHED_AFTER_MS = 30_000;
/** A sandbox that is not known here may be one whose creation is being answered right now. */
const UNKNOWN_AFTER_MS = 30_000;
/** Its gateway may let go of it any moment: who adopts a held one must not count on more. */
const ADOPTED_HOLD_MS = 20_000;

export interface CaretakerDeps {
  readonly gateway: Gateway;
  readonly platform: Platform;
  readonly runners: Runners;
  readonly intents: Intents;
  readonly sleeper: Sleeper;
  readonly endings: Endings;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
  readonly idleMs: number;
  /** A sandbox was seen to occupy so much. */
  readonly onMemory: (memoryBytes: number) => void;
  readonly stop: AbortSignal;
}

export class Caretaker {
  readonly #deps: CaretakerDeps;
  #working: Promise<boolean> | null = null;
  /** Until then whatever is found is from before. */
  #hasTakenStock = false;

  constructor(deps: CaretakerDeps) {
    this.#deps = deps;
  }

  /** Looks once. `atStart`: whatever is found is from before. False: the gateway or the platform could not be asked about all of it. */
  look(options: { readonly atStart: boolean } = { atStart: false }): Promise<boolean> {
    this.#working ??= this.#look(options.atStart || !this.#hasTakenStock).finally(() => {
      this.#working = null;
    });
    return this.#working;
  }

  async #look(atStart: boolean): Promise<boolean> {
    const listed = await this.#deps.gateway.instances();
    if (listed.kind === "refused" && listed.status === 404) return true; // a foreign gateway that keeps no list
    if (listed.kind !== "ok") return false;
    const { instances } = listed.body;
    for (const { state, memoryBytes } of instances) if (state === "running" && memoryBytes !== null) this.#deps.onMemory(memoryBytes);
    this.#missVanished(new Set(instances.filter(({ state }) => state !== "gone").map(({ name }) => name as string)));
    this.#reapIdle();
    let complete = true;
    for (const instance of instances) {
      const ageMs = this.#deps.clock.nowMs() - instance.createdAt.getTime();
      const known = this.#deps.runners.get(instance.name);
      if (isForgotten(instance, known)) complete = (await this.#sendAway(instance)) && complete;
      if ((known !== undefined && !isHearsay(known)) || (!atStart && ageMs < UNKNOWN_AFTER_MS)) continue;
      complete = (await this.#adopt(instance)) && complete;
    }
    this.#hasTakenStock ||= complete;
    return complete;
  }

  async #adopt(instance: InstanceView): Promise<boolean> {
    const { platform, log } = this.#deps;
    const notes = readNotes(instance);
    if (notes === null || instance.state === "kept") return true; // kept: nobody's, until its memory image is restored
    const latest = await platform.latest(notes.runId);
    if (latest.kind !== "ok") {
      if (isPassing(latest)) return false;
      log.warn({ runnerId: instance.name, runId: notes.runId }, "a sandbox of a run that the platform does not know is removed");
      await this.#deps.gateway.remove(instance.name);
      return true;
    }
    if (instance.state === "gone") return this.#missGone(instance, notes, holdsRun(notes, latest.body));
    const adoption = judgeAdoption(instance, notes, latest.body);
    log.info({ runnerId: instance.name, runId: notes.runId, state: instance.state, adoption: adoption.kind }, "found a sandbox");
    switch (adoption.kind) {
      case "commit":
        await this.#untilAnswered(() => this.#deps.gateway.commit(adoption.imageId));
        await this.#deps.gateway.remove(instance.name);
        return true;
      case "report":
        this.#report(instance, notes, adoption);
        return true;
      case "remove":
        return await this.#sendAway(instance);
      case "thaw":
        await this.#untilAnswered(() => this.#deps.gateway.cancelSnapshot(instance.name));
        this.#takeIn(instance, notes, holdsRun(notes, latest.body));
        return true;
      default:
        this.#takeIn(instance, notes, adoption.kind === "holds", latest.body.snapshot.friendlyId);
        return true;
    }
  }

  /** It never went on: what it says makes it nobody's holder, and its memory image is free when it is gone. */
  async #sendAway(instance: InstanceView): Promise<boolean> {
    this.#deps.runners.sendAway(instance.name);
    return (await this.#untilAnswered(() => this.#deps.gateway.remove(instance.name))).kind === "ok";
  }

  #takeIn(instance: InstanceView, notes: SandboxNotes, holds: boolean, latestId: string | null = null): Runner {
    const { runners } = this.#deps;
    const runner = runners.found(runnerFacts(instance.name, notes, latestId));
    runners.located(runner, { instanceId: instance.id, address: instance.address });
    if (holds && !runner.hadRun) runners.bind(runner, notes.runId); // else it has said itself which run it has, or has no more
    if (runner.runId === notes.runId) runner.snapshotId ??= notes.snapshotId;
    return runner;
  }

  /** T2: the report of before the restart may have been lost, or never sent. Telling it twice is harmless. */
  #report(instance: InstanceView, notes: SandboxNotes, found: { readonly imageId: string; readonly snapshotId: string }): void {
    const { clock, intents, sleeper, log } = this.#deps;
    const runner = this.#takeIn(instance, notes, true);
    runner.phase = "frozen";
    const image = { imageId: found.imageId, isHeld: true, frozenMs: 0, sizeBytes: 0, deadlineMs: clock.monotonicMs() + ADOPTED_HOLD_MS };
    const intent = new Intent(
      { runId: notes.runId, runnerId: instance.name, snapshotId: found.snapshotId },
      { dueAtMs: clock.monotonicMs(), failures: 0 },
    );
    intent.move("come_due", { state: "due" });
    intent.move("check", { state: "checking" });
    intent.move("freeze", { state: "freezing", nonce: "", startedMs: clock.monotonicMs() });
    intent.move("hold", { state: "held", image, reported: false });
    intents.adopt(intent);
    sleeper
      .resume(intent, image)
      .catch((error: unknown) => log.error({ err: error }, "a held sandbox could not be dealt with, unforeseen"));
  }

  /** T3. It is not made known here first: nobody may take it for one that can be spoken to. */
  #missGone({ id, name, exit }: InstanceView, notes: SandboxNotes, holds: boolean): true {
    const runner = new Runner(runnerFacts(name, notes, null), this.#deps.clock.monotonicMs());
    runner.instanceId = id;
    if (holds) Object.assign(runner, { runId: notes.runId, snapshotId: notes.snapshotId });
    void this.#deps.endings.ended(runner, exit ?? { exitCode: null, reason: "it had ended before anybody looked" });
    return true;
  }

  #missVanished(names: ReadonlySet<string>): void {
    const { runners, clock, endings } = this.#deps;
    const nowMs = clock.monotonicMs();
    for (const runner of runners.all()) {
      const isOurs = runner.instanceId !== null && runner.phase === "running" && nowMs - runner.createdMs > VANISHED_AFTER_MS;
      if (isOurs && !names.has(runner.name))
        void endings.ended(runner, { exitCode: null, reason: "the gateway does not have it any more" });
    }
  }

  #reapIdle(): void {
    const { runners, clock, endings, idleMs } = this.#deps;
    for (const runner of runners.all()) {
      if (runner.phase !== "running" || clock.monotonicMs() - runner.heardMs <= idleMs) continue;
      if (runner.instanceId === null) runners.remove(runner.name);
      else if (runner.runId === null) void endings.retire(runner);
    }
  }

  #untilAnswered<T>(call: () => Promise<CallOutcome<T>>): Promise<CallOutcome<T>> {
    const { clock, random, stop } = this.#deps;
    return withRetries({ attempts: 20, baseMs: 100, maxMs: 5_000, clock, random, signal: stop, retryable: isPassing }, call);
  }
}

/** What its sandbox's notes say of a runner. `latestId`: the run's latest snapshot, when it is known to be the runner's own. */
function runnerFacts(name: string, notes: SandboxNotes, latestId: string | null): RunnerFacts {
  const { isRestored, isAhead, lineage, room, attemptNumber, serves } = notes;
  const restoredAt = isRestored ? notes.snapshotId : isAhead ? latestId : null; // the hand-out was not known when it was made ready
  return { name, room, lineage, restoredAt, adopted: true, attemptNumber, serves };
}

/** It was made ready ahead of time by somebody who did not live to call it, and has spoken up before it was found here. */
function isForgotten({ reservedImageId }: InstanceView, known: Runner | undefined): boolean {
  return reservedImageId != null && known !== undefined && known.adopted;
}

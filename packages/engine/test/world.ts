import type { ManualClock } from "@torpor/kernel";
import * as fc from "fast-check";
import { expect } from "vitest";
import type { Engine, TriggerOptions } from "../src/api.ts";
import { DEPLOYMENT, inMs, task, type Plane, type Scene } from "./harness.ts";
import type { Invariants } from "./invariants.ts";
import { canceled, failure, success, systemError, userError, type HeldRun } from "./worker.ts";

/** One deed; `at` chooses among the runs, tokens and batches that exist by then. */
type Deed =
  | { readonly kind: "trigger"; readonly task: string; readonly options: "plain" | "delayed" | "mortal" | "urgent" | "keyed" | "same" }
  | { readonly kind: "take" }
  | { readonly kind: "advance"; readonly byMs: number }
  | { readonly kind: "deploy" }
  | { readonly kind: "completeToken" | "cancel" | "reschedule"; readonly at: number }
  | { readonly kind: RunDeed; readonly at: number };

const RUN_DEEDS = [
  "start",
  "catchUp",
  "succeed",
  "retryNow",
  "retryLater",
  "outOfMemory",
  "confirmCancel",
  "waitForToken",
  "waitForTime",
  "triggerAndWait",
  "batchAndWait",
  "suspend",
  "continue",
  "release",
  "refuseImage",
  "heartbeat",
] as const;
type RunDeed = (typeof RUN_DEEDS)[number];

const at = fc.nat(1_000);
export const deed: fc.Arbitrary<Deed> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("trigger" as const),
      task: fc.constantFrom("work", "solo", "hungry", "future"),
      options: fc.constantFrom(
        "plain" as const,
        "delayed" as const,
        "mortal" as const,
        "urgent" as const,
        "keyed" as const,
        "same" as const,
      ),
    }),
  },
  { weight: 5, arbitrary: fc.constant({ kind: "take" as const }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant("advance" as const), byMs: fc.constantFrom(100, 6_000, 61_000, 301_000, 601_000) }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: "deploy" as const }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("completeToken" as const), at }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom("cancel" as const, "reschedule" as const), at }) },
  { weight: 22, arbitrary: fc.record({ kind: fc.constantFrom(...RUN_DEEDS), at }) },
);

export class World {
  readonly scene: Scene;
  readonly #plane: Plane<ManualClock>;
  /** Two processes; each deed goes through one of them. */
  readonly #engines: readonly Engine[];
  readonly runs: string[] = [];
  readonly held: HeldRun[] = [];
  readonly tokens: string[] = [];
  /** How often a snapshot was successfully started or continued from. */
  readonly begun = new Map<string, number>();
  #count = 0;

  constructor(plane: Plane<ManualClock>, scene: Scene, engines: readonly Engine[]) {
    this.#plane = plane;
    this.scene = scene;
    this.#engines = engines;
  }

  get #engine(): Engine {
    return this.#engines[this.#deeds++ % this.#engines.length] ?? this.scene.engine;
  }
  #deeds = 0;

  async do(one: Deed): Promise<void> {
    switch (one.kind) {
      case "trigger":
        return this.#trigger(one.task, one.options);
      case "take":
        return this.#take();
      case "advance":
        return this.#plane.clock.advance(one.byMs);
      case "deploy":
        return void (await this.scene.deploy(WITH_FUTURE));
      case "completeToken":
        return void (await this.#with(this.tokens, one.at, (tokenId) =>
          this.#engine.completeToken(this.scene.env, tokenId, { data: "1" }),
        ));
      case "cancel":
        return void (await this.#with(this.runs, one.at, (runId) => this.#engine.cancelRun(this.scene.env, runId, "at random")));
      case "reschedule":
        return void (await this.#with(this.runs, one.at, (runId) =>
          this.#engine.rescheduleRun(this.scene.env, runId, inMs(this.#plane, 5_000)),
        ));
      default:
        return void (await this.#with(this.held, one.at, (held) => this.#doWith(held, one.kind)));
    }
  }

  async #with<T>(all: readonly T[], index: number, use: (one: T) => Promise<unknown>): Promise<void> {
    // mostly the newest: they are the ones that can still do something
    const one = all.at(-1 - (index % Math.max(1, Math.min(all.length, 6))));
    if (one !== undefined) await use(one);
  }

  async #trigger(taskId: string, kind: "plain" | "delayed" | "mortal" | "urgent" | "keyed" | "same"): Promise<void> {
    const options: Partial<TriggerOptions> = {
      plain: {},
      delayed: { delayUntil: inMs(this.#plane, 5_000) },
      mortal: { ttlSeconds: 5 },
      urgent: { priority: (this.#count % 5) - 2 },
      keyed: { concurrencyKey: `k${this.#count % 2}` },
      same: { idempotencyKey: "same" },
    }[kind];
    this.#count++;
    const outcome = await this.scene.tryTrigger(taskId, options);
    if (outcome.kind === "triggered") this.runs.push(outcome.runId);
  }

  async #take(): Promise<void> {
    // A sleeping run is for its own node alone, until that is lost
    const held = await this.#plane.worker(`node-${this.#deeds % 2}`, this.#engine).tryTake();
    if (held !== undefined) this.held.push(held);
  }

  async #doWith(held: HeldRun, kind: RunDeed): Promise<unknown> {
    const { env } = this.scene;
    const engine = this.#engine;
    switch (kind) {
      case "start":
        return this.#begin(held, () => held.tryStart(), "started");
      case "continue":
        return this.#begin(held, () => held.tryContinue(), "continued");
      case "catchUp":
        return held.catchUp();
      case "succeed":
        return held.tryComplete(success(held.runId));
      case "retryNow":
        return held.tryComplete(failure(held.runId, userError("at random"), 0));
      case "retryLater":
        return held.tryComplete(failure(held.runId, userError("at random"), 40_000));
      case "outOfMemory":
        return held.tryComplete(failure(held.runId, systemError("TASK_PROCESS_OOM_KILLED")));
      case "confirmCancel":
        return held.tryComplete(canceled(held.runId));
      case "waitForToken": {
        const tokenId = await this.scene.token();
        this.tokens.push(tokenId);
        return engine.waitForToken(env, held.runId, tokenId);
      }
      case "waitForTime":
        return engine.waitUntil(env, held.runId, { date: inMs(this.#plane, 3_000) });
      case "triggerAndWait": {
        const outcome = await this.scene.tryTrigger("work", { parentRunId: held.runId, resumeParentOnCompletion: true });
        if (outcome.kind === "triggered") this.runs.push(outcome.runId);
        return outcome;
      }
      case "batchAndWait":
        return this.#batch(held);
      case "suspend":
        return held.trySuspend(`mem_${this.#count++}`);
      case "release":
        return held.release();
      case "refuseImage":
        return held.restoreOutcome("fail");
      case "heartbeat":
        return held.heartbeat();
    }
  }

  async #batch(held: HeldRun): Promise<void> {
    const { env } = this.scene;
    const engine = this.#engine;
    const parent = { parentRunId: held.runId, resumeParentOnCompletion: true };
    const batch = await engine.createBatch(env, { runCount: 2, ...parent });
    if (batch.kind !== "created") return;
    for (const index of [0, 1])
      await engine.addBatchItem(env, batch.batchId, { index, task: "work", options: { payloadType: "application/json", ...parent } });
    await engine.sealBatch(env, batch.batchId);
  }

  async #begin(held: HeldRun, begin: () => Promise<{ readonly kind: string }>, kind: string): Promise<void> {
    const from = held.snapshotId;
    if ((await begin()).kind !== kind) return;
    const count = (this.begun.get(from) ?? 0) + 1;
    this.begun.set(from, count);
    expect(count, `runners that began from ${from} (L8)`).toBe(1);
  }

  /** Now everybody behaves: what waits is served, what is handed out is run to its end. */
  async bringToAnEnd(invariants: Invariants): Promise<void> {
    await this.scene.deploy(WITH_FUTURE);
    await this.#plane.until(
      "every run has ended",
      async () => {
        for (const tokenId of this.tokens.splice(0)) await this.scene.completeToken(tokenId);
        for (const held of [...this.held.splice(0), ...(await this.scene.worker.takeAll())]) await finish(held);
        await this.#plane.clock.advance(20_000);
        return (await invariants.check()).length === 0;
      },
      { limitMs: 20_000 },
    );
  }
}

const WITH_FUTURE = { tasks: [...DEPLOYMENT.tasks, task("future")] };

/** What a good runner does next with a run, whatever state it is in. */
async function finish(held: HeldRun): Promise<void> {
  const { snapshot, checkpoint, completedWaitpoints } = await held.catchUp();
  if (snapshot.executionStatus === "PENDING_EXECUTING")
    await (checkpoint === undefined && completedWaitpoints.length === 0 ? held.tryStart() : held.tryContinue());
  if (snapshot.executionStatus === "EXECUTING_WITH_WAITPOINTS") return;
  await held.catchUp();
  await held.tryComplete(success(held.runId));
}

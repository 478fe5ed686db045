// One run of the engine model: a history that only `advance` adds to, along the engine's own table.
import type { CompletedWaitpoint, ExecutionStatus, RunExecutionData, RunStatus } from "@torpor/contracts";
import { newIdBody, type Random, type Timer } from "@torpor/kernel";
import { transition, type Blocker as EngineBlocker, type RunEvent } from "@torpor/engine/rules";
import type { RunPlan } from "../scenario/scenario.ts";

export interface Blocker {
  readonly id: string;
  readonly for: "time" | "token";
  readonly endsAtMs: number;
  completedAtMs: number | null;
}

export interface ModelCheckpoint {
  readonly id: string;
  readonly location: string;
  /** The node that wrote it. */
  readonly node: string;
}

/** Names whoever acts, for the checkers. */
export interface Actor {
  readonly runnerId: string | undefined;
  readonly node: string;
}

export class ModelRun {
  readonly index: number;
  readonly id: string;
  readonly plan: RunPlan;
  readonly history: RunExecutionData[] = [];
  status: ExecutionStatus = "QUEUED";
  runStatus: RunStatus = "PENDING";
  attempt = 0;
  checkpoint: ModelCheckpoint | null = null;
  /** What the wait that just ended brought; it goes along until the run executes again. */
  brought: CompletedWaitpoint[] = [];
  readonly blockers = new Map<string, Blocker>();
  /** Every wait that was begun, so that the same request again begins no other. */
  readonly waits = new Map<string, string>();
  /** Not before this it continues: it is handed out a moment ahead of the end of its wait. */
  goesOnAtMs = 0;
  giveBacks = 0;
  retryReady = false;
  readyAtMs = 0;
  heardAtMs = 0;
  stall: Timer | null = null;

  constructor(index: number, id: string, plan: RunPlan) {
    this.index = index;
    this.id = id;
    this.plan = plan;
  }

  get latest(): RunExecutionData {
    const latest = this.history.at(-1);
    if (latest === undefined) throw new Error(`Cannot find a snapshot of ${this.id}`);
    return latest;
  }

  get snapshotId(): string {
    return this.latest.snapshot.friendlyId;
  }

  get hasEnded(): boolean {
    return this.status === "FINISHED";
  }

  get isBlocked(): boolean {
    return [...this.blockers.values()].some(({ completedAtMs }) => completedAtMs === null);
  }

  /** As the engine's rules see it. */
  get waitedFor(): EngineBlocker[] {
    return [...this.blockers.values()].map(({ completedAtMs, endsAtMs, ...blocker }) => ({
      type: blocker.for === "time" ? "DATETIME" : "MANUAL",
      status: completedAtMs === null ? "PENDING" : "COMPLETED",
      completes_after: new Date(endsAtMs),
    }));
  }

  /** The first entry. */
  begin(nowMs: number, random: Random): void {
    this.#append(nowMs, random, "Queued");
  }

  /** Moves along the table; what of a sleep stays with the run is the engine's rule. */
  advance(event: RunEvent, at: { readonly nowMs: number; readonly random: Random; readonly finalStatus?: RunStatus }): void {
    const step = transition(this.status, event);
    this.status = step.to;
    this.runStatus = step.run === "final" ? (at.finalStatus ?? "SYSTEM_FAILURE") : step.run;
    if (event === "resume") {
      this.brought = this.#completed();
      this.goesOnAtMs = Math.max(...this.brought.map(({ completedAt }) => completedAt.getTime()));
    }
    if (event === "continue") this.checkpoint = null;
    if (event !== "dequeue" && event !== "giveBack" && event !== "resume" && event !== "continue" && event !== "suspend") {
      this.checkpoint = null;
      this.brought = [];
    }
    if (event === "suspend") this.brought = [];
    if (event !== "block" && event !== "suspend" && event !== "giveBack" && event !== "dequeue") this.blockers.clear();
    this.#append(at.nowMs, at.random, event, step.shown ?? this.runStatus);
  }

  #append(nowMs: number, random: Random, description: string, shown: RunStatus = this.runStatus): void {
    const seq = this.history.length + 1;
    const id = seq.toString(36).padStart(6, "0") + newIdBody(nowMs, random).slice(-8);
    const isWaiting = this.status === "EXECUTING_WITH_WAITPOINTS";
    this.history.push({
      version: "1",
      snapshot: {
        id,
        friendlyId: `snapshot_${id}`,
        executionStatus: this.status,
        description,
        createdAt: new Date(nowMs),
      },
      run: { id: this.id.slice(4), friendlyId: this.id, status: shown, attemptNumber: this.attempt > 0 ? this.attempt : null },
      completedWaitpoints: this.brought,
      ...(this.checkpoint === null ? {} : { checkpoint: this.#wireCheckpoint(this.checkpoint) }),
      ...(isWaiting ? { torporWait: this.#waitFacts() } : {}),
    });
  }

  #waitFacts(): NonNullable<RunExecutionData["torporWait"]> {
    const open = [...this.blockers.values()].filter(({ completedAtMs }) => completedAtMs === null);
    const known = open.every((blocker) => blocker.for === "time") ? open.map(({ endsAtMs }) => endsAtMs) : [];
    return {
      types: open.map((blocker) => (blocker.for === "time" ? "DATETIME" : "MANUAL")),
      ...(known.length === 0 ? {} : { knownEndAt: new Date(Math.max(...known)) }),
    };
  }

  #wireCheckpoint({ id, location }: ModelCheckpoint): NonNullable<RunExecutionData["checkpoint"]> {
    return { id: id.slice("checkpoint_".length), friendlyId: id, type: "COMPUTE", location };
  }

  #completed(): CompletedWaitpoint[] {
    return [...this.blockers.values()].map(({ id, completedAtMs, ...blocker }) => ({
      id: id.slice("waitpoint_".length),
      friendlyId: id,
      type: blocker.for === "time" ? "DATETIME" : "MANUAL",
      completedAt: new Date(completedAtMs ?? blocker.endsAtMs),
      outputIsError: false,
    }));
  }
}

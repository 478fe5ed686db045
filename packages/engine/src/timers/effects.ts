import { assertNever } from "@torpor/kernel";
import { systemFailure } from "../domain/completion.ts";
import { recheckDelayMs, stallAction, stallAfterMs } from "../domain/stalls.ts";
import { nextStep } from "../domain/transitions.ts";
import { advance } from "../operations/advance.ts";
import { abortUnsealed, lookAtBatch } from "../operations/batchEnd.ts";
import { cancelLocked } from "../operations/cancel.ts";
import { endAttempt } from "../operations/complete.ts";
import { now, type Core } from "../operations/core.ts";
import { promoteParked } from "../operations/deploy.ts";
import { canceledError, CANCEL_REASON, finishRun } from "../operations/finish.ts";
import { resumeIfFree, resumeLocked } from "../operations/resume.ts";
import { giveBack } from "../operations/suspend.ts";
import { armTtl } from "../operations/ttl.ts";
import { completeWaitpoint } from "../operations/waitpoints.ts";
import { scoreAt } from "../domain/queueing.ts";
import { internalError } from "../domain/runErrors.ts";
import type { Transaction } from "../sql/database.ts";
import { freeLostSlots } from "../sql/slots.ts";
import { lockRun, type RunRow } from "../sql/runs.ts";
import { setStallDue } from "../sql/stalls.ts";
import { moveTimer, takeClaimed, type DueTimer } from "../sql/timers.ts";
import { blockersOf, readWaitpoint } from "../sql/waitpoints.ts";

/** Does what a due timer stands for, once: its subject is locked, the timer deleted, and both are one transaction. */
export async function fireTimer(core: Core, timer: DueTimer): Promise<void> {
  switch (timer.kind) {
    case "resume":
      return resumeIfFree(core, timer.subject);
    case "waitpoint":
      return fireWaitpoint(core, timer);
    case "batchSeal":
      return core.db.transaction((tx) => abortUnsealed(core, tx, timer));
    case "batchCheck":
      return core.db.transaction((tx) => lookAtBatch(core, tx, timer));
    case "sweep":
      return sweep(core, timer);
    case "promote":
      return promoteParked(core, timer);
    case "stall":
    case "delay":
    case "ttl":
    case "cancel": {
      const effect = RUN_EFFECTS[timer.kind];
      return core.db.transaction(async (tx) => {
        const run = await lockRun(tx, timer.subject);
        if (!(await takeClaimed(tx, timer)) || run === undefined) return;
        await effect(core, tx, run, timer);
      });
    }
    default:
      return assertNever(timer.kind);
  }
}

/** Frees concurrency that a run holds which has ended: no way leads there, but a leak would block a queue for ever. */
async function sweep(core: Core, timer: DueTimer): Promise<void> {
  const freed = await freeLostSlots(core.db);
  if (freed.length > 0) {
    core.log.error({ runs: freed }, "concurrency was held by runs that do not execute; it was freed");
    core.wakes.room();
  }
  const next = new Date(now(core).getTime() + core.settings.sweepEveryMs);
  await moveTimer(core.db, "sweep", timer.subject, next);
  core.wakes.timer(next);
}

type RunEffect = (core: Core, tx: Transaction, run: RunRow, timer: DueTimer) => Promise<void>;

const RUN_EFFECTS: Readonly<Record<"stall" | "delay" | "ttl" | "cancel", RunEffect>> = {
  stall,
  delay: enqueueDelayed,
  ttl: expire,
  cancel: cancelChild,
};

async function enqueueDelayed(core: Core, tx: Transaction, run: RunRow): Promise<void> {
  if (run.execution_status !== "DELAYED") return;
  const at = now(core);
  advance(core, tx, run, "enqueue", {
    at,
    description: "Its time has come: queued",
    score: scoreAt(at, run.priority),
    patch: { queued_at: at, score: scoreAt(at, run.priority) },
  });
  await armTtl(core, tx, run, at);
}

/** Only a run that was never handed out expires. */
async function expire(core: Core, tx: Transaction, run: RunRow): Promise<void> {
  if (run.execution_status !== "QUEUED" || run.first_dequeued_at !== null) return;
  const error = { type: "STRING_ERROR" as const, raw: `Run expired because the TTL (${run.ttl_seconds}s) was reached` };
  await finishRun(core, tx, run, { at: now(core), event: "expire", description: "Expired in the queue", status: "EXPIRED", error });
}

async function cancelChild(core: Core, tx: Transaction, run: RunRow): Promise<void> {
  await cancelLocked(core, tx, run, "Its parent run was canceled");
}

/** A date is reached, or a token runs out. */
async function fireWaitpoint(core: Core, timer: DueTimer): Promise<void> {
  await core.db.transaction(async (tx) => {
    const waitpoint = await readWaitpoint(tx, timer.subject);
    if (waitpoint === undefined) return void (await takeClaimed(tx, timer));
    const at = now(core);
    const timedOut = waitpoint.type === "MANUAL";
    const output = timedOut
      ? JSON.stringify({ code: "TRIGGER_WAITPOINT_TIMEOUT", message: `Waitpoint timed out at ${waitpoint.completes_after?.toISOString()}` })
      : null;
    const result = { output, outputType: timedOut ? "application/json" : null, isError: timedOut, timedOut };
    await completeWaitpoint(core, tx, waitpoint.id, at, result);
    await takeClaimed(tx, timer);
  });
}

/** A timer that was set for an earlier status, or before the last heartbeat, is set anew; else the run has stalled. */
async function stall(core: Core, tx: Transaction, run: RunRow, timer: DueTimer): Promise<void> {
  const afterMs = stallAfterMs(run.execution_status, core.settings.stalls);
  const action = stallAction(run.execution_status);
  if (afterMs === undefined || action === undefined) return setStallDue(tx, run.id, null);
  const at = now(core);
  const heardAtMs = Math.max(run.snapshot_at.getTime(), run.heartbeat_at?.getTime() ?? 0);
  const dueAtMs = heardAtMs + afterMs;
  if (run.execution_status !== "SUSPENDED" && dueAtMs > at.getTime()) return rearmStall(core, tx, run, new Date(dueAtMs), 0);
  switch (action.kind) {
    case "giveBack":
      return void (await giveBack(core, tx, run, `Not started within ${afterMs / 1000} s`));
    case "failAttempt":
      return failStalledAttempt(core, tx, run, action.code, afterMs);
    case "finishCancel":
      await finishRun(core, tx, run, {
        at,
        description: "Canceled, its runner did not confirm",
        status: "CANCELED",
        error: canceledError(CANCEL_REASON),
      });
      return;
    case "recheck":
      return recheckSleeper(core, tx, run, timer);
    default:
      return assertNever(action);
  }
}

async function failStalledAttempt(core: Core, tx: Transaction, run: RunRow, code: string, afterMs: number): Promise<void> {
  if (nextStep(run.execution_status, "retryLater") === undefined) return;
  const at = now(core);
  const message = `Nothing was heard from the run for ${afterMs / 1000} s`;
  if (run.environment_type === "DEVELOPMENT") {
    const error = internalError(code, message);
    await finishRun(core, tx, run, { at, description: `Stalled: ${code}`, status: "CANCELED", error });
    return;
  }
  await endAttempt(core, tx, run, systemFailure(run.id, code, message, core.settings.stallRetryDelayMs, at.getTime()), {
    forceRequeue: true,
  });
}

/** The net under every wake-up of a sleeper. Dates and tokens have timers of their own and need no second look. */
async function recheckSleeper(core: Core, tx: Transaction, run: RunRow, timer: DueTimer): Promise<void> {
  if ((await resumeLocked(core, tx, run)) !== "blocked") return;
  const pending = (await blockersOf(tx, run.id)).filter((blocker) => blocker.status === "PENDING");
  const waitsForOthers = pending.some((blocker) => blocker.type === "RUN" || blocker.type === "BATCH");
  const delayMs = waitsForOthers ? recheckDelayMs(timer.tries, core.settings.suspendedRecheck) : undefined;
  if (delayMs === undefined) return setStallDue(tx, run.id, null);
  await rearmStall(core, tx, run, new Date(now(core).getTime() + delayMs), timer.tries + 1);
}

async function rearmStall(core: Core, tx: Transaction, run: RunRow, dueAt: Date, tries: number): Promise<void> {
  await setStallDue(tx, run.id, dueAt);
  await moveTimer(tx, "stall", run.id, dueAt, tries);
  tx.afterCommit(() => core.wakes.timer(dueAt));
}

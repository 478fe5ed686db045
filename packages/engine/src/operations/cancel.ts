import type { EnvironmentRef, Refusal } from "../api.ts";
import { nextStep } from "../domain/transitions.ts";
import type { Transaction } from "../sql/database.ts";
import { lockRun, type RunRow } from "../sql/runs.ts";
import { tellRunner } from "../sql/notify.ts";
import { advance } from "./advance.ts";
import { idBody, notFound, now, type Core } from "./core.ts";
import { canceledError, finishRun } from "./finish.ts";

/** Cancels a run in whatever state it is. One that executes is told, and ends when its runner confirms or the limit passes. */
export async function cancelRun(
  core: Core,
  env: EnvironmentRef,
  runId: string,
  reason: string,
): Promise<{ readonly kind: "canceled"; readonly alreadyFinished: boolean } | Refusal> {
  return core.db.transaction(async (tx) => {
    const run = await lockRun(tx, idBody("run", runId));
    if (run === undefined || run.environment_id !== env.id) return notFound("run", runId);
    return { kind: "canceled", alreadyFinished: !(await cancelLocked(core, tx, run, reason)) };
  });
}

/** False when the run had ended before. */
export async function cancelLocked(core: Core, tx: Transaction, run: RunRow, reason: string): Promise<boolean> {
  if (run.execution_status === "FINISHED") return false;
  if (run.execution_status === "PENDING_CANCEL") {
    await tellRunner(tx, run.id);
    return true;
  }
  const at = now(core);
  if (nextStep(run.execution_status, "cancel")?.to === "PENDING_CANCEL") {
    advance(core, tx, run, "cancel", { at, description: `Being canceled: ${reason}`.slice(0, 300) });
  } else {
    await finishRun(core, tx, run, {
      at,
      event: "cancel",
      description: `Canceled: ${reason}`.slice(0, 300),
      status: "CANCELED",
      error: canceledError(reason),
    });
  }
  return true;
}

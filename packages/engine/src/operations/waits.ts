import type { EnvironmentRef, Refusal } from "../api.ts";
import { storedKey } from "../domain/idempotency.ts";
import { newId, friendly } from "../domain/ids.ts";
import type { Transaction } from "../sql/database.ts";
import { lockRun, type RunRow } from "../sql/runs.ts";
import { moveTimer } from "../sql/timers.ts";
import { insertWaitpoint, lockWaitpointByKey, readWaitpoint, retireKey, type NewWaitpoint, type WaitpointRow } from "../sql/waitpoints.ts";
import { block, cannotWait } from "./blocking.ts";
import { idBody, notFound, now, type Core } from "./core.ts";

export interface KeyedWait {
  readonly idempotencyKey?: string;
  readonly idempotencyKeyExpiresAt?: Date;
}

/** Makes the run wait until a date. A date that is past still makes a wait, which is over at once. */
export async function waitUntil(
  core: Core,
  env: EnvironmentRef,
  runId: string,
  wait: KeyedWait & { readonly date: Date },
): Promise<{ readonly kind: "waiting"; readonly waitpointId: string; readonly waitUntil: Date } | Refusal> {
  return core.db.transaction(async (tx) => {
    const run = await lockOwnRun(tx, env, runId);
    if ("kind" in run) return run;
    const at = now(core);
    const { waitpoint, isCached } = await makeWaitpoint(core, tx, env, wait, {
      type: "DATETIME",
      completesAfter: wait.date,
      at,
      isCompleted: wait.date <= at,
    });
    const isNew = !isCached && wait.date > at;
    if (isNew) await armWaitpoint(core, tx, waitpoint.id, wait.date);
    await block(core, tx, run, { at, waitpointId: waitpoint.id, description: `Waits until ${wait.date.toISOString()}`, isNew });
    return { kind: "waiting", waitpointId: friendly("waitpoint", waitpoint.id), waitUntil: waitpoint.completes_after ?? wait.date };
  });
}

/** Makes the run wait for a token. */
export async function waitForToken(
  core: Core,
  env: EnvironmentRef,
  runId: string,
  tokenId: string,
): Promise<{ readonly kind: "waiting" } | Refusal> {
  return core.db.transaction(async (tx) => {
    const run = await lockOwnRun(tx, env, runId);
    if ("kind" in run) return run;
    const token = await readWaitpoint(tx, idBody("waitpoint", tokenId));
    if (token === undefined || token.environment_id !== env.id) return notFound("token", tokenId);
    await block(core, tx, run, { at: now(core), waitpointId: token.id, description: "Waits for a token", isNew: false });
    return { kind: "waiting" };
  });
}

async function lockOwnRun(tx: Transaction, env: EnvironmentRef, runId: string): Promise<RunRow | Refusal> {
  const run = await lockRun(tx, idBody("run", runId));
  if (run === undefined || run.environment_id !== env.id) return notFound("run", runId);
  return cannotWait(run) ?? run;
}

type Blueprint = Pick<NewWaitpoint, "type" | "completesAfter" | "at" | "isCompleted" | "tags">;

/** A new waitpoint, or the one that its idempotency key stands for. An expired key is moved aside. */
export async function makeWaitpoint(
  core: Core,
  tx: Transaction,
  env: EnvironmentRef,
  keyed: KeyedWait,
  blueprint: Blueprint,
): Promise<{ readonly waitpoint: WaitpointRow; readonly isCached: boolean }> {
  const key = keyed.idempotencyKey === undefined ? undefined : storedKey(keyed.idempotencyKey);
  const { at } = blueprint;
  const expiresAt = keyed.idempotencyKeyExpiresAt ?? new Date(at.getTime() + core.settings.idempotencyKeyTtlMs);
  const draft: NewWaitpoint = {
    id: newId(at.getTime(), core.random),
    environmentId: env.id,
    ...blueprint,
    ...(key === undefined ? {} : { idempotencyKey: key, idempotencyKeyExpiresAt: expiresAt }),
  };
  while (!(await insertWaitpoint(tx, draft))) {
    const existing = key === undefined ? undefined : await lockWaitpointByKey(tx, env.id, key);
    if (existing === undefined) continue; // its key was moved aside meanwhile
    if (existing.idempotency_key_expires_at === null || existing.idempotency_key_expires_at > at)
      return { waitpoint: existing, isCached: true };
    await retireKey(tx, existing.id);
  }
  const made = await readWaitpoint(tx, draft.id);
  if (made === undefined) throw new Error(`Cannot find waitpoint ${draft.id} right after making it`);
  return { waitpoint: made, isCached: false };
}

/** The time at which a date is reached, or a token runs out. */
export async function armWaitpoint(core: Core, tx: Transaction, waitpointId: string, dueAt: Date): Promise<void> {
  await moveTimer(tx, "waitpoint", waitpointId, dueAt);
  tx.afterCommit(() => core.wakes.timer(dueAt));
}

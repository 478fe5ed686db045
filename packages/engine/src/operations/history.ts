import type { RunExecutionData, WaitFacts } from "@torpor/contracts";
import type { Refusal } from "../api.ts";
import { friendly, seqOf } from "../domain/ids.ts";
import { readCheckpoints } from "../sql/checkpoints.ts";
import { completedWaitpoints, type CompletedRow } from "../sql/completed.ts";
import { latestOf, snapshotsAfter, waitFacts, type HistoryRow } from "../sql/history.ts";
import { idBody, notFound, type Core } from "./core.ts";
import { reference, wireCheckpoint, wireWaitpoint } from "./wire.ts";

/** Longest answer of `since`: a runner acts on the last entry, and only looks for a change of owner in the others. */
const MAX_SNAPSHOTS = 50;

export async function latestSnapshot(core: Core, runId: string, environmentId: string | undefined): Promise<RunExecutionData | null> {
  const row = await latestOf(core.db, idBody("run", runId));
  if (row === undefined || (environmentId !== undefined && row.environment_id !== environmentId)) return null;
  return (await describe(core, [row]))[0] ?? null;
}

/** Everything after that snapshot, oldest first; the waitpoints stand on the last entry only. */
export async function snapshotsSince(
  core: Core,
  runId: string,
  snapshotId: string,
  environmentId: string | undefined,
): Promise<{ readonly kind: "found"; readonly snapshots: readonly RunExecutionData[] } | Refusal> {
  const body = idBody("snapshot", snapshotId);
  const seq = seqOf(body);
  if (seq === undefined) return notFound("snapshot", snapshotId);
  const rows = await snapshotsAfter(core.db, idBody("run", runId), seq, MAX_SNAPSHOTS);
  const anchor = rows.find((row) => row.seq === seq);
  if (anchor === undefined || anchor.id !== body || (environmentId !== undefined && anchor.environment_id !== environmentId))
    return notFound("snapshot", `${snapshotId} of run ${runId}`);
  return {
    kind: "found",
    snapshots: await describe(
      core,
      rows.filter((row) => row.seq > seq),
    ),
  };
}

async function describe(core: Core, rows: readonly HistoryRow[]): Promise<RunExecutionData[]> {
  const last = rows.at(-1);
  if (last === undefined) return [];
  const [checkpoints, completed, facts] = await Promise.all([
    readCheckpoints(core.db, [...new Set(rows.flatMap((row) => row.checkpoint_id ?? []))]),
    last.completed_seq === null ? Promise.resolve([]) : completedWaitpoints(core.db, [{ runId: last.run_id, seq: last.completed_seq }]),
    last.execution_status === "EXECUTING_WITH_WAITPOINTS" ? waitFacts(core.db, last.run_id) : Promise.resolve(undefined),
  ]);
  return rows.map((row) => {
    const checkpoint = row.checkpoint_id === null ? undefined : checkpoints.get(row.checkpoint_id);
    return {
      version: "1",
      snapshot: {
        id: row.id,
        friendlyId: friendly("snapshot", row.id),
        executionStatus: row.execution_status,
        description: row.description,
        createdAt: row.created_at,
      },
      run: {
        id: row.run_id,
        friendlyId: friendly("run", row.run_id),
        status: row.run_status,
        attemptNumber: row.attempt_number > 0 ? row.attempt_number : null,
      },
      ...(row.batch_id === null ? {} : { batch: reference("batch", row.batch_id) }),
      ...(checkpoint === undefined ? {} : { checkpoint: wireCheckpoint(checkpoint) }),
      ...lastOnly(row === last, completed, facts),
    };
  });
}

function lastOnly(
  isLast: boolean,
  completed: readonly CompletedRow[],
  facts: WaitFacts | undefined,
): Pick<RunExecutionData, "completedWaitpoints" | "torporWait"> {
  if (!isLast) return { completedWaitpoints: [] };
  return { completedWaitpoints: completed.map(wireWaitpoint), ...(facts === undefined ? {} : { torporWait: facts }) };
}

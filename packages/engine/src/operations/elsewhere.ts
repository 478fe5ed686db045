import type { WorkerRef } from "../api.ts";
import { decideElsewhere, isLost, nodeOf, type ElsewhereDecision } from "../domain/nodes.ts";
import { readCheckpoints } from "../sql/checkpoints.ts";
import type { Transaction } from "../sql/database.ts";
import { nodeSeenAt } from "../sql/nodes.ts";
import type { RunRow } from "../sql/runs.ts";
import { now, type Core } from "./core.ts";

/** What follows for a locked run when `worker` does not have its memory image. */
export async function imageIsElsewhere(core: Core, tx: Transaction, run: RunRow, worker: WorkerRef): Promise<ElsewhereDecision> {
  const checkpoint = run.checkpoint_id === null ? undefined : (await readCheckpoints(tx, [run.checkpoint_id])).get(run.checkpoint_id);
  const home = checkpoint?.node ?? null;
  const seenAt = home === null ? null : await nodeSeenAt(tx, home);
  return decideElsewhere({ home, saidBy: nodeOf(worker), isHomeLost: isLost(seenAt, now(core), core.settings.nodeLostAfterMs) });
}

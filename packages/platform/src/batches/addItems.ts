import { TorporError } from "@torpor/contracts";
import type { BatchItem, EngineForEnvironment, EnvironmentRef } from "@torpor/engine";
import { accepted } from "../refusal.ts";

/** Items that are written at the same time; more would only wait for connections. */
const ITEMS_AT_ONCE = 8;

export interface AddedItems {
  readonly accepted: number;
  readonly duplicates: number;
}

export interface BatchOfCaller {
  readonly env: EnvironmentRef;
  readonly batchId: string;
}

/** Adds items as they come, some at once. The first refusal ends it; what was added stays and is not added again by a repeat. */
export async function addItems(
  engine: Pick<EngineForEnvironment, "addBatchItem">,
  { env, batchId }: BatchOfCaller,
  items: AsyncIterable<BatchItem> | Iterable<BatchItem>,
): Promise<AddedItems> {
  const inFlight = new Set<Promise<void>>();
  const counts = { accepted: 0, duplicates: 0 };
  let failure: unknown;
  const add = async (item: BatchItem): Promise<void> => {
    const outcome = accepted(await engine.addBatchItem(env, batchId, item));
    counts[outcome.kind === "accepted" ? "accepted" : "duplicates"]++;
  };
  for await (const item of items) {
    if (failure !== undefined) break;
    const adding = add(item)
      .catch((error: unknown) => void (failure ??= error))
      .finally(() => void inFlight.delete(adding));
    inFlight.add(adding);
    if (inFlight.size >= ITEMS_AT_ONCE) await Promise.race(inFlight);
  }
  await Promise.all(inFlight);
  if (failure !== undefined) throw failure;
  return counts;
}

/** What makes one item fail and not the whole batch. */
export function itemFailure(error: unknown): { readonly code: string; readonly message: string } {
  if (error instanceof TorporError && (error.code === "body_too_large" || error.code === "request_unprocessable"))
    return { code: error.code, message: error.message };
  throw error;
}

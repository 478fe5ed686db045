import type { TaskRunExecutionResult } from "@torpor/contracts";
import { z } from "zod";
import type { EnvironmentRef, MetadataChange, MetadataOperation, Refusal } from "../api.ts";
import { applyOperations, parseMetadata, type Metadata } from "../domain/metadata.ts";
import { lockMetadata, readMetadata, writeMetadata } from "../sql/metadata.ts";
import { idBody, notFound, now, refuse, type Core } from "./core.ts";

// Each transaction here changes one run, so a child and its parent never wait for one another.

const Operation = z.discriminatedUnion("type", [
  z.object({ type: z.literal("set"), key: z.string(), value: z.unknown() }),
  z.object({ type: z.literal("delete"), key: z.string() }),
  z.object({ type: z.literal("append"), key: z.string(), value: z.unknown() }),
  z.object({ type: z.literal("remove"), key: z.string(), value: z.unknown() }),
  z.object({ type: z.literal("increment"), key: z.string(), value: z.number() }),
  z.object({ type: z.literal("update"), value: z.record(z.string(), z.unknown()) }),
]);
const Operations = z.array(Operation).max(10_000);
const Flushed = z.object({
  metadata: z.record(z.string(), z.unknown()).optional().catch(undefined),
  operations: Operations.optional().catch(undefined),
  parentOperations: Operations.optional().catch(undefined),
  rootOperations: Operations.optional().catch(undefined),
});

/** Replaces metadata or applies operations, to the run, its parent and its root. */
export async function updateMetadata(
  core: Core,
  env: EnvironmentRef,
  runId: string,
  change: MetadataChange,
): Promise<{ readonly kind: "updated"; readonly metadata: Record<string, unknown> } | Refusal> {
  const body = idBody("run", runId);
  const family = await readMetadata(core.db, body);
  if (family === undefined || family.environment_id !== env.id) return notFound("run", runId);
  const refused = [change.operations, change.parentOperations, change.rootOperations].flatMap(
    (operations) => applyOperations({}, operations ?? []).refused,
  );
  if (refused[0] !== undefined) return refuse("request_invalid", refused[0], "operations");
  const own = await changeOne(core, body, change.metadata, change.operations);
  await changeFamily(core, body, family, change);
  return { kind: "updated", metadata: own ?? {} };
}

/** What a task had not sent when it ended travels with its completion. Whatever is wrong with it must not stop the completion. */
export async function applyFlushedMetadata(core: Core, runId: string, completion: TaskRunExecutionResult): Promise<void> {
  const data = completion.flushedMetadata?.data;
  if (data === undefined || data === "") return;
  const change = parseFlushed(data, completion.flushedMetadata?.dataType ?? "application/json");
  if (change === undefined) {
    core.log.warn({ run: runId }, "the metadata that came with a completion is no metadata and was dropped");
    return;
  }
  const family = await readMetadata(core.db, runId);
  if (family === undefined) return;
  await changeOne(core, runId, change.metadata, change.operations);
  await changeFamily(core, runId, family, change);
}

function parseFlushed(data: string, type: string): MetadataChange | undefined {
  let value: unknown;
  try {
    value = JSON.parse(data);
  } catch {
    return undefined;
  }
  if (type === "application/super+json") value = (value as { json?: unknown } | null)?.json;
  const parsed = Flushed.safeParse(value);
  if (!parsed.success) return undefined;
  const { metadata, operations, parentOperations, rootOperations } = parsed.data;
  return {
    ...(metadata === undefined ? {} : { metadata }),
    ...(operations === undefined ? {} : { operations: operations as MetadataOperation[] }),
    ...(parentOperations === undefined ? {} : { parentOperations: parentOperations as MetadataOperation[] }),
    ...(rootOperations === undefined ? {} : { rootOperations: rootOperations as MetadataOperation[] }),
  };
}

/** A run without parent or root is its own, as the SDK has it. */
async function changeFamily(
  core: Core,
  runId: string,
  family: { readonly parent_run_id: string | null; readonly root_run_id: string | null },
  change: MetadataChange,
): Promise<void> {
  if (change.parentOperations !== undefined) await changeOne(core, family.parent_run_id ?? runId, undefined, change.parentOperations);
  if (change.rootOperations !== undefined) await changeOne(core, family.root_run_id ?? runId, undefined, change.rootOperations);
}

async function changeOne(
  core: Core,
  runId: string,
  replacement: Readonly<Record<string, unknown>> | undefined,
  operations: readonly MetadataOperation[] | undefined,
): Promise<Metadata | undefined> {
  return core.db.transaction(async (tx) => {
    const row = await lockMetadata(tx, runId);
    if (row === undefined) return undefined;
    const before = replacement ?? parseMetadata(row.metadata, row.metadata_type);
    const { metadata } = applyOperations(before, operations ?? []);
    if (replacement !== undefined || (operations?.length ?? 0) > 0) await writeMetadata(tx, runId, JSON.stringify(metadata), now(core));
    return metadata;
  });
}

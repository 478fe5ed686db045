import { machinePreset, type StartResult } from "@torpor/contracts";
import type { EnvironmentRef, Refusal, WorkerRef } from "../api.ts";
import { friendly } from "../domain/ids.ts";
import { parseMetadata } from "../domain/metadata.ts";
import { unseal } from "../domain/sealing.ts";
import { nextStep } from "../domain/transitions.ts";
import { lockRun, type RunRow } from "../sql/runs.ts";
import { envVarsOfRun, startFacts, type StartFacts } from "../sql/start.ts";
import { advance } from "./advance.ts";
import { idBody, notFound, now, refuse, type Core } from "./core.ts";
import { wireResult } from "./wire.ts";

export type StartOutcome = { readonly kind: "started"; readonly result: StartResult; readonly environment: EnvironmentRef } | Refusal;

/** Begins an attempt. Of several runners that ask for the same snapshot one gets it; the others are refused without effect (L8). */
export async function startAttempt(
  core: Core,
  encryptionKey: Buffer,
  worker: WorkerRef,
  runId: string,
  snapshotId: string,
): Promise<StartOutcome> {
  const body = idBody("run", runId);
  return core.db.transaction(async (tx) => {
    const [locked, facts, sealed] = await Promise.all([lockRun(tx, body), startFacts(tx, body), envVarsOfRun(tx, body)]);
    if (locked === undefined || facts === undefined) return notFound("run", runId);
    const refusal = whyNotStart(locked, idBody("snapshot", snapshotId), snapshotId);
    if (refusal !== undefined) return refusal;
    const at = now(core);
    const attemptNumber = locked.attempt_number + 1;
    const startedAt = facts.started_at ?? at;
    const run = advance(core, tx, locked, "start", {
      at,
      description: `Attempt ${attemptNumber} started`,
      attemptNumber,
      worker,
      patch: { retry_ready: false, nack_count: 0, ...(facts.started_at === null ? { started_at: at } : {}) },
    });
    const environment = environmentRef(run, facts);
    const userVariables = Object.fromEntries(sealed.map((row) => [row.name, unseal(encryptionKey, row.value_cipher)]));
    const result: StartResult = {
      ...wireResult(run),
      execution: execution(run, facts, environment, at, startedAt),
      envVars: { ...userVariables, ...engineVariables(core, run, environment) },
    };
    return { kind: "started", result, environment };
  });
}

function whyNotStart(run: RunRow, snapshot: string, snapshotId: string): Refusal | undefined {
  const id = friendly("run", run.id);
  if (run.execution_status === "FINISHED") return refuse("run_finished", `Cannot start run ${id}: it has ended with status ${run.status}`);
  if (run.snapshot_id !== snapshot) {
    return refuse(
      "snapshot_stale",
      `Cannot start run ${id}: ${snapshotId} is not its latest snapshot, that is ${friendly("snapshot", run.snapshot_id)}`,
    );
  }
  if (nextStep(run.execution_status, "start") === undefined || (run.execution_status === "EXECUTING" && !run.retry_ready)) {
    return refuse("snapshot_stale", `Cannot start run ${id}: its execution status is ${run.execution_status}`);
  }
  if (run.checkpoint_id !== null)
    return refuse(
      "request_invalid",
      `Cannot start run ${id}: it sleeps and must be restored from ${friendly("checkpoint", run.checkpoint_id)}`,
    );
  if (run.deployment_id === null) return refuse("request_invalid", `Cannot start run ${id}: it is locked to no version`);
  return undefined;
}

function environmentRef(run: RunRow, facts: StartFacts): EnvironmentRef {
  return {
    id: run.environment_id,
    slug: facts.env_slug,
    type: run.environment_type,
    project: { id: facts.project_id, ref: facts.project_ref, slug: facts.project_slug, name: facts.project_name },
    organization: { id: facts.org_id, slug: facts.org_slug, name: facts.org_name },
  };
}

function execution(run: RunRow, facts: StartFacts, env: EnvironmentRef, at: Date, startedAt: Date): StartResult["execution"] {
  const optional = {
    ...(facts.idempotency_key === null ? {} : { idempotencyKey: facts.idempotency_key }),
    ...(run.max_attempts === null ? {} : { maxAttempts: run.max_attempts }),
    ...(facts.version === null ? {} : { version: facts.version }),
    ...(facts.metadata === null ? {} : { metadata: parseMetadata(facts.metadata, facts.metadata_type) }),
    ...(facts.max_duration_seconds === null ? {} : { maxDuration: facts.max_duration_seconds }),
    ...(run.parent_run_id === null ? {} : { parentTaskRunId: friendly("run", run.parent_run_id) }),
    ...(run.root_run_id === null ? {} : { rootTaskRunId: friendly("run", run.root_run_id) }),
  };
  return {
    attempt: { number: run.attempt_number, startedAt: at },
    run: {
      id: friendly("run", run.id),
      payload: facts.payload ?? "",
      payloadType: facts.payload_type,
      createdAt: run.created_at,
      startedAt,
      tags: facts.tags,
      isTest: facts.is_test,
      isReplay: false,
      priority: run.priority,
      baseCostInCents: 0,
      costInCents: 0,
      durationMs: run.duration_ms,
      traceContext: facts.trace_context,
      ...optional,
    },
    task: { id: run.task, filePath: facts.file_path ?? "", ...(facts.export_name === null ? {} : { exportName: facts.export_name }) },
    queue: { id: friendly("queue", facts.queue_id ?? ""), name: run.queue_name },
    environment: { id: env.id, slug: env.slug, type: env.type },
    organization: env.organization,
    project: env.project,
    machine: machinePreset(run.machine ?? "small-1x"),
    ...(run.batch_id === null ? {} : { batch: { id: friendly("batch", run.batch_id) } }),
    ...(facts.short_code === null
      ? {}
      : {
          deployment: {
            id: friendly("deployment", run.deployment_id ?? ""),
            shortCode: facts.short_code,
            version: facts.version ?? "",
            runtime: facts.runtime ?? "node",
            runtimeVersion: "",
          },
        }),
  };
}

/** What the engine knows of the variables that a runner needs; addresses and keys are the platform's to add. */
function engineVariables(core: Core, run: RunRow, env: EnvironmentRef): Record<string, string> {
  const attributes = JSON.stringify({
    run_id: friendly("run", run.id),
    environment_id: env.id,
    project_ref: env.project.ref,
    task: run.task,
  });
  return {
    TRIGGER_RUN_ID: run.id,
    TRIGGER_ORG_ID: env.organization.id,
    TRIGGER_MACHINE_PRESET: run.machine ?? "small-1x",
    HEARTBEAT_INTERVAL_MS: String(core.settings.heartbeatIntervalMs),
    TRIGGER_OTEL_RESOURCE_ATTRIBUTES: attributes,
  };
}

import type { SupervisorConfig } from "../config.ts";
import type { WorkloadAddress } from "../launch/environment.ts";
import type { AsleepRun } from "./asleepRun.ts";

export interface AheadFacts {
  readonly name: string;
  readonly run: AsleepRun;
  readonly address: WorkloadAddress;
}

/** What a runner that is made ready ahead of time reads at its metadata address, and what tells us after a restart that it was. */
export function aheadMetadata(config: SupervisorConfig, { name, run, address }: AheadFacts): Record<string, string> {
  const { serves } = run;
  return {
    TRIGGER_RUNNER_ID: name,
    TRIGGER_RUN_ID: run.runId,
    TRIGGER_SNAPSHOT_ID: run.snapshotId,
    TRIGGER_SUPERVISOR_API_PROTOCOL: address.protocol,
    TRIGGER_SUPERVISOR_API_DOMAIN: address.domain,
    TRIGGER_SUPERVISOR_API_PORT: String(address.port),
    TRIGGER_WORKER_INSTANCE_NAME: config.instanceName,
    TORPOR_ORIGIN: "ahead",
    TORPOR_LINEAGE: run.lineage.join(","),
    ...(run.attemptNumber === null ? {} : { TORPOR_ATTEMPT: String(run.attemptNumber) }),
    TORPOR_CPU: String(run.room.cpu),
    TORPOR_MEMORY_GIB: String(run.room.memoryGib),
    ...(serves === undefined
      ? {}
      : { TORPOR_DEPLOYMENT: serves.deploymentId, TORPOR_VERSION: serves.version, TORPOR_ENVIRONMENT: serves.environmentId }),
  };
}

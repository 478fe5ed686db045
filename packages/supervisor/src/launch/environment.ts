import type { CreateInstanceBody, DequeuedMessage } from "@torpor/contracts";
import type { SupervisorConfig } from "../config.ts";
import type { Served } from "../runners/runner.ts";

/** Where runners reach this supervisor. */
export interface WorkloadAddress {
  readonly protocol: string;
  readonly domain: string;
  readonly port: number;
}

export interface RunnerEnvFacts {
  readonly name: string;
  readonly message: DequeuedMessage;
  /** The plain id, or the token that stands for it. */
  readonly deploymentId: string;
  readonly address: WorkloadAddress;
  readonly nowMs: number;
}

/** The environment of a fresh runner. What its project says of itself (content hash, ref) is in the image. */
export function runnerEnv(config: SupervisorConfig, facts: RunnerEnvFacts): Record<string, string> {
  const { message, address } = facts;
  const { runner } = config;
  return {
    ...runner.additionalEnv,
    OTEL_EXPORTER_OTLP_ENDPOINT: runner.otlpEndpoint,
    TRIGGER_DEQUEUED_AT_MS: String(message.dequeuedAt.getTime()),
    TRIGGER_POD_SCHEDULED_AT_MS: String(Math.round(facts.nowMs)),
    TRIGGER_PROJECT_ID: message.project.id,
    TRIGGER_ENV_ID: message.environment.id,
    TRIGGER_DEPLOYMENT_ID: facts.deploymentId,
    TRIGGER_DEPLOYMENT_FRIENDLY_ID: deploymentIdOf(message),
    TRIGGER_DEPLOYMENT_VERSION: message.backgroundWorker.version,
    TRIGGER_RUN_ID: message.run.friendlyId,
    TRIGGER_SNAPSHOT_ID: message.snapshot.friendlyId,
    TRIGGER_SUPERVISOR_API_PROTOCOL: address.protocol,
    TRIGGER_SUPERVISOR_API_DOMAIN: address.domain,
    TRIGGER_SUPERVISOR_API_PORT: String(address.port),
    TRIGGER_WORKER_INSTANCE_NAME: config.instanceName,
    TRIGGER_RUNNER_ID: facts.name,
    TRIGGER_MACHINE_CPU: String(message.run.machine.cpu),
    TRIGGER_MACHINE_MEMORY: String(message.run.machine.memory),
    TRIGGER_HEARTBEAT_INTERVAL_SECONDS: String(runner.heartbeatSeconds),
    TRIGGER_SNAPSHOT_POLL_INTERVAL_SECONDS: String(runner.pollSeconds),
    PRETTY_LOGS: String(runner.prettyLogs),
    TRIGGER_SEND_RUN_DEBUG_LOGS: String(runner.sendDebugLogs),
    ...warmStartUrl(config, address),
    ...(runner.metadataUrl === undefined ? {} : { TRIGGER_METADATA_URL: runner.metadataUrl }),
  };
}

/** What a restored runner reads at its metadata address: who it is now, and where we are. The runner ignores what it does not know. */
export function restoreMetadata(
  config: SupervisorConfig,
  facts: Pick<RunnerEnvFacts, "name" | "message" | "address"> & { readonly lineage: readonly string[] },
): Record<string, string> {
  const { message, address } = facts;
  return {
    TRIGGER_RUNNER_ID: facts.name,
    TRIGGER_RUN_ID: message.run.friendlyId,
    TRIGGER_SNAPSHOT_ID: message.snapshot.friendlyId,
    TRIGGER_SUPERVISOR_API_PROTOCOL: address.protocol,
    TRIGGER_SUPERVISOR_API_DOMAIN: address.domain,
    TRIGGER_SUPERVISOR_API_PORT: String(address.port),
    TRIGGER_WORKER_INSTANCE_NAME: config.instanceName,
    ...placementNotes(message, facts.lineage, "restored"),
  };
}

/** What the gateway keeps beside a fresh sandbox. */
export function createMetadata(message: DequeuedMessage): CreateInstanceBody["metadata"] {
  return {
    runId: message.run.friendlyId,
    envId: message.environment.id,
    envType: message.environment.type,
    orgId: message.organization.id,
    projectId: message.project.id,
    deploymentVersion: message.backgroundWorker.version,
    machine: message.run.machine.name,
    TRIGGER_RUN_ID: message.run.friendlyId,
    TRIGGER_SNAPSHOT_ID: message.snapshot.friendlyId,
    ...placementNotes(message, [], "fresh"),
  };
}

/** A broker that the operator names is asked by the runners themselves; otherwise they ask here. */
function warmStartUrl(config: SupervisorConfig, { protocol, domain, port }: WorkloadAddress): Record<string, string> {
  if (config.runner.warmStartUrl !== undefined) return { TRIGGER_WARM_START_URL: config.runner.warmStartUrl };
  return config.warmStart.kind === "off" ? {} : { TRIGGER_WARM_START_URL: `${protocol}://${domain}:${port}` };
}

/** Whose runs a sandbox made for this run may execute. */
export function servedBy(message: DequeuedMessage): Served {
  return { deploymentId: deploymentIdOf(message), version: message.backgroundWorker.version, environmentId: message.environment.id };
}

/** Enough to know a sandbox again after a restart of this process (see adopt.ts). */
function placementNotes(message: DequeuedMessage, lineage: readonly string[], origin: "fresh" | "restored"): Record<string, string> {
  return {
    TORPOR_ORIGIN: origin,
    TORPOR_LINEAGE: lineage.join(","),
    TORPOR_ATTEMPT: String(message.run.attemptNumber),
    TORPOR_CPU: String(message.run.machine.cpu),
    TORPOR_MEMORY_GIB: String(message.run.machine.memory),
    TORPOR_DEPLOYMENT: deploymentIdOf(message),
    TORPOR_VERSION: message.backgroundWorker.version,
    TORPOR_ENVIRONMENT: message.environment.id,
  };
}

export function deploymentIdOf(message: DequeuedMessage): string {
  return message.deployment.friendlyId ?? message.deployment.id ?? message.backgroundWorker.friendlyId;
}

/** A tag that is followed by a digest stands alone: gateways that pull by tag want it so. An image that only has a digest keeps it. */
export function imageReference(image: string): string {
  const at = image.indexOf("@sha256:");
  if (at === -1) return image;
  const name = image.slice(0, at);
  return name.lastIndexOf(":") > name.lastIndexOf("/") ? name : image;
}

import { TELEMETRY_HEADER, type StartResult } from "@torpor/contracts";
import type { EnvironmentRef } from "@torpor/engine";
import type { Identities } from "../auth/identities.ts";
import type { Origins } from "../origins.ts";
import { telemetryToken } from "../telemetry/token.ts";

export interface TaskEnvironmentOptions {
  readonly identities: Identities;
  readonly origins: Pick<Origins, "sandbox" | "otlp">;
}

/** Spans and logs go out in batches: one request per span would be most of a task's traffic. */
const BATCHING: Readonly<Record<string, string>> = {
  TRIGGER_OTEL_BATCH_PROCESSING_ENABLED: "1",
  TRIGGER_OTEL_SPAN_MAX_EXPORT_BATCH_SIZE: "512",
  TRIGGER_OTEL_SPAN_SCHEDULED_DELAY_MILLIS: "200",
  TRIGGER_OTEL_SPAN_MAX_QUEUE_SIZE: "2048",
  TRIGGER_OTEL_LOG_MAX_EXPORT_BATCH_SIZE: "512",
  TRIGGER_OTEL_LOG_SCHEDULED_DELAY_MILLIS: "200",
  TRIGGER_OTEL_LOG_MAX_QUEUE_SIZE: "2048",
  // Nobody reads metrics of tasks yet: they need not be measured every ten seconds.
  TRIGGER_OTEL_METRICS_COLLECTION_INTERVAL_MILLIS: "60000",
  TRIGGER_OTEL_METRICS_EXPORT_INTERVAL_MILLIS: "300000",
};

/** The variables that an attempt runs with: the user's, and what the SDK needs to call back. Ours win. */
export class TaskEnvironment {
  readonly #options: TaskEnvironmentOptions;

  constructor(options: TaskEnvironmentOptions) {
    this.#options = options;
  }

  async variables(start: StartResult, env: EnvironmentRef): Promise<Record<string, string>> {
    const { identities, origins } = this.#options;
    const apiKey = await identities.apiKeyOf(env.id);
    const attributes = resourceAttributes(env);
    return {
      ...BATCHING,
      ...telemetryHeaders(start.envVars, telemetryToken(env.id, apiKey)),
      ...start.envVars,
      TRIGGER_SECRET_KEY: apiKey,
      TRIGGER_API_URL: origins.sandbox,
      TRIGGER_STREAM_URL: origins.sandbox,
      TRIGGER_RUN_ID: start.run.id,
      TRIGGER_ORG_ID: env.organization.id,
      TRIGGER_MACHINE_PRESET: start.execution.machine.name,
      TRIGGER_OTEL_EXPORTER_OTLP_ENDPOINT: origins.otlp,
      TRIGGER_OTEL_RESOURCE_ATTRIBUTES: JSON.stringify(attributes),
      OTEL_RESOURCE_ATTRIBUTES: Object.entries(attributes)
        .map(([key, value]) => `${key}=${encodeURIComponent(value)}`)
        .join(","),
    };
  }
}

/** The same for all runs of an environment: a process that is kept warm reads them once, for many runs. */
function resourceAttributes(env: EnvironmentRef): Record<string, string> {
  return {
    "ctx.environment.id": env.id,
    "ctx.environment.type": env.type,
    "ctx.organization.id": env.organization.id,
    "ctx.organization.slug": env.organization.slug,
    "ctx.project.id": env.project.id,
    "ctx.project.ref": env.project.ref,
  };
}

/** A user who sends elsewhere too has set the headers for that place; then the sandbox's spans come without our proof. */
function telemetryHeaders(user: Readonly<Record<string, string>>, token: string): Record<string, string> {
  return user["OTEL_EXPORTER_OTLP_HEADERS"] === undefined ? { OTEL_EXPORTER_OTLP_HEADERS: `${TELEMETRY_HEADER}=${token}` } : {};
}

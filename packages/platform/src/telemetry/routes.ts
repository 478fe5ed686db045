import type { IncomingHttpHeaders } from "node:http";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { TELEMETRY_HEADER, TorporError, telemetry } from "@torpor/contracts";
import type { EngineForEnvironment } from "@torpor/engine";
import { Answer, type Mounted } from "@torpor/http";
import type { Clock } from "@torpor/kernel";
import { mount } from "../auth/callers.ts";
import type { Identities } from "../auth/identities.ts";
import { requireScope } from "../auth/scopes.ts";
import { found } from "../refusal.ts";
import type { TelemetryIntake, Told } from "./intake.ts";
import { parseLogs, parseTraces } from "./otlp.ts";
import type { TelemetryStore } from "./store.ts";
import { environmentOfToken } from "./token.ts";
import { traceOf } from "./trace.ts";

export interface TelemetryDeps {
  readonly engine: Pick<EngineForEnvironment, "getRun">;
  readonly identities: Identities;
  readonly intake: Pick<TelemetryIntake, "take">;
  readonly store: Pick<TelemetryStore, "spansOf" | "logsOf">;
  readonly clock: Clock;
}

const unzip = promisify(gunzip);
/** What a compressed body may grow to. */
const MAX_UNZIPPED_BYTES = 16 * 1024 * 1024;

export function telemetryRoutes(deps: TelemetryDeps): Mounted[] {
  return [...sinkRoutes(deps), ...readRoutes(deps)];
}

function sinkRoutes(deps: TelemetryDeps): Mounted[] {
  const { intake, clock } = deps;
  const sink = async (body: Buffer, headers: IncomingHttpHeaders, rowsOf: (json: unknown, now: Date) => Pick<Told, "spans" | "logs">) => {
    const json = await readJson(body, headers);
    if (json === undefined) return new Answer({ error: "Cannot read this content type: send application/json" }, { status: 415 });
    const environmentId = await provenEnvironment(headers, deps.identities);
    // More than can be taken is no error for a task: it would only send it again.
    intake.take({ ...rowsOf(json, new Date(clock.nowMs())), environmentId });
    return {};
  };
  return [
    mount(telemetry.traces, ({ body, headers }) => sink(body, headers, (json, now) => ({ spans: parseTraces(json, now).rows, logs: [] }))),
    mount(telemetry.logs, ({ body, headers }) => sink(body, headers, (json, now) => ({ spans: [], logs: parseLogs(json, now).rows }))),
    mount(telemetry.metrics, async () => ({})),
  ];
}

function readRoutes(deps: TelemetryDeps): Mounted[] {
  const { engine, store, clock } = deps;
  return [
    mount(telemetry.runTrace, async ({ params, caller }) => {
      requireScope(caller, "read", { type: "runs", id: params.runId });
      const run = found(await engine.getRun(caller.env, params.runId), "run", params.runId);
      return { trace: traceOf(run, await store.spansOf(run.id), new Date(clock.nowMs())) };
    }),
    mount(telemetry.runLogs, async ({ params, query, caller }) => {
      requireScope(caller, "read", { type: "runs", id: params.runId });
      const run = found(await engine.getRun(caller.env, params.runId), "run", params.runId);
      const lines = await store.logsOf(run.id, query.after ?? "0", query.limit);
      return { logs: lines.map(({ line }) => line), next: lines.length < query.limit ? null : (lines.at(-1)?.number ?? null) };
    }),
  ];
}

/** The body as JSON, or undefined when it says that it is something else. */
async function readJson(body: Buffer, headers: IncomingHttpHeaders): Promise<unknown> {
  if (/protobuf/i.test(headers["content-type"] ?? "")) return undefined;
  const encoding = headers["content-encoding"] ?? "identity";
  if (encoding !== "identity" && encoding !== "gzip") return undefined;
  try {
    const plain = encoding === "gzip" ? await unzip(body, { maxOutputLength: MAX_UNZIPPED_BYTES }) : body;
    return JSON.parse(plain.toString("utf8")) ?? null;
  } catch (error) {
    const code = error instanceof RangeError ? "body_too_large" : "body_malformed";
    throw new TorporError(code, `Cannot read the body: ${(error as Error).message}`, { param: "body", cause: error });
  }
}

/** Nothing when the sender shows no proof; a proof that is false is refused. */
async function provenEnvironment(headers: IncomingHttpHeaders, identities: Identities): Promise<string | undefined> {
  const token = headers[TELEMETRY_HEADER];
  if (typeof token !== "string") return undefined;
  const apiKeyOf = async (id: string): Promise<string | undefined> =>
    (await identities.environmentById(id)) === null ? undefined : identities.apiKeyOf(id);
  const environmentId = await environmentOfToken(token, apiKeyOf);
  if (environmentId === undefined)
    throw new TorporError("unauthenticated", `Cannot authenticate: ${TELEMETRY_HEADER} is not a token that was handed out`);
  return environmentId;
}

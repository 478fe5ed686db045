import {
  admin,
  deployments,
  sdkRuns,
  sdkWaits,
  workerActions,
  type CreateDeploymentBody,
  type DequeuedMessage,
  type Route,
  type StartResult,
} from "@torpor/contracts";
import { RouteClient, type CallInput } from "@torpor/http";
import { Scope, systemClock, systemRandom, type Closable } from "@torpor/kernel";
import { createMetrics, silentLog } from "@torpor/observe";
import { freshDatabase } from "@torpor/testkit";
import { readConfig } from "../config.ts";
import { startPlatform } from "../platform.ts";

// A platform with a real engine on a real PostgreSQL, and those who call it.

const ADMIN_TOKEN = "admin-token-of-the-tests";
export const MANAGED_SECRET = "managed-secret-of-the-tests";
export const WORKER_TOKEN = "tr_wgt_0123456789012345678901234567890123456789";

export interface Reply {
  readonly status: number;
  readonly headers: Headers;
  // Replies of a black box: tests look at what they expect in them.
  readonly json: Record<string, unknown>;
}

export interface TestPlatform extends Closable {
  readonly url: string;
  readonly databaseUrl: string;
  readonly apiKey: string;
  readonly environmentId: string;
  readonly projectRef: string;
  /** Calls with the key of the production environment. */
  readonly sdk: RouteClient;
  readonly worker: RouteClient;
  readonly operator: RouteClient;
  /** A plain request; the key is sent unless another is given, and the body as JSON unless it is text. */
  request(
    method: string,
    path: string,
    options?: { body?: unknown; headers?: Record<string, string>; key?: string | null },
  ): Promise<Reply>;
  close(): Promise<void>;
}

export interface TestPlatformOptions {
  readonly env?: Record<string, string>;
  /** Shares the database of another platform. */
  readonly databaseUrl?: string;
}

export const NAP: CreateDeploymentBody = {
  imageReference: "torpor/proj_test@sha256:0",
  contentHash: "hash",
  runtime: "node",
  sdkVersion: "4.8.3",
  cliVersion: "4.8.3",
  manifest: {
    tasks: [
      { id: "nap", filePath: "src/nap.ts", exportName: "nap" },
      { id: "group/other task", filePath: "src/other.ts", queue: { name: "shared", concurrencyLimit: 3 } },
    ],
  },
};

export async function startTestPlatform(options: TestPlatformOptions = {}): Promise<TestPlatform> {
  const scope = new Scope();
  const databaseUrl = options.databaseUrl ?? scope.use(await freshDatabase()).connectionString;
  const env = {
    DATABASE_URL: databaseUrl,
    PORT: "0",
    MANAGED_WORKER_SECRET: MANAGED_SECRET,
    TRIGGER_WORKER_TOKEN: WORKER_TOKEN,
    TORPOR_ADMIN_TOKEN: ADMIN_TOKEN,
    TORPOR_ENCRYPTION_KEY: "0123456789abcdef".repeat(4),
    TORPOR_DEQUEUE_WAIT_MS: "300",
    TORPOR_DATABASE_POOL_SIZE: "6",
    ...options.env,
  };
  const platform = scope.use(
    await startPlatform(readConfig(env), {
      clock: systemClock,
      random: systemRandom,
      log: silentLog,
      metrics: createMetrics({ withProcess: false }),
    }),
  );
  const client = (headers: Record<string, string>): RouteClient =>
    scope.use(new RouteClient({ baseUrl: platform.url, timeoutMs: 20_000, headers: () => headers }));
  const operator = client({ authorization: `Bearer ${ADMIN_TOKEN}` });
  const { environments } = ok(await operator.call(admin.ensureProject, { body: { ref: "proj_test", name: "Test" } }));
  const production = environments.find(({ type }) => type === "PRODUCTION");
  if (production === undefined) throw new Error("Cannot find the production environment");
  const { apiKey } = production;
  return {
    url: platform.url,
    databaseUrl,
    apiKey,
    environmentId: production.id,
    projectRef: "proj_test",
    operator,
    sdk: client({ authorization: `Bearer ${apiKey}`, "x-trigger-api-version": "2025-07-16" }),
    worker: client(workerHeaders()),
    request: (method, path, input = {}) =>
      request(`${platform.url}${path}`, method, input.key === undefined ? { ...input, key: apiKey } : input),
    close: () => scope.close(),
  };
}

export function workerHeaders(instanceName = "node-1"): Record<string, string> {
  return {
    authorization: `Bearer ${WORKER_TOKEN}`,
    "x-trigger-worker-managed-secret": MANAGED_SECRET,
    "x-trigger-worker-instance-name": instanceName,
    "x-trigger-worker-runner-id": "runner-1",
  };
}

async function request(
  url: string,
  method: string,
  { body, headers, key }: { body?: unknown; headers?: Record<string, string>; key?: string | null },
): Promise<Reply> {
  const response = await fetch(url, {
    method,
    headers: {
      "content-type": "application/json",
      "x-trigger-api-version": "2025-07-16",
      ...(typeof key !== "string" ? {} : { authorization: `Bearer ${key}` }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  return { status: response.status, headers: response.headers, json: (text === "" ? {} : JSON.parse(text)) as Record<string, unknown> };
}

/** The body of a call that worked; anything else fails the test with what came instead. */
export function ok<T>(outcome: { readonly kind: string; readonly body?: T }): T {
  if (outcome.kind !== "ok") throw new Error(`expected success, got ${JSON.stringify(outcome)}`);
  return outcome.body as T;
}

export async function deployNap(platform: TestPlatform): Promise<string> {
  return ok(await platform.sdk.call(deployments.create, { body: NAP })).version;
}

export async function trigger(
  platform: TestPlatform,
  body: CallInput<typeof sdkRuns.trigger>["body"] = {},
  taskId = "nap",
): Promise<string> {
  return ok(await platform.sdk.call(sdkRuns.trigger, { params: { taskId }, body })).id;
}

export async function dequeue(platform: TestPlatform): Promise<DequeuedMessage> {
  const messages = ok(await platform.worker.call(workerActions.dequeue, { body: {} }));
  const [message] = messages;
  if (message === undefined) throw new Error("expected a run to be handed out");
  return message;
}

export interface Started {
  readonly message: DequeuedMessage;
  readonly runId: string;
  readonly start: StartResult;
  /** Of the attempt that was started. */
  readonly snapshotId: string;
}

/** Hands out a run and starts its attempt. */
export async function dequeueAndStart(platform: TestPlatform): Promise<Started> {
  const message = await dequeue(platform);
  const params = { runId: message.run.friendlyId, snapshotId: message.snapshot.friendlyId };
  const start = ok(await platform.worker.call(workerActions.startAttempt, { params, body: {} }));
  return { message, runId: params.runId, start, snapshotId: start.snapshot.friendlyId };
}

export async function completeOk(
  platform: TestPlatform,
  started: { readonly runId: string; readonly snapshotId: string },
  output = '{"json":{"slept":true}}',
): Promise<void> {
  const completion = { ok: true as const, id: started.runId, output, outputType: "application/super+json" };
  ok(
    await platform.worker.call(workerActions.completeAttempt, {
      params: { runId: started.runId, snapshotId: started.snapshotId },
      body: { completion },
    }),
  );
}

/** A run that is executed and waits for a token. */
export async function runWaitingForToken(platform: TestPlatform): Promise<{ started: Started; tokenId: string }> {
  await trigger(platform);
  const started = await dequeueAndStart(platform);
  const token = ok(await platform.sdk.call(sdkWaits.createToken, { body: { timeout: "1h" } }));
  ok(await platform.sdk.call(sdkWaits.waitForToken, { params: { runId: started.runId, tokenId: token.id } }));
  return { started, tokenId: token.id };
}

/** Path of a declared route with its parameters filled in. */
export function pathOf(route: unknown, params: Record<string, string>): string {
  return (route as Route).path.replace(/:(\w+)/g, (_match, name: string) => encodeURIComponent(params[name] ?? ""));
}

/** Asks until the answer is there, or fails after 30 s. */
export async function eventually<T>(what: string, ask: () => Promise<T | undefined>): Promise<T> {
  const deadlineMs = performance.now() + 30_000;
  while (performance.now() < deadlineMs) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`waited 30 s in vain for ${what}`);
}

/** Cancels every run that earlier tests have left behind, so that the next one to be handed out is the test's own. */
export async function cancelAll(platform: TestPlatform): Promise<void> {
  const { data } = ok(await platform.sdk.call(sdkRuns.list, { query: { "page[size]": 100 } }));
  for (const run of data) if (!run.isCompleted) ok(await platform.sdk.call(sdkRuns.cancel, { params: { runId: run.id } }));
}

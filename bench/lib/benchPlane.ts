import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { buildImage } from "@torpor/image";
import { environmentKey, gatewayClient, registerImage, removePlane, startPlane, unwrap, type Plane } from "@torpor/cli";
import { sdkRuns, sdkWaits, type RetrievedRun, type TimelineLineView } from "@torpor/contracts";
import { RouteClient } from "@torpor/http";
import { Scope, type Closable } from "@torpor/kernel";

export interface BenchPlaneOptions {
  readonly repoDir: string;
  readonly stateDir: string;
  readonly driver: "gvisor" | "process";
  readonly env: Readonly<Record<string, string>>;
  /** Project to deploy, from the repository's folder. Default: `examples/nap`. */
  readonly project?: string;
  /** Each part of the node as a process of its own, so that it can be killed alone. */
  readonly splitNode?: boolean;
}

/** A plane of its own with a project on it; `close` leaves nothing behind. */
export interface BenchPlane extends Closable {
  readonly plane: Plane;
  readonly node: RouteClient;
  /** Client of the SDK's API. */
  readonly sdk: RouteClient;
  trigger(task: string, payload: unknown): Promise<string>;
  run(runId: string): Promise<RetrievedRun>;
  timeline(runId: string): Promise<readonly TimelineLineView[]>;
  /** Waits until `done` holds of the run. */
  until(runId: string, done: (run: RetrievedRun) => boolean, options?: { readonly limitMs: number }): Promise<RetrievedRun>;
  /** Completes the token that a run of the task `token` waits for. Resolves with the wall time at which that was asked. */
  complete(runId: string): Promise<number>;
}

const POLL_MS = 50;
const RUN_LIMIT_MS = 120_000;

/** Starts the plane and deploys the project. */
export async function startBenchPlane(options: BenchPlaneOptions): Promise<BenchPlane> {
  const { repoDir, stateDir, driver, env, project = "examples/nap", splitNode = false } = options;
  const scope = new Scope();
  closeWhenAsked(scope);
  const dataDir = mkdtempSync(join(stateDir, "bench-"));
  scope.defer(() => rmSync(dataDir, { recursive: true, force: true }));
  const say = (text: string): void => console.error(text);
  const plane = await startPlane({
    dataDir,
    repoDir,
    stateDir,
    driver,
    env,
    splitNode,
    onProgress: () => {},
    onUnexpectedExit: (part, how) => say(`${part} ended: ${how}`),
  });
  scope.defer(() => removePlane({ planeId: plane.file.planeId, dataDir, env }));
  scope.use(plane);
  const built = await buildImage({ projectDir: join(repoDir, project), stateDir, progress: () => {} });
  if (built.kind === "rejected") throw new Error(`Cannot build ${project}: ${JSON.stringify(built.error)}`);
  const apiKey = await environmentKey(plane.file, built.stored.image.projectRef, "prod");
  await registerImage({ apiUrl: plane.file.apiUrl, apiKey, stored: built.stored });
  const headers = { authorization: `Bearer ${apiKey}`, "x-trigger-api-version": "2025-07-16" };
  const sdk = scope.use(new RouteClient({ baseUrl: plane.file.apiUrl, timeoutMs: 30_000, headers: () => headers }));
  const run = async (runId: string): Promise<RetrievedRun> => unwrap(await sdk.call(sdkRuns.retrieve, { params: { runId } }));
  return {
    plane,
    node: scope.use(gatewayClient(plane.file)),
    sdk,
    trigger: async (task, payload) => unwrap(await sdk.call(sdkRuns.trigger, { params: { taskId: task }, body: { payload } })).id,
    run,
    timeline: async (runId) => unwrap(await sdk.call(sdkRuns.timeline, { params: { runId } })).events,
    until: (runId, done, { limitMs } = { limitMs: RUN_LIMIT_MS }) => pollUntil(() => run(runId), done, limitMs),
    complete: async (runId) => {
      const { data } = unwrap(await sdk.call(sdkWaits.listTokens, { query: { "page[size]": 10, "filter[tags]": `run:${runId}` } }));
      const askedMs = Date.now();
      for (const { id } of data) unwrap(await sdk.call(sdkWaits.completeToken, { params: { tokenId: id }, body: { data: {} } }));
      return askedMs;
    },
    close: () => scope.close(),
  };
}

/** A measurement that is cut off leaves no plane behind. */
function closeWhenAsked(scope: Scope): void {
  const close = (): void => {
    console.error("stopping");
    void scope.close().finally(() => process.exit(130));
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, close);
    scope.defer(() => void process.removeListener(signal, close));
  }
}

async function pollUntil<T>(look: () => Promise<T>, done: (seen: T) => boolean, limitMs: number): Promise<T> {
  const deadlineMs = performance.now() + limitMs;
  for (;;) {
    const seen = await look();
    if (done(seen)) return seen;
    if (performance.now() > deadlineMs) throw new Error(`Cannot go on: not done after ${limitMs / 1000} s: ${JSON.stringify(seen)}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

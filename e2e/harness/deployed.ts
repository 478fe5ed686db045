import {
  sdkRuns,
  sdkWaits,
  type InstanceView,
  type MemoryImageView,
  type RetrievedRun,
  type TimelineLineView,
  type TriggerOptionsBody,
} from "@torpor/contracts";
import { RouteClient } from "@torpor/http";
import { answered } from "./answered.ts";
import type { TestPlane } from "./testPlane.ts";
import { SOON_MS, until } from "./until.ts";

type Matches = (event: TimelineLineView) => boolean;

/** A project on a plane: its runs, as its users see them, and the sandboxes behind them. */
export class Deployed {
  readonly apiKey: string;
  readonly #plane: TestPlane;
  #client: RouteClient | undefined;

  constructor(apiKey: string, plane: TestPlane) {
    this.apiKey = apiKey;
    this.#plane = plane;
  }

  /** The platform may have moved. */
  async connect(apiUrl: string): Promise<void> {
    await this.close();
    const headers = { authorization: `Bearer ${this.apiKey}`, "x-trigger-api-version": "2025-07-16" };
    this.#client = new RouteClient({ baseUrl: apiUrl, timeoutMs: 10_000, headers: () => headers });
  }

  async close(): Promise<void> {
    await this.#client?.close();
    this.#client = undefined;
  }

  /** Client of the SDK's API, for calls that have no method here. */
  get client(): RouteClient {
    if (this.#client === undefined) throw new Error("this plane is not up");
    return this.#client;
  }

  async trigger(task: string, payload: unknown = {}, options: TriggerOptionsBody = {}): Promise<string> {
    const idempotencyKey = `test-${performance.timeOrigin + performance.now()}-${Math.random()}`; // asked again after a fault, it is the same run
    const body = { payload, options: { idempotencyKey, ...options } };
    return (await answered(() => this.client.call(sdkRuns.trigger, { params: { taskId: task }, body }))).id;
  }

  async cancel(runId: string): Promise<void> {
    await answered(() => this.client.call(sdkRuns.cancel, { params: { runId } }));
  }

  async run(runId: string): Promise<RetrievedRun> {
    return await answered(() => this.client.call(sdkRuns.retrieve, { params: { runId } }));
  }

  async timeline(runId: string): Promise<TimelineLineView[]> {
    return (await answered(() => this.client.call(sdkRuns.timeline, { params: { runId } }))).events;
  }

  /** Names of what happened to a run, in order: `SUSPENDED`, `snapshot.frozen`, … */
  async events(runId: string): Promise<string[]> {
    return (await this.timeline(runId)).map(({ name }) => name);
  }

  async createToken(): Promise<string> {
    return (await answered(() => this.client.call(sdkWaits.createToken, { body: { timeout: "1h" } }))).id;
  }

  async completeToken(tokenId: string, data: unknown = "done"): Promise<void> {
    await answered(() => this.client.call(sdkWaits.completeToken, { params: { tokenId }, body: { data } }));
  }

  /** The token that a run of the example's `token` task waits for. */
  async tokenOf(runId: string): Promise<string> {
    const query = { "page[size]": 10, "filter[tags]": `run:${runId}` };
    const find = async (): Promise<string | undefined> =>
      (await answered(() => this.client.call(sdkWaits.listTokens, { query }))).data[0]?.id;
    return await until(`${runId} has made its token`, find, { seen: () => this.story(runId) });
  }

  /** How often each line of a `steps` run was noted, by `attempt:line`. */
  async lines(runId: string): Promise<Record<string, number>> {
    const query = { "page[size]": 100, "filter[tags]": `lines:${runId}` };
    const { data } = await answered(() => this.client.call(sdkWaits.listTokens, { query }));
    const counts: Record<string, number> = {};
    for (const { tags } of data.toReversed()) {
      const line = tags.find((tag) => tag.startsWith("line:"))?.slice("line:".length) ?? "unnamed";
      counts[line] = (counts[line] ?? 0) + 1;
    }
    return counts;
  }

  /** The sandbox of a run, if it has one. */
  async sandboxOf(runId: string): Promise<InstanceView | undefined> {
    return (await this.#plane.instances()).find(({ metadata }) => metadata["TRIGGER_RUN_ID"] === runId || metadata["runId"] === runId);
  }

  /** Memory images of a run: they are named after its runner. */
  async memoryImagesOf(runId: string): Promise<MemoryImageView[]> {
    return (await this.#plane.memoryImages()).filter(({ instanceName }) => instanceName.includes(runId.replace("run_", "")));
  }

  /** Resolves with the run's sandbox as soon as it is in one of the states. */
  async untilSandbox(runId: string, ...states: InstanceView["state"][]): Promise<InstanceView> {
    const look = async (): Promise<InstanceView | undefined> => {
      const sandbox = await this.sandboxOf(runId);
      return sandbox !== undefined && states.includes(sandbox.state) ? sandbox : undefined;
    };
    return await until(`the sandbox of ${runId} is ${states.join(" or ")}`, look, { everyMs: 5, seen: () => this.story(runId) });
  }

  async untilLine(runId: string, line: string): Promise<void> {
    const look = async (): Promise<true | undefined> => (line in (await this.lines(runId)) ? true : undefined);
    await until(`${runId} has noted "${line}"`, look, { seen: () => this.story(runId) });
  }

  /** Resolves when the run is asleep: suspended, and its sandbox gone. */
  async untilAsleep(runId: string): Promise<void> {
    const look = async (): Promise<true | undefined> =>
      (await this.run(runId)).status === "WAITING" && (await this.sandboxOf(runId)) === undefined ? true : undefined;
    await until(`${runId} is asleep`, look, { seen: () => this.story(runId) });
  }

  /** Resolves when something stands in the run's timeline, with it. */
  async untilEvent(runId: string, name: string, matches: Matches = () => true): Promise<TimelineLineView> {
    const look = async (): Promise<TimelineLineView | undefined> =>
      (await this.timeline(runId)).find((event) => event.name === name && matches(event));
    return await until(`${runId} has had ${name}`, look, { everyMs: 20, seen: () => this.story(runId) });
  }

  async untilEnded(runId: string, withinMs: number = SOON_MS): Promise<RetrievedRun> {
    const look = async (): Promise<RetrievedRun | undefined> => {
      const run = await this.run(runId);
      return run.isCompleted || run.isFailed || run.isCancelled ? run : undefined;
    };
    return await until(`${runId} has ended`, look, { withinMs, everyMs: 100, seen: () => this.story(runId) });
  }

  /** What a reader needs to see when a test waits in vain. */
  async story(runId: string): Promise<unknown> {
    const run = await this.run(runId);
    return {
      status: run.status,
      attempts: run.attemptCount,
      error: run.error,
      timeline: (await this.timeline(runId)).map(({ at, name, reason, properties }) =>
        [at.toISOString().slice(14), name, reason, properties?.["phase"]].filter(Boolean).join(" "),
      ),
      sandboxes: (await this.#plane.instances()).map(({ name, state }) => `${name} ${state}`),
      exits: this.#plane.unexpectedExits,
    };
  }
}

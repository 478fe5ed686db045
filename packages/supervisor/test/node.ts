// A node for tests: the real supervisor between a small platform and a small gateway, on a clock that the test turns.
import type { WaitFacts } from "@torpor/contracts";
import { ManualClock, type Random } from "@torpor/kernel";
import { createMetrics, silentLog } from "@torpor/observe";
import type { RouteCaller } from "../src/callers.ts";
import { readConfig } from "../src/config.ts";
import { createCore, type Core } from "../src/core.ts";
import { snapshotComplete } from "../src/workload/routes.ts";
import { FakeGateway } from "./fakeGateway.ts";
import { FakePlatform } from "./fakePlatform.ts";
import { Loopback } from "./loopback.ts";
import { TestRunner } from "./runner.ts";

export const ENV = {
  TRIGGER_API_URL: "http://platform.test",
  TRIGGER_WORKER_TOKEN: "tr_wgt_test",
  MANAGED_WORKER_SECRET: "managed-secret-value",
  OTEL_EXPORTER_OTLP_ENDPOINT: "http://platform.test/otel",
  TRIGGER_WORKER_INSTANCE_NAME: "node-1",
  COMPUTE_GATEWAY_URL: "http://127.0.0.1:1",
  COMPUTE_GATEWAY_AUTH_TOKEN: "gateway-token",
  COMPUTE_SNAPSHOTS_ENABLED: "true",
  /** Most tests are about what happens once a run is to sleep; those about when it is take it away. */
  COMPUTE_SNAPSHOT_DELAY_MS: "5000",
  METRICS_ENABLED: "false",
};

export interface NodeOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly foreignPlatform?: boolean;
  readonly foreignGateway?: boolean;
  readonly addresses?: boolean;
  readonly broker?: Loopback;
}

/** Repeats the same for the same seed. */
function seeded(): Random {
  let state = 1;
  const next = (): number => (state = (state * 48_271) % 2_147_483_647);
  return { unit: () => 0.5, bytes: (length) => Uint8Array.from({ length }, () => next() % 256) };
}

export class TestNode {
  readonly clock = new ManualClock();
  readonly platform: FakePlatform;
  readonly gateway: FakeGateway;
  readonly platformLink: Loopback;
  readonly gatewayLink: Loopback;
  readonly subscribed = new Set<string>();
  readonly notified: string[] = [];
  /** What was told as an error: nothing, unless something went wrong unforeseen. */
  readonly errors: string[] = [];
  #options: NodeOptions;
  #stop = new AbortController();
  /** The process that this core stands for; a killed one neither calls nor hears anybody any more. */
  #life = new AbortController();
  core: Core;
  /** The workload API, as runners reach it. */
  workload: Loopback;

  constructor(options: NodeOptions = {}) {
    this.#options = options;
    this.platform = new FakePlatform({ clock: this.clock, isOurs: options.foreignPlatform !== true });
    this.gateway = new FakeGateway({
      clock: this.clock,
      token: ENV.COMPUTE_GATEWAY_AUTH_TOKEN,
      isOurs: options.foreignGateway !== true,
      addresses: options.addresses === true,
      deliver: async (body, headers) => await this.deliver(body, headers),
    });
    this.platformLink = new Loopback(this.platform.routes());
    this.gatewayLink = new Loopback(this.gateway.routes());
    this.core = this.#build();
    this.workload = this.#serve();
    this.platform.onNotify = (runId) => {
      if (this.subscribed.has(runId)) void this.core.onNotify(runId);
    };
  }

  /** Starts taking runs. */
  async start(): Promise<this> {
    await this.core.presence.connect();
    await this.core.room.refresh();
    await this.core.caretaker.look({ atStart: true });
    this.core.events.start();
    this.core.consumers.start();
    await this.clock.advance(0);
    return this;
  }

  /** What a `kill -9` and a new start leave: everything in memory is gone. */
  async restart(): Promise<void> {
    this.kill();
    await this.start();
  }

  kill(): void {
    this.#life.abort();
    this.#stop.abort();
    this.subscribed.clear();
    void this.core.consumers.drain();
    void this.core.events.close();
    this.#stop = new AbortController();
    this.core = this.#build();
    this.workload = this.#serve();
  }

  async deliver(body: Buffer, headers: Record<string, string>): Promise<number> {
    const outcome = await this.workload.call(snapshotComplete, { body, headers });
    return outcome.kind === "unreachable" ? 0 : outcome.status;
  }

  /** A run that is triggered, placed and started; returns its runner. */
  async executing(): Promise<TestRunner> {
    const before = new Set(this.gateway.names());
    const runId = this.platform.trigger();
    const fresh = (): string | undefined => this.gateway.names().find((one) => !before.has(one));
    await this.clock.advance(10);
    // Signing a token is done by another thread, which our clock does not move.
    for (let round = 0; fresh() === undefined && round < 4_000; round++) await new Promise((resolve) => setTimeout(resolve, 5));
    const name = fresh();
    if (name === undefined) throw new Error("no sandbox was made");
    const runner = new TestRunner(this, runId, name);
    await runner.start();
    return runner;
  }

  /** The same, waiting, and asked to be put to sleep. */
  async waiting(): Promise<TestRunner> {
    const runner = await this.executing();
    runner.snapshotId = this.platform.block(runner.runId);
    await runner.suspend();
    return runner;
  }

  /** The same, of a run of whose wait the platform tells what it knows; the runner has seen that. */
  async waitingFor(wait: { readonly inMs: number | null; readonly types?: WaitFacts["types"] }): Promise<TestRunner> {
    const runner = await this.executing();
    const knownEndAt = wait.inMs === null ? {} : { knownEndAt: new Date(this.clock.nowMs() + wait.inMs) };
    this.platform.block(runner.runId, undefined, { types: wait.types ?? ["DATETIME"], ...knownEndAt });
    await runner.since();
    await runner.suspend();
    return runner;
  }

  /** The same, asleep. */
  async asleep(): Promise<TestRunner> {
    const runner = await this.waiting();
    await this.clock.advance(6_000);
    if (this.platform.status(runner.runId) !== "SUSPENDED") throw new Error(`the run is ${this.platform.status(runner.runId)}`);
    return runner;
  }

  events(runId: string): string[] {
    return this.platform.timeline
      .filter((line) => line.runId === runId)
      .map(({ event }) => `${event.name}${event.reason === undefined ? "" : `:${event.reason}`}`);
  }

  /** The events of its sleep alone. */
  sleepEvents(runId: string): string[] {
    return this.events(runId).filter((name) => name.startsWith("snapshot."));
  }

  readonly #errorLog: typeof silentLog = {
    ...silentLog,
    error: (_fields, message) => void this.errors.push(message),
    with: () => this.#errorLog,
  };

  #build(): Core {
    this.#life = new AbortController();
    const { signal: death } = this.#life;
    const whileAlive = (link: Loopback): RouteCaller => ({
      call: async (route, input) => {
        if (death.aborted) return await new Promise(() => {});
        const signal = input?.signal === undefined ? death : AbortSignal.any([death, input.signal]);
        const outcome = await link.call(route, { ...input, signal } as typeof input);
        return death.aborted ? await new Promise(() => {}) : outcome;
      },
    });
    const config = readConfig({ ...ENV, ...this.#options.env }, { instanceName: () => "node" });
    return createCore(config, {
      clock: this.clock,
      random: seeded(),
      log: process.env["TEST_LOG"] === undefined ? this.#errorLog : printLog,
      metrics: createMetrics({ withProcess: false }),
      platform: whileAlive(this.platformLink),
      gateway: whileAlive(this.gatewayLink),
      broker: this.#options.broker ?? null,
      subscriptions: {
        subscribe: (id) => void (!death.aborted && this.subscribed.add(id)),
        unsubscribe: (id) => void (!death.aborted && this.subscribed.delete(id)),
      },
      address: () => ({ protocol: "http", domain: "127.0.0.1", port: 8020 }),
      callbackUrl: () => "http://127.0.0.1:8020/api/v1/compute/snapshot-complete",
      stop: this.#stop.signal,
    });
  }

  #serve(): Loopback {
    const { core } = this;
    return new Loopback(core.routes).authenticate(
      async (headers, remoteAddress) => await core.authenticators.sandbox({ headers, remoteAddress, params: {}, rawBody: undefined }),
    );
  }
}

const print = (fields: object, message: string): void => void process.stderr.write(`${message} ${JSON.stringify(fields)}\n`);
const printLog: typeof silentLog = { debug: () => {}, info: print, warn: print, error: print, with: () => printLog };

export { TestRunner };

import { ManualClock, Secret, systemRandom, type Clock } from "@torpor/kernel";
import { silentLog } from "@torpor/observe";
import { freshDatabase } from "@torpor/testkit";
import pg from "pg";
import { afterAll, afterEach, beforeAll } from "vitest";
import type { DeploymentInput, Engine } from "../src/api.ts";
import type { EngineSettingsInput } from "../src/domain/settings.ts";
import { createEngine } from "../src/index.ts";
import { Scene, task } from "./scene.ts";
import { until, type UntilOptions } from "./until.ts";
import { Worker } from "./worker.ts";

// A real engine on a real PostgreSQL: one database per test file, one project per test.
//
// Time stands still unless a test turns it, so minutes of stall time cost nothing. That something did not happen is
// shown by `timersHandled`: it returns when the engine has handled everything that was due.

export interface PlaneOptions {
  readonly settings?: Partial<EngineSettingsInput>;
}

const ENCRYPTION_KEY = new Secret("0".repeat(64));

/** For the calling test file: an engine under a clock that stands still, made before its tests and closed after them. */
export function usePlane(options: PlaneOptions = {}): Plane<ManualClock> {
  return usePlaneWith(new ManualClock(), options);
}

/** The same under any clock. */
export function usePlaneWith<C extends Clock>(clock: C, options: PlaneOptions = {}): Plane<C> {
  const plane = new Plane(clock, options);
  beforeAll(() => plane.open());
  afterEach(() => plane.endScenes());
  afterAll(() => plane.close());
  return plane;
}

export class Plane<C extends Clock = Clock> {
  readonly clock: C;
  readonly #options: PlaneOptions;
  readonly #closers: (() => Promise<unknown>)[] = [];
  readonly #scenes: Scene[] = [];
  #connectionString = "";
  #engine: Engine | undefined;
  #sql: pg.Pool | undefined;
  #workerGroupId = "";
  #count = 0;

  constructor(clock: C, options: PlaneOptions) {
    this.clock = clock;
    this.#options = options;
  }

  get engine(): Engine {
    if (this.#engine === undefined) throw new Error("The plane is not open");
    return this.#engine;
  }

  get connectionString(): string {
    return this.#connectionString;
  }

  /** Straight into the tables: for what no caller can bring about or see. */
  get sql(): pg.Pool {
    return (this.#sql ??= new pg.Pool({ connectionString: this.#connectionString, max: 2, application_name: "test" }));
  }

  async open(): Promise<void> {
    const database = await freshDatabase();
    this.#closers.push(() => database.close());
    this.#connectionString = database.connectionString;
    this.#engine = await this.anotherEngine();
    this.#workerGroupId = (await this.engine.ensureWorkerGroup({ name: "nodes", token: `tr_wgt_${"a".repeat(40)}` })).id;
  }

  /** A further process on the same database, as far as the engine can tell. */
  async anotherEngine(
    settings: Partial<EngineSettingsInput> = {},
    clock: Clock = this.clock,
    connectionString = this.#connectionString,
  ): Promise<Engine> {
    const engine = createEngine({
      connectionString,
      clock,
      random: systemRandom,
      log: silentLog,
      settings: { encryptionKey: ENCRYPTION_KEY, ...this.#options.settings, ...settings },
    });
    await engine.start();
    this.#closers.push(() => engine.close());
    return engine;
  }

  /** Closes the engine, and starts a new one after `meanwhile`. */
  async restart(meanwhile: () => Promise<void>): Promise<void> {
    await this.engine.close();
    await meanwhile();
    this.#engine = await this.anotherEngine();
  }

  get workerGroupId(): string {
    return this.#workerGroupId;
  }

  /** A node that takes runs of every environment. */
  worker(name = "node-1", engine: Engine = this.engine): Worker {
    return new Worker(engine, this.clock, { workerGroupId: this.#workerGroupId, instanceName: name, runnerId: `runner-${name}` });
  }

  /** A project of its own, with its tasks deployed to production. */
  async scene(input: Partial<DeploymentInput> = {}): Promise<Scene> {
    const ref = `proj_${String(++this.#count).padStart(4, "0")}`;
    const { environments } = await this.engine.ensureProject({ ref });
    const scene = new Scene(this, environments);
    this.#scenes.push(scene);
    await scene.deploy(input);
    return scene;
  }

  until<T>(what: string, probe: () => Promise<T> | T, options?: UntilOptions): Promise<NonNullable<T>> {
    return until(this.clock, what, probe, options);
  }

  /** Returns when every timer that is due now has been handled: two that come due later, one after the other, have been. */
  async timersHandled(): Promise<void> {
    this.#canary ??= await this.scene({ tasks: [task("canary")] });
    for (let round = 0; round < 2; round++) await this.#canary.delayedRunComesDue();
  }
  #canary: Scene | undefined;

  /** What a test left behind must not be handed out in the next one. */
  async endScenes(): Promise<void> {
    for (const scene of this.#scenes.splice(0)) await scene.end();
    this.#canary = undefined;
  }

  async close(): Promise<void> {
    await this.#sql?.end();
    for (const close of this.#closers.splice(0).toReversed()) await close();
  }
}

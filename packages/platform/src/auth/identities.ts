import { createHash } from "node:crypto";
import type { Clock } from "@torpor/kernel";
import type { EngineForAdmin, EnvironmentRef } from "@torpor/engine";
import { Remembered } from "./remembered.ts";

type Lookup = Pick<EngineForAdmin, "environmentByApiKey" | "environmentById" | "apiKeyOf" | "workerGroupByToken">;

export interface WorkerGroup {
  readonly id: string;
  readonly name: string;
  readonly type: string;
}

/** Who holds which key. Answers are remembered for 10 s: that long a key that was taken away may still work. */
export class Identities {
  readonly #engine: Lookup;
  readonly #byKey: Remembered<EnvironmentRef>;
  readonly #byId: Remembered<EnvironmentRef>;
  readonly #apiKeys: Remembered<string>;
  readonly #groups: Remembered<WorkerGroup>;

  constructor(engine: Lookup, clock: Clock) {
    const options = { clock, keepMs: 10_000, maxEntries: 1000 };
    this.#engine = engine;
    this.#byKey = new Remembered(options);
    this.#byId = new Remembered(options);
    this.#apiKeys = new Remembered(options);
    this.#groups = new Remembered(options);
  }

  environmentByApiKey(apiKey: string): Promise<EnvironmentRef | null> {
    return this.#byKey.get(digest(apiKey), () => this.#engine.environmentByApiKey(apiKey));
  }

  environmentById(id: string): Promise<EnvironmentRef | null> {
    return this.#byId.get(id, () => this.#engine.environmentById(id));
  }

  /** The key in clear, of an environment that exists. */
  async apiKeyOf(environmentId: string): Promise<string> {
    const apiKey = await this.#apiKeys.get(environmentId, () => this.#engine.apiKeyOf(environmentId));
    if (apiKey === null) throw new Error(`Cannot find the key of environment ${environmentId}`);
    return apiKey;
  }

  workerGroupByToken(token: string): Promise<WorkerGroup | null> {
    return this.#groups.get(digest(token), () => this.#engine.workerGroupByToken(token));
  }
}

/** Secrets are not kept as keys of a table, and looking one up takes the same time for all. */
function digest(secret: string): string {
  return createHash("sha256").update(secret).digest("hex");
}

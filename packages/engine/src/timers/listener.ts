import { Client } from "pg";
import type { Timer } from "@torpor/kernel";
import { connectionConfig } from "../sql/database.ts";
import { PROMOTED_CHANNEL, WAKE_CHANNEL } from "../sql/notify.ts";
import { RUN_CHANNEL } from "../sql/snapshots.ts";
import type { Core } from "../operations/core.ts";

export interface ListenerEvents {
  /** The run has something new for its runner. Body of its id. */
  readonly runChanged: (runId: string) => void;
  /** The environment has another current version. */
  readonly promoted: (environmentId: string) => void;
  readonly woken: (message: string) => void;
  /** Listening (again): what was said in between was missed. */
  readonly connected: () => void;
}

const RECONNECT_MS = 500;

/** Holds the one connection of this process on which PostgreSQL tells it things, and makes it anew when it is lost. */
export class Listener {
  readonly #connectionString: string;
  readonly #core: Core;
  readonly #events: ListenerEvents;
  #client: Client | undefined;
  #retry: Timer | undefined;
  #isClosed = false;

  constructor(connectionString: string, core: Core, events: ListenerEvents) {
    this.#connectionString = connectionString;
    this.#core = core;
    this.#events = events;
  }

  /** Resolves when it listens; throws when the database cannot be reached. */
  async start(): Promise<void> {
    await this.#connect();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#retry?.cancel();
    const client = this.#client;
    this.#client = undefined;
    await client?.end();
  }

  async #connect(): Promise<void> {
    const client = new Client(connectionConfig(this.#connectionString));
    client.on("error", (error) => this.#core.log.warn({ err: error }, "the listening database connection failed"));
    client.on("end", () => this.#lost(client));
    client.on("notification", (message) => {
      if (message.channel === RUN_CHANNEL) this.#events.runChanged(message.payload ?? "");
      else if (message.channel === PROMOTED_CHANNEL) this.#events.promoted(message.payload ?? "");
      else this.#events.woken(message.payload ?? "");
    });
    await client.connect();
    if (this.#isClosed) return void (await client.end());
    this.#client = client;
    await client.query(`listen ${RUN_CHANNEL}`);
    await client.query(`listen ${PROMOTED_CHANNEL}`);
    await client.query(`listen ${WAKE_CHANNEL}`);
    this.#events.connected();
  }

  #lost(client: Client): void {
    if (this.#isClosed || (this.#client !== undefined && this.#client !== client)) return;
    this.#client = undefined;
    this.#retry = this.#core.clock.after(RECONNECT_MS, () => {
      this.#connect().catch((error: unknown) => {
        this.#core.log.warn({ err: error }, "cannot listen to the database yet");
        this.#lost(client);
      });
    });
  }
}

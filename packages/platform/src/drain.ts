import type { RunningServer } from "@torpor/http";
import { sleep, type Clock, type Closable } from "@torpor/kernel";
import type { Log } from "@torpor/observe";
import type { FastifyInstance } from "fastify";

/** What is not answered by then is cut: a supervisor repeats what it was not answered, and nothing acknowledged is lost. */
const ANSWER_WITHIN_MS = 5_000;

/** Lets a server go quietly: no new connections, long polls end with nothing, what is being answered is answered. */
export class Drain {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #begun = new AbortController();
  readonly #emptied = new AbortController();
  #inFlight = 0;

  constructor(clock: Clock, log: Log) {
    this.#clock = clock;
    this.#log = log;
  }

  /** Fires when the server begins to go. */
  get signal(): AbortSignal {
    return this.#begun.signal;
  }

  /** Counts what is being answered, and sends clients to other processes once the server goes. */
  watch(app: FastifyInstance): void {
    app.addHook("onRequest", async (_request, reply) => {
      this.#inFlight++;
      reply.raw.once("close", () => this.#answered());
    });
    app.addHook("onSend", async (_request, reply) => {
      if (this.#begun.signal.aborted) void reply.header("connection", "close");
    });
  }

  /** A closer that must run before the server's own, which cuts connections. */
  closer(server: RunningServer): Closable {
    return {
      close: async () => {
        server.node.close();
        server.node.closeIdleConnections();
        this.#begun.abort();
        if (this.#inFlight === 0) return;
        if ((await sleep(this.#clock, ANSWER_WITHIN_MS, this.#emptied.signal)) === "slept")
          this.#log.warn({ requests: this.#inFlight }, "requests were cut because they took too long to answer");
      },
    };
  }

  #answered(): void {
    this.#inFlight--;
    if (this.#inFlight === 0 && this.#begun.signal.aborted) this.#emptied.abort();
  }
}

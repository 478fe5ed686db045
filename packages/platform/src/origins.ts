import type { Config } from "./config.ts";

/** How the platform is reached, by whom. What is not set is where it listens, which is known once it does. */
export class Origins {
  readonly #set: Config["origins"];
  #listening = "";

  constructor(set: Config["origins"]) {
    this.#set = set;
  }

  /** Called once, before the first request can arrive from outside. */
  listensAt(url: string): void {
    this.#listening = url;
  }

  /** For users and third parties. */
  get api(): string {
    return this.#set.api ?? this.#listening;
  }

  /** For sandboxes. */
  get sandbox(): string {
    return this.#set.sandbox ?? this.api;
  }

  /** Where sandboxes send spans and logs, up to `/v1/traces`. */
  get otlp(): string {
    return this.#set.otlp ?? `${this.sandbox}/otel`;
  }
}

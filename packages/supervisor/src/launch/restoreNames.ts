/** Beyond this the oldest are forgotten. */
const MAX_REMEMBERED = 10_000;

/** How many names were used for each checkpoint: one that is handed out twice never gets the same name again. */
export class RestoreNames {
  readonly #used = new Map<string, number>();

  usedFor(checkpointId: string): number {
    return this.#used.get(checkpointId) ?? 0;
  }

  /** Notes the number of a name as used, and returns it. */
  use(checkpointId: string, number: number): number {
    this.#used.delete(checkpointId);
    this.#used.set(checkpointId, number);
    if (this.#used.size > MAX_REMEMBERED) this.#used.delete(this.#used.keys().next().value ?? "");
    return number;
  }
}

/** Anything that was started and must end. Closing twice is harmless. */
export interface Closable {
  close(): Promise<void> | void;
}

/** Owns what was started and closes it in reverse order. All closers run; their errors are reported together. */
export class Scope implements Closable {
  readonly #closers: (() => Promise<void> | void)[] = [];

  /** Takes ownership of a resource and hands it back. */
  use<T extends Closable>(resource: T): T {
    this.#closers.push(() => resource.close());
    return resource;
  }

  /** Runs `close` when the scope closes. */
  defer(close: () => Promise<void> | void): void {
    this.#closers.push(close);
  }

  async close(): Promise<void> {
    const errors: unknown[] = [];
    for (const close of this.#closers.splice(0).reverse()) {
      try {
        await close();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw new AggregateError(errors, "Cannot close every resource");
  }
}

/** Runs pieces of work one after the other, in the order in which they came. A piece that fails does not stop the next. */
export class Serial {
  #last: Promise<unknown> = Promise.resolve();

  run<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#last.then(work, work);
    this.#last = mine.catch(() => undefined); // the caller of `run` gets the error; the queue only needs to go on
    return mine;
  }

  /** Resolves when everything that was queued so far is done. */
  async idle(): Promise<void> {
    await this.#last;
  }
}

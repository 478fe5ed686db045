import { task, wait } from "@trigger.dev/sdk";

export interface ChildPayload {
  number: number;
  /** How long to nap. Default 8. */
  seconds?: number;
}

export const child = task({
  id: "child",
  run: async ({ number, seconds = 8 }: ChildPayload) => {
    await wait.for({ seconds });
    const wokeAtMs = Date.now();
    return { number, square: number * number, wokeAtMs };
  },
});

export interface ParentPayload {
  /** How long each child naps. Default 8. */
  seconds?: number;
}

/** Sleeps while its children sleep: first three at once, then one more. */
export const parent = task({
  id: "parent",
  run: async ({ seconds = 8 }: ParentPayload) => {
    const numbers = [2, 3, 4];
    const batch = await child.batchTriggerAndWait(numbers.map((number) => ({ payload: { number, seconds } })));
    const squares = batch.runs.map((run) => {
      if (!run.ok) throw new Error(`Child ${run.id} failed: ${String(run.error)}`);
      return run.output.square;
    });
    const last = await child.triggerAndWait({ number: 5, seconds }).unwrap();
    const wokeAtMs = Date.now();
    const all = [...squares, last.square];
    if (all.join() !== "4,9,16,25") throw new Error(`Expected the squares 4,9,16,25 in order, got ${all.join()}`);
    return { squares: all, sum: all.reduce((sum, square) => sum + square, 0), wokeAtMs };
  },
});

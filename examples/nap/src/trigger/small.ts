import { task } from "@trigger.dev/sdk";

/** When the code of this project was loaded into its process. */
const loadedAtMs = Date.now();

/** The shortest task: says when its first line ran, when its code was loaded before that, and hands its payload back. */
export const hello = task({
  id: "hello",
  run: async (payload: unknown) => ({ startedAtMs: Date.now(), loadedAtMs, payload }),
});

/** Executes without waiting, for the given time: it is never put to sleep. */
export const spin = task({
  id: "spin",
  run: async ({ seconds = 30 }: { seconds?: number }, { signal }) => {
    const endAtMs = Date.now() + seconds * 1000;
    let turns = 0;
    while (Date.now() < endAtMs && !signal.aborted) {
      turns++;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    return { turns };
  },
});

import { task, wait } from "@trigger.dev/sdk";

/** Waits an hour, to be cancelled while it sleeps: its last line is never reached. */
export const cancelled = task({
  id: "cancelled",
  run: async ({ seconds = 3600 }: { seconds?: number }) => {
    await wait.for({ seconds });
    return { reached: "the end" };
  },
});

import { task } from "@trigger.dev/sdk";

/** Fails on its first two attempts and succeeds on the third, about 1 s and 2 s later. */
export const flaky = task({
  id: "flaky",
  retry: { maxAttempts: 3, minTimeoutInMs: 1000, maxTimeoutInMs: 10_000, factor: 2, randomize: false },
  run: async (_payload: unknown, { ctx }) => {
    if (ctx.attempt.number < 3) throw new Error(`Attempt ${ctx.attempt.number} fails on purpose`);
    return { attempt: ctx.attempt.number };
  },
});

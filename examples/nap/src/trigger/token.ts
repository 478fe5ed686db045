import { metadata, task, wait } from "@trigger.dev/sdk";

export interface TokenPayload {
  /** How long the token may stay open, e.g. "10m". */
  timeout?: string;
}

/** Waits for somebody outside. The token's id is in the run's metadata, and the token carries the run's id as tag. */
export const token = task({
  id: "token",
  run: async ({ timeout = "10m" }: TokenPayload, { ctx }) => {
    const created = await wait.createToken({ timeout, tags: [`run:${ctx.run.id}`] });
    metadata.set("tokenId", created.id);
    console.log(`waiting for token ${created.id}`);
    const result = await wait.forToken<unknown>(created.id);
    const wokeAtMs = Date.now();
    if (!result.ok) throw result.error;
    return { tokenId: created.id, data: result.output, wokeAtMs };
  },
});

import { task } from "@trigger.dev/sdk";

/** Ends the process under the task, without a word. */
export const crash = task({
  id: "crash",
  run: async ({ exitCode = 1 }: { exitCode?: number }) => {
    process.exit(exitCode);
  },
});

const BLOCK_BYTES = 16 * 1024 * 1024;

/** Takes memory until somebody ends it. */
export const oom = task({
  id: "oom",
  run: async () => {
    const blocks: Buffer[] = [];
    while (true) {
      blocks.push(Buffer.alloc(BLOCK_BYTES, blocks.length + 1)); // written to, so that the pages are really there
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  },
});

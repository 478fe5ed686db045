// How sandboxes end: told to, or by themselves. Either way the record says `gone` first, and then everything is freed: a kill
// in between leaves a sandbox that nobody owns, which the next start destroys.
import { sleep } from "@torpor/kernel";
import type { Core } from "../core.ts";
import type { Sandbox } from "./sandboxTable.ts";

const TRIES = 4;
const FIRST_WAIT_MS = 250;

/** Ends a sandbox and frees what it has. Idempotent. Throws when something could not be freed: calling again tries again. */
export async function endSandbox(core: Pick<Core, "table" | "driver" | "log" | "clock" | "memory">, sandbox: Sandbox): Promise<void> {
  if (sandbox.record.state !== "gone") await core.table.move(sandbox, "end");
  await persistently(core, sandbox.record.id, async () => {
    await core.driver.destroy(sandbox.record.id);
    await freeImage(core, sandbox);
  });
}

/** Frees what is left of a sandbox that the table does not have, or is about to forget. A machine that refuses is asked again. */
export async function destroySandbox(core: Pick<Core, "driver" | "log" | "clock">, id: string): Promise<void> {
  await persistently(core, id, () => core.driver.destroy(id));
}

async function persistently({ log, clock }: Pick<Core, "log" | "clock">, id: string, free: () => Promise<void>): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await free();
    } catch (error) {
      log.error({ err: error, sandbox: id, attempt }, "cannot free a sandbox that has ended");
      if (attempt === TRIES) throw error;
      await sleep(clock, FIRST_WAIT_MS * 2 ** attempt);
    }
  }
}

/** It was made ready ahead of time, and its run has not gone on: its memory image may be restored again. */
async function freeImage({ memory }: Pick<Core, "memory">, { record }: Sandbox): Promise<void> {
  const { restoredFrom } = record;
  if (restoredFrom !== null && memory.phase(restoredFrom) === "reserved") await memory.giveBack(restoredFrom);
}

/** Does what follows from `sandbox.exit`, if it is set: says so, then frees what it had. What cannot be freed now is left to the next start. */
export async function concludeExit(core: Core, sandbox: Sandbox): Promise<void> {
  if (sandbox.record.state === "gone" || sandbox.exit === null) return;
  const { id, name } = sandbox.record;
  const { exitCode, reason } = sandbox.exit;
  await core.table.move(sandbox, "end", { exit: { exitCode, reason } });
  core.metrics.count("torpor_gateway_exits_total", { reason });
  core.log.info({ sandbox: id, name, exitCode, reason }, "a sandbox ended");
  core.events.push({ type: "exited", name, id, exitCode, reason });
  await endSandbox(core, sandbox).catch((error: unknown) => core.log.error({ err: error, sandbox: id }, "an ended sandbox is not freed"));
}

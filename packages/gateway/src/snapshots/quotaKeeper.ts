import type { Core } from "../core.ts";
import { judgeQuota } from "./quota.ts";

/** Why the node's quota has no place for `incomingBytes` more of memory images, or undefined. Deletes what nobody needs first. */
export async function whyBeyondQuota(core: Core, incomingBytes: number): Promise<string | undefined> {
  const { memory, log } = core;
  const quotaBytes = await core.quotaBytes();
  const verdict = judgeQuota({ images: memory.onDisk(), incomingBytes, quotaBytes });
  if (verdict.kind === "exceeded")
    return `its memory images would take ${verdict.neededBytes} bytes of disk, and it may take ${quotaBytes}`;
  if (verdict.kind === "makeRoom") {
    log.warn({ memoryImages: verdict.unneeded }, "memory images that nobody needs are deleted to make room");
    for (const id of verdict.unneeded) await memory.remove(id);
  }
  return undefined;
}

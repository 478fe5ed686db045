// What a gateway does first: it compares what its predecessor wrote down with what is really there, and makes both agree.
//
//   R1  What lives and is known is taken over: its exit is watched, its metadata is served, its name answers.
//   R2  What lives and is not known is destroyed; what is known and does not live is told as an exit.
//   R3  A frozen sandbox goes on, unless its commit was decided (then it is destroyed) or it is held and its time is not over.
//   R4  Files of memory images that nobody can restore any more are deleted (L7); one that was consumed and certainly never
//       ran is given back (L6).
import type { Core } from "../core.ts";
import type { FoundSandbox } from "../drivers/driver.ts";
import type { Outbox } from "../snapshots/callback.ts";
import { thawOrEnd } from "../snapshots/snapshotJob.ts";
import { UNREADABLE } from "../snapshots/memoryImages.ts";
import type { Snapshotter } from "../snapshots/snapshotter.ts";
import { concludeExit, destroySandbox, endSandbox } from "./ending.ts";
import type { Sandbox } from "./sandboxTable.ts";

export interface RecoveryParts {
  readonly core: Core;
  readonly snapshotter: Snapshotter;
  readonly outbox: Outbox;
}

type Found = FoundSandbox["state"] | "absent";

/** Runs once, before the first request is served. */
export async function recover(parts: RecoveryParts): Promise<void> {
  const { core, outbox, snapshotter } = parts;
  await core.staging.open(); // what was in clear when an earlier process ended is gone from here on (L16)
  const letters = await outbox.left();
  const sandboxes = await core.table.load();
  await core.memory.load();
  const found = new Map((await core.driver.list()).map((one) => [one.id, one.state]));
  for (const sandbox of sandboxes) await recoverSandbox(parts, sandbox, found.get(sandbox.record.id) ?? "absent");
  const known = new Set(core.table.all().map((sandbox) => sandbox.record.id));
  for (const id of found.keys()) if (!known.has(id)) await destroySandbox(core, id);
  await recoverImages(core);
  outbox.resume(letters, (letter, delivery) => snapshotter.delivered(letter.memoryImageId, delivery));
  if (sandboxes.length > 0 || found.size > 0)
    core.log.info({ known: sandboxes.length, found: found.size, adopted: core.table.all().length }, "recovered");
}

async function recoverSandbox(parts: RecoveryParts, sandbox: Sandbox, found: Found): Promise<void> {
  switch (sandbox.record.state) {
    case "gone":
      return; // remembered for its answer only; if it is still there it counts as unknown
    case "starting":
      return await recoverStart(parts.core, sandbox, found);
    case "running":
      return await recoverRunning(parts.core, sandbox, found);
    case "freezing":
      return await recoverFreezing(parts, sandbox, found);
    case "kept":
      return await recoverKept(parts.core, sandbox);
    case "held":
      return await recoverHeld(parts, sandbox, found);
  }
}

/** The caller never had an answer: a repetition of its request finds either the sandbox or nothing. */
async function recoverStart(core: Core, sandbox: Sandbox, found: Found): Promise<void> {
  const { id, restoredFrom, guestMetadata } = sandbox.record;
  const imageId = restoredFrom !== null && core.memory.phase(restoredFrom) === "consumed" ? restoredFrom : undefined;
  if (found === "running" && (await core.driver.adopt(id, guestMetadata)) === "adopted") {
    const address = (await core.driver.list()).find((one) => one.id === id)?.address ?? null;
    await core.table.move(sandbox, "started", { address });
    if (imageId !== undefined) await core.memory.remove(imageId);
    return;
  }
  const ran = found !== "absent" && found !== "never_ran";
  if (imageId !== undefined && ran) await core.memory.remove(imageId);
  await destroySandbox(core, id);
  if (imageId !== undefined && !ran) await core.memory.giveBack(imageId);
  await core.table.forget(sandbox);
}

async function recoverRunning(core: Core, sandbox: Sandbox, found: Found): Promise<void> {
  if (!(await adopted(core, sandbox, found))) return;
  if (found === "frozen") await thawOrEnd(core, sandbox);
  await concludeExit(core, sandbox);
}

/** Half-written memory is deleted, the sandbox goes on, and whoever asked is told. */
async function recoverFreezing({ core, outbox, snapshotter }: RecoveryParts, sandbox: Sandbox, found: Found): Promise<void> {
  const pending = sandbox.record.snapshot;
  if (await adopted(core, sandbox, found)) await thawOrEnd(core, sandbox);
  if (core.table.findById(sandbox.record.id) === sandbox && sandbox.record.state === "freezing")
    await core.table.move(sandbox, "thaw", { snapshot: null });
  await concludeExit(core, sandbox);
  if (pending === null) return;
  await core.memory.remove(pending.memoryImageId);
  const body = JSON.stringify({
    status: "failed",
    instance_id: sandbox.record.id,
    metadata: pending.callback.metadata,
    reason: "shutdown",
    error: "the gateway was restarted while it wrote the snapshot",
  });
  const letter = { memoryImageId: pending.memoryImageId, url: pending.callback.url, body, untilMs: core.clock.nowMs() + CALLBACK_MS };
  await outbox.send(letter, (delivery) => snapshotter.delivered(letter.memoryImageId, delivery));
}

const CALLBACK_MS = 10 * 60_000;

/** A cache of an earlier process. It has not run since it was frozen, whatever had been begun with it. */
async function recoverKept(core: Core, sandbox: Sandbox): Promise<void> {
  const imageId = sandbox.record.snapshot?.memoryImageId;
  await endSandbox(core, sandbox);
  const phase = imageId === undefined ? undefined : core.memory.phase(imageId);
  if (imageId !== undefined && (phase === "consumed" || phase === "reserved")) await core.memory.giveBack(imageId);
}

async function recoverHeld({ core, snapshotter }: RecoveryParts, sandbox: Sandbox, found: Found): Promise<void> {
  const pending = sandbox.record.snapshot;
  const phase = pending === null ? undefined : core.memory.phase(pending.memoryImageId);
  if (pending !== null && phase === "committing") return await snapshotter.commit(pending.memoryImageId);
  const lives = (await core.driver.adopt(sandbox.record.id, sandbox.record.guestMetadata)) === "adopted";
  if (!lives) sandbox.exit = { exitCode: null, reason: "killed_while_frozen" };
  if (pending !== null && phase === "held") return snapshotter.resumeHold(sandbox, pending);
  // Its memory is not on disk any more: the thaw was decided
  if (lives && found === "frozen") await thawOrEnd(core, sandbox);
  await core.table.move(sandbox, "thaw", { snapshot: null });
  await concludeExit(core, sandbox);
}

/** Takes over a sandbox that lives; one that does not is told as an exit. */
async function adopted(core: Core, sandbox: Sandbox, found: Found): Promise<boolean> {
  const lives = found === "running" || found === "frozen";
  if (lives && (await core.driver.adopt(sandbox.record.id, sandbox.record.guestMetadata)) === "adopted") return true;
  sandbox.exit = { exitCode: null, reason: "ended_while_the_gateway_was_down" };
  if (sandbox.record.state === "freezing") await core.table.move(sandbox, "thaw", { snapshot: null });
  await concludeExit(core, sandbox);
  return false;
}

/** R4. */
async function recoverImages(core: Core): Promise<void> {
  const wanted = new Set(core.table.all().map((sandbox) => sandbox.record.snapshot?.memoryImageId));
  const readyFrom = new Set(core.table.all().map((sandbox) => sandbox.record.restoredFrom));
  for (const { id, phase } of core.memory.list()) {
    if (phase === "committing" && !wanted.has(id)) await core.memory.move(id, "store");
    if ((phase === "writing" || phase === "held") && !wanted.has(id)) await core.memory.remove(id);
    if (phase === "reserved" && !readyFrom.has(id)) await core.memory.giveBack(id);
    if (phase === "consumed" || phase === "refused") await core.memory.remove(id);
    if (phase === "stored" && core.memory.manifest(id) === undefined) {
      core.log.error({ memoryImage: id, cause: UNREADABLE }, "a memory image is refused and deleted");
      await core.memory.refuse(id, UNREADABLE).catch(() => undefined); // refusing throws what a caller would be told
      await core.memory.remove(id);
    }
  }
}

/** Ends every sandbox of the node, whatever its state. */
export async function endAll({ core, snapshotter }: Pick<RecoveryParts, "core" | "snapshotter">): Promise<void> {
  for (const sandbox of core.table.all()) {
    await snapshotter.release(sandbox);
    await sandbox.serial.run(() => endSandbox(core, sandbox));
  }
}

// How a clone that was made ready ahead becomes a sandbox that somebody asked for: it asks at its metadata address who it is.
import { sleep } from "@torpor/kernel";
import type { SandboxSpec, StartOutcome } from "../driver.ts";
import type { Link } from "./network.ts";
import type { GvisorParts } from "./parts.ts";

/** It asks some 30 ms after it runs, on a busy machine later. One that stays silent is given up: a boot takes less than this. */
const ASKED_WITHIN_MS = 2_000;

/** Hands a waiting clone its environment and its metadata. `refused`: it got none of its environment. */
export async function assignSpare(parts: Pick<GvisorParts, "clock" | "metadata">, link: Link, spec: SandboxSpec): Promise<StartOutcome> {
  const { clock, metadata } = parts;
  const startedMs = clock.monotonicMs();
  const giveUp = new AbortController();
  const asked = metadata.asked(link.address).then(() => true);
  const isAsking = await Promise.race([asked, sleep(clock, ASKED_WITHIN_MS, giveUp.signal).then(() => false)]);
  giveUp.abort();
  metadata.set(link.address, spec.metadata);
  if (isAsking && metadata.start(link.address, { ...spec.image.env, ...spec.env }))
    return { kind: "started", address: link.address, timingMs: { assignMs: clock.monotonicMs() - startedMs } };
  metadata.unexpect(link.address);
  return { kind: "refused", reason: "failed", message: `Cannot start ${spec.id}: it does not ask for its environment` };
}

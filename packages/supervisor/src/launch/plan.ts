import type { DequeuedMessage } from "@torpor/contracts";
import type { Room } from "../runners/runner.ts";

/** What is known when a run arrives. */
export interface LaunchFacts {
  readonly hasCheckpoint: boolean;
  readonly hasImage: boolean;
  readonly needs: Room;
  readonly free: Room;
  /** Nothing is placed here: then even a run that asks for more than the node has is tried, because waiting cannot help it. */
  readonly nodeIsEmpty: boolean;
  /** A broker of idle runners is configured, and has not been asked about this run yet. */
  readonly canAskWarm: boolean;
  readonly draining: boolean;
}

export type GiveBackReason = "no_image" | "node_full" | "draining";

export type LaunchPlan =
  /** Its memory is on disk: it may only be restored, never started over by us. */
  | { readonly kind: "restore" }
  | { readonly kind: "warm" }
  | { readonly kind: "cold" }
  | { readonly kind: "give_back"; readonly reason: GiveBackReason };

/** What becomes of a run that was handed to this node. Idle runners have their room already, so they come before the room is counted. */
export function planLaunch(facts: LaunchFacts): LaunchPlan {
  if (facts.draining) return { kind: "give_back", reason: "draining" };
  if (!facts.hasCheckpoint && !facts.hasImage) return { kind: "give_back", reason: "no_image" };
  if (!facts.hasCheckpoint && facts.canAskWarm) return { kind: "warm" };
  if (!facts.nodeIsEmpty && !fits(facts.needs, facts.free)) return { kind: "give_back", reason: "node_full" };
  return { kind: facts.hasCheckpoint ? "restore" : "cold" };
}

export function fits(needs: Room, free: Room): boolean {
  return needs.cpu <= free.cpu && needs.memoryGib <= free.memoryGib;
}

/** The room that a run asks for. */
export function roomOf(message: DequeuedMessage): Room {
  return { cpu: message.run.machine.cpu, memoryGib: message.run.machine.memory };
}

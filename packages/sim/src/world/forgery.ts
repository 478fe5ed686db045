// Callbacks that the gateway did not send, or sends a second time.
import { RunnerId, SnapshotCallback } from "@torpor/contracts";
import type { Fault } from "../scenario/scenario.ts";
import type { Plane } from "./plane.ts";
import type { SimNode } from "./simNode.ts";

type How = (Fault & { readonly kind: "forge" })["how"];

/** Sends one: the last that was seen, or one made up from what a snapshot was asked with. */
export function forge(plane: Plane, node: SimNode, how: How): void {
  const { lastCallback: seen, lastAsked: asked } = plane.watcher;
  if (how === "replay") return seen === null ? undefined : void node.forgeCallback(seen.body, seen.signature);
  if (asked === null) return;
  const instanceId = node.graph?.core.table.find(RunnerId.parse(asked.name))?.record.id ?? asked.name;
  const other = [...plane.context.engine.runs.keys()].find((runId) => runId !== asked.metadata["runId"]) ?? "run_other";
  const metadata = how === "other_run" ? { ...asked.metadata, runId: other } : asked.metadata;
  const body = SnapshotCallback.parse({ status: "completed", snapshot_id: MADE_UP, instance_id: instanceId, metadata, held: true });
  void node.forgeCallback(JSON.stringify(body), how === "unsigned" ? undefined : seen?.signature);
}

const MADE_UP = `mem_${"z".repeat(25)}`;

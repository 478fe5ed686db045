import type { Plane } from "../world/plane.ts";

/** L7: sandboxes, images, files, runners and intents that are still there, as sentences. */
export function leftovers({ nodes }: Plane): string[] {
  const left: string[] = [];
  for (const node of nodes) {
    for (const [id, { state }] of node.machine.sandboxes) left.push(`sandbox ${id} on ${node.name} (${state})`);
    for (const { id, phase } of node.graph?.core.memory.list() ?? []) left.push(`memory image ${id} on ${node.name} (${phase})`);
    for (const path of node.disk.files.keys())
      if (/\/(memory|outbox|keys|staging)\/[^/]+\//.test(path) || /\/(outbox|keys)\/mem/.test(path)) left.push(`file ${path}`);
    for (const runner of node.core?.runners.all() ?? []) left.push(`runner ${runner.name} at the supervisor of ${node.name}`);
    if ((node.core?.intents.size ?? 0) > 0) left.push(`${node.core?.intents.size} intents at the supervisor of ${node.name}`);
  }
  return left;
}

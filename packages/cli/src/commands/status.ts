import { admin, gateway } from "@torpor/contracts";
import { RouteClient } from "@torpor/http";
import type { Command, CommandContext } from "../command.ts";
import { flagOption } from "../command.ts";
import { adminClient, requirePlane, unwrap } from "../connection.ts";
import { EXIT } from "../exitCodes.ts";
import { DATA_DIR_OPTION, dataDirOf, readLastProject } from "../plane/dataDir.ts";
import type { PlaneFile } from "../plane/planeFile.ts";
import { showBytes } from "../terminal/table.ts";
import { showSizes, sizesOf } from "./sleepingSizes.ts";

/** What a plane is doing, and what sleeping runs cost. */
export const status: Command = {
  name: "status",
  summary: "what the plane is doing, and what its sleeping runs cost",
  options: [DATA_DIR_OPTION, { flags: "--keys", description: "show the API keys of the project deployed last" }],
  async run(context, input) {
    const plane = requirePlane(context, input);
    const facts = await gather(plane);
    const keys = flagOption(input, "keys") ? await keysOf(plane, readLastProject(dataDirOf(context, input))) : undefined;
    context.terminal.value({ ...facts, keys });
    print(context, plane, facts);
    for (const { slug, apiKey } of keys ?? [])
      context.terminal.line(`TRIGGER_API_URL=${plane.apiUrl} TRIGGER_SECRET_KEY=${apiKey}   # ${slug}`);
    return EXIT.ok;
  },
};

async function gather(plane: PlaneFile) {
  const platform = adminClient(plane);
  const node = gatewayClient(plane);
  try {
    const runs = unwrap(await platform.call(admin.status));
    const { instances } = unwrap(await node.call(gateway.listInstances));
    const { snapshots } = unwrap(await node.call(gateway.listSnapshots));
    const machine = unwrap(await node.call(gateway.node));
    return {
      runs,
      sandboxes: instances,
      memoryImages: { ...sizesOf(snapshots), quotaBytes: machine.memoryImages?.quotaBytes ?? null },
      machine,
    };
  } finally {
    await platform.close();
    await node.close();
  }
}

/** A client of the plane's gateway. */
export function gatewayClient(plane: PlaneFile): RouteClient {
  return new RouteClient({
    baseUrl: plane.gatewayUrl,
    timeoutMs: 30_000,
    headers: () => ({ authorization: `Bearer ${plane.gatewayToken}` }),
  });
}

function print(
  { terminal }: CommandContext,
  plane: PlaneFile,
  { runs, sandboxes, memoryImages, machine }: Awaited<ReturnType<typeof gather>>,
): void {
  terminal.line(`${terminal.paint("bold", plane.apiUrl)}  plane ${plane.planeId}, driver ${machine.driver}, process ${plane.pid}`);
  terminal.line(`runs       ${runs.queued} queued, ${runs.executing} executing, ${runs.suspended} asleep`);
  terminal.line(
    `sandboxes  ${sandboxes.length}, ${showBytes(sandboxes.reduce((sum, { memoryBytes }) => sum + (memoryBytes ?? 0), 0))} of memory, ${sandboxes.reduce((sum, { processCount }) => sum + (processCount ?? 0), 0)} processes`,
  );
  const { prepared = 0, cloned = 0 } = machine.spares ?? {};
  if (prepared + cloned > 0) terminal.line(`spares     ${cloned} clones that wait, ${prepared} kernels`);
  for (const line of showSizes(memoryImages, memoryImages.quotaBytes)) terminal.line(line);
  terminal.line(
    `machine    ${showBytes(machine.memoryAvailableBytes)} of ${showBytes(machine.memoryTotalBytes)} memory free, ${showBytes(machine.diskFreeBytes)} disk free`,
  );
  for (const warning of machine.warnings) terminal.line(`${terminal.paint("yellow", "note")}       ${warning}`);
}

async function keysOf(plane: PlaneFile, projectRef: string | undefined) {
  if (projectRef === undefined) return [];
  const platform = adminClient(plane);
  try {
    const { environments } = unwrap(await platform.call(admin.ensureProject, { body: { ref: projectRef } }));
    return environments.map(({ slug, apiKey }) => ({ slug, apiKey }));
  } finally {
    await platform.close();
  }
}

import { existsSync, globSync, realpathSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "../command.ts";
import { flagOption } from "../command.ts";
import { CommandFailure, EXIT } from "../exitCodes.ts";
import { DATA_DIR_OPTION, dataDirOf } from "../plane/dataDir.ts";
import { leftoversOf } from "../plane/leftovers.ts";
import { planeIdOf } from "../plane/planeConfig.ts";
import { isAlive, readPlaneFile, removePlaneFile } from "../plane/planeFile.ts";
import { removePlane } from "../plane/removePlane.ts";
import { prepareMachine } from "../setup/prepareMachine.ts";

/** Removes what planes that no longer run have left on this machine. Sleeping runs and data stay unless `--data` is given. */
export const clean: Command = {
  name: "clean",
  summary: "remove what a plane that no longer runs has left on this machine",
  options: [
    DATA_DIR_OPTION,
    { flags: "--data", description: "also delete the plane's data: runs, keys, memory on disk" },
    { flags: "--images", description: "also delete all task images" },
  ],
  async run(context, input) {
    const dataDir = dataDirOf(context, input);
    const machine = await prepareMachine(context, { mayInstall: false });
    const removed: string[] = [];
    for (const dir of [dataDir, ...globSync("{demo,bench}-*", { cwd: context.stateDir }).map((name) => join(context.stateDir, name))]) {
      if (existsSync(dir))
        removed.push(...(await cleanOne(machine.env, dir, { isScratch: dir !== dataDir, withData: flagOption(input, "data") })));
    }
    if (flagOption(input, "images")) {
      rmSync(join(context.stateDir, "images"), { recursive: true, force: true });
      removed.push(join(context.stateDir, "images"));
    }
    context.terminal.value({ removed });
    for (const one of removed) context.terminal.line(`removed ${one}`);
    if (removed.length === 0) context.terminal.line("nothing to remove");
    return EXIT.ok;
  },
};

async function cleanOne(
  env: Readonly<Record<string, string>>,
  dataDir: string,
  { isScratch, withData }: { readonly isScratch: boolean; readonly withData: boolean },
): Promise<string[]> {
  const running = readPlaneFile(dataDir);
  if (running !== undefined && isAlive(running.pid)) {
    if (isScratch) return []; // somebody else's demo, still at it
    throw new CommandFailure(
      EXIT.refused,
      `Cannot clean ${dataDir}: process ${running.pid} runs a plane on it`,
      "stop it first: Ctrl-C where it runs",
    );
  }
  const planeId = planeIdOf(realpathSync(dataDir));
  const left = await leftoversOf(planeId);
  if (left.length > 0 || isScratch || withData) await removePlane({ planeId, dataDir, env });
  removePlaneFile(dataDir);
  if (!isScratch && !withData) return left;
  rmSync(dataDir, { recursive: true, force: true });
  return [...left, dataDir];
}

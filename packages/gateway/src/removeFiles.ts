import { rm } from "node:fs/promises";
import { gatewayDir, keysDir, nodeKeyFile } from "./graph.ts";
import { shredKeys } from "./snapshots/keyring.ts";

/** Removes every file of a gateway that does not run, keys first (L16). Idempotent. */
export async function removeFiles(stateDir: string): Promise<void> {
  await shredKeys(keysDir(stateDir), nodeKeyFile(stateDir));
  await rm(gatewayDir(stateDir), { recursive: true, force: true });
}

#!/usr/bin/env node
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { COMMANDS } from "./commands/index.ts";
import { runCommandLine } from "./commandLine.ts";

const repoDir = resolve(dirname(fileURLToPath(import.meta.url)), "../../..");

process.exitCode = await runCommandLine(COMMANDS, process.argv.slice(2), {
  process,
  repoDir,
  stateDir: process.env["TORPOR_STATE_DIR"] ?? join(repoDir, ".torpor"),
});

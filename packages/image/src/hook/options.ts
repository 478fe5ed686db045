import { fileURLToPath } from "node:url";

/** How a process is told to load this hook. */
export const HOOK_OPTIONS = ["--import", fileURLToPath(new URL("./preload.mjs", import.meta.url))];

/** What a task's code sees of this process's options is what it would see without us. */
export function hideOurOptions(): void {
  const at = process.execArgv.indexOf(HOOK_OPTIONS[0] ?? "");
  if (process.execArgv[at + 1] === HOOK_OPTIONS[1]) process.execArgv.splice(at, HOOK_OPTIONS.length);
}

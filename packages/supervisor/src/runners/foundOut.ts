// Runners that have spoken before anybody looked at their sandboxes: after a start of this process, for a moment.
import { isHearsay, type Runner } from "./runner.ts";
import type { Runners } from "./runners.ts";

/**
 * The same runner with what its sandbox says of it. `not_yet`: the sandboxes cannot be looked at; its own sleep must not be shown
 * to it as the loss of its run, and it asks again. One that has no sandbox here stays what it is.
 */
export async function foundOut(
  runner: Runner,
  { runners, takeStock }: { readonly runners: Runners; readonly takeStock: () => Promise<boolean> },
): Promise<Runner | "not_yet"> {
  if (!isHearsay(runner)) return runner;
  if (!(await takeStock())) return "not_yet";
  return runners.named(runner.name) ?? runner;
}

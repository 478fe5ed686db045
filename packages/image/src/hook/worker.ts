// The process that will run a task, forked before there is one: it stops before its own entry point.
import { importAhead, takeLateValues } from "./modules.ts";
import { IMPORTS_VARIABLE, type Ahead, type WorkerGo, type WorkerReady } from "./protocol.ts";
import { prepareRenewal } from "./renewal.ts";
import { replaceEnvironment } from "./environment.ts";
import { hideOurOptions } from "./options.ts";
import { warmUp } from "./warmUp.ts";

/** Resolves when the runner has forked this process, as it believes; then its entry point runs. */
export async function standBy(): Promise<void> {
  const { files, loads } = JSON.parse(process.env[IMPORTS_VARIABLE] ?? "") as Ahead;
  Reflect.deleteProperty(process.env, IMPORTS_VARIABLE);
  const renew = prepareRenewal();
  await importAhead(files, { allowed: new Set(loads) });
  await warmUp();
  const go = new Promise<WorkerGo>((resolve) => process.once("message", (message) => resolve(message as WorkerGo)));
  process.send?.({ torpor: "ready" } satisfies WorkerReady);
  const { env } = await go;
  renew();
  replaceEnvironment(env);
  hideOurOptions();
  takeLateValues();
}

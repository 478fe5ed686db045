// The process that will run a task, forked before there is one: it stops before its own entry point.
import { holdAtGate, importAhead, takeLateValues } from "./modules.ts";
import { IMPORTS_VARIABLE, type Ahead, type WorkerCloned, type WorkerGo, type WorkerReady } from "./protocol.ts";
import { giveBackFreed } from "./nodesOwn.ts";
import { prepareRenewal } from "./renewal.ts";
import { replaceEnvironment } from "./environment.ts";
import { hideOurOptions } from "./options.ts";
import { warmUp } from "./warmUp.ts";

/** Resolves when the runner has forked this process, as it believes; then its entry point runs. */
export async function standBy(): Promise<void> {
  const { files, loads, isAll } = JSON.parse(process.env[IMPORTS_VARIABLE] ?? "") as Ahead;
  Reflect.deleteProperty(process.env, IMPORTS_VARIABLE);
  const renew = prepareRenewal();
  const allowed = new Set(loads);
  await importAhead(files, { allowed });
  await warmUp();
  const begin = isAll ? await holdAtGate(process.argv[1] ?? "", allowed) : () => undefined;
  giveBackFreed();
  const first = nextMessage();
  process.send?.({ torpor: "ready" } satisfies WorkerReady);
  const cloned = await first;
  renew();
  const { env } = cloned.torpor === "go" ? cloned : await becomeKnown();
  replaceEnvironment(env);
  hideOurOptions();
  takeLateValues();
  begin();
}

function nextMessage(): Promise<WorkerGo | WorkerCloned> {
  return new Promise((resolve) => process.once("message", (message) => resolve(message as WorkerGo | WorkerCloned)));
}

/** In a clone that was made ahead: what is not about the run is done now. */
async function becomeKnown(): Promise<WorkerGo> {
  const known = nextMessage();
  await warmUp();
  const message = await known;
  if (message.torpor !== "go") throw new Error(`Cannot go on after ${message.torpor}`);
  return message;
}

// One thread of a simulation. Its modules are loaded with the hooks in place, so everything else is imported afterwards.
import { parentPort, workerData } from "node:worker_threads";
import { installAbort } from "./host/abort.ts";
import { installHooks } from "./hooks.ts";
import type { Mutant } from "./mutants/mutant.ts";

const { mutant } = workerData as { mutant: Mutant | null };
installAbort();
installHooks(mutant);
const { serve } = await import("./serve.ts");
if (parentPort !== null) serve(parentPort);

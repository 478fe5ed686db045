// One thread of a simulation. Its modules are loaded with the hooks in place, so everything else is imported afterwards.
import { enableCompileCache, flushCompileCache } from "node:module";
import { parentPort, workerData } from "node:worker_threads";
import { installAbort } from "./host/abort.ts";
import { installHooks } from "./hooks.ts";
import type { Mutant } from "./mutants/mutant.ts";

const { mutant } = workerData as { mutant: Mutant | null };
enableCompileCache(); // the next thread has half of its start for nothing
installAbort();
installHooks(mutant);
const { serve } = await import("./serve.ts");
flushCompileCache();
if (parentPort !== null) serve(parentPort);

// Runs in every sandbox before the runner. It keeps the runs of one runner apart, and makes a template of the sandbox that is to become one.
// A template is a runner whose modules are loaded and which has not begun: no request sent, no id drawn, no setting read.
// Its clones begin where it stopped, each with an environment and random numbers of its own. The runner's files are untouched.
import { keepRunsApart } from "./betweenRuns.ts";
import { forgetFormerRun } from "./nextRun.ts";
import { hideOurOptions } from "./options.ts";
import { NEXT_RUN_ROLE, ROLE_VARIABLE } from "./protocol.ts";

const role = process.env[ROLE_VARIABLE];
if (role !== undefined) {
  Reflect.deleteProperty(process.env, ROLE_VARIABLE);
  if (role === "worker") await (await import("./worker.ts")).standBy();
  else if (role === NEXT_RUN_ROLE) {
    forgetFormerRun();
    hideOurOptions();
  } else await (await import("./template.ts")).becomeTemplate(`${ROLE_VARIABLE}=${role}`);
}
if (role !== "worker" && role !== NEXT_RUN_ROLE) keepRunsApart();

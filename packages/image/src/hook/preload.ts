// Runs in every sandbox before the runner, and does nothing there unless the sandbox is to become a template.
// A template is a runner whose modules are loaded and which has not begun: no request sent, no id drawn, no setting read.
// Its clones begin where it stopped, each with an environment and random numbers of its own. The runner's files are untouched.
import { ROLE_VARIABLE } from "./protocol.ts";

const role = process.env[ROLE_VARIABLE];
if (role !== undefined) {
  Reflect.deleteProperty(process.env, ROLE_VARIABLE);
  if (role === "worker") await (await import("./worker.ts")).standBy();
  else await (await import("./template.ts")).becomeTemplate(`${ROLE_VARIABLE}=${role}`);
}

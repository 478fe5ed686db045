import type { Command } from "../command.ts";
import { EXIT } from "../exitCodes.ts";
import { prepareMachine } from "../setup/prepareMachine.ts";

/** Says what this machine lacks for sandboxes, and the command that mends each. Changes nothing. */
export const doctor: Command = {
  name: "doctor",
  summary: "say what is missing on this machine for sandboxes, and what mends it",
  async run(context) {
    const machine = await prepareMachine(context, { mayInstall: false });
    context.terminal.value({ driver: machine.driver, missing: machine.missing });
    for (const { message, hint } of machine.missing) {
      context.terminal.line(`${context.terminal.paint("red", "missing")}  ${message}`);
      context.terminal.line(`         → ${hint}`);
    }
    if (machine.missing.length === 0)
      context.terminal.line(`${context.terminal.paint("green", "ok")}  sandboxes can run here (gVisor: ${machine.env["TORPOR_RUNSC"]})`);
    else context.terminal.line("Until then tasks run as plain processes, and their waits stay in memory.");
    return machine.missing.length === 0 ? EXIT.ok : EXIT.missing;
  },
};

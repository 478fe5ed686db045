import { existsSync, globSync } from "node:fs";
import { basename, join } from "node:path";
import { flagOption, type Command } from "../command.ts";
import { CommandFailure, EXIT } from "../exitCodes.ts";
import { prepareMachine } from "../setup/prepareMachine.ts";
import { runChild } from "./run.ts";

/** Runs one of the measurements in `bench/`. Each prints its figures beside a baseline of the same run. */
export const bench: Command = {
  name: "bench",
  summary: "measure: engine, sleep, sleepPolicy, starts (see bench/)",
  args: [{ name: "[name]", description: "which measurement; without it they are listed" }],
  options: [
    { flags: "--cycles <n>", description: "how many repetitions, where the measurement has them" },
    { flags: "--starts <n>", description: "how many starts of each kind, for `starts`" },
    { flags: "--full", description: "as many under load too, however long it takes, for `starts`" },
  ],
  async run(context, input) {
    const known = globSync("*.bench.ts", { cwd: join(context.repoDir, "bench") })
      .map((file) => basename(file, ".bench.ts"))
      .sort();
    const [name] = input.args;
    if (name === undefined) {
      context.terminal.value(known);
      for (const one of known) context.terminal.line(`./torpor bench ${one}`);
      return EXIT.ok;
    }
    const file = join(context.repoDir, "bench", `${name}.bench.ts`);
    if (!existsSync(file)) throw new CommandFailure(EXIT.notFound, `Cannot find measurement ${name}`, `there are: ${known.join(", ")}`);
    const machine = await prepareMachine(context, { mayInstall: true });
    const counts = ["cycles", "starts"].flatMap((option) => {
      const value = input.options[option];
      return typeof value === "string" ? [`--${option}`, value] : [];
    });
    const args = [file, ...(context.terminal.json ? ["--json"] : []), ...(flagOption(input, "full") ? ["--full"] : []), ...counts];
    const env = { ...context.env, ...machine.env, TORPOR_REPO_DIR: context.repoDir, TORPOR_STATE_DIR: context.stateDir };
    const { code } = await runChild(process.execPath, args, { cwd: context.repoDir, env, signal: context.signal, output: "inherit" });
    return code === 0 ? EXIT.ok : EXIT.failed;
  },
};

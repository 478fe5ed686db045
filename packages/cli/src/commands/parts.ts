import { Scope, systemClock, systemRandom, type Closable } from "@torpor/kernel";
import { createLog, createMetrics, type LogLevel } from "@torpor/observe";
import { hostname } from "node:os";
import type { Command, CommandContext } from "../command.ts";
import { EXIT } from "../exitCodes.ts";
import { untilAborted } from "./up.ts";

// Parts are imported when they are started: `./torpor runs list` need not load a database driver.

type StartPart = (env: NodeJS.ProcessEnv) => Promise<Closable>;

/** What every part is given. */
function dependencies(part: string, env: NodeJS.ProcessEnv) {
  const level = (env["TORPOR_LOG_LEVEL"] ?? "info") as LogLevel;
  return { clock: systemClock, random: systemRandom, log: createLog({ level, part }), metrics: createMetrics({ withProcess: true }) };
}

const platform: StartPart = async (env) => {
  const { readConfig, startPlatform } = await import("@torpor/platform");
  return await startPlatform(readConfig(env), dependencies("platform", env));
};

const gateway: StartPart = async (env) => {
  const { readGatewayConfig, startGateway } = await import("@torpor/gateway");
  const config = readGatewayConfig(env);
  const running = await startGateway(config, dependencies("gateway", env));
  return { close: () => running.close({ destroy: config.onExit === "destroy" }) };
};

const supervisor: StartPart = async (env) => {
  const { readConfig, startSupervisor } = await import("@torpor/supervisor");
  return await startSupervisor(readConfig(env, { instanceName: hostname }), dependencies("supervisor", env));
};

const warmstart: StartPart = async (env) => {
  const { readConfig, startWarmStart } = await import("@torpor/warmstart");
  return await startWarmStart(readConfig(env), dependencies("warmstart", env));
};

/** The gateway first and last: the supervisor needs it to start and to drain. */
const node: StartPart = async (env) => {
  const scope = new Scope();
  try {
    for (const start of [gateway, warmstart, supervisor]) scope.use(await start(env));
    return scope;
  } catch (error) {
    await scope.close();
    throw error;
  }
};

function partCommand(name: string, summary: string, start: StartPart): Command {
  return {
    name,
    summary: `${summary}, configured by environment`,
    async run(context: CommandContext) {
      const part = await start(context.env);
      try {
        await untilAborted(context.signal);
      } finally {
        await part.close();
      }
      return EXIT.ok;
    },
  };
}

/** Each part alone, as an operator of several machines starts it. They run until SIGTERM or SIGINT, and drain then. */
export const PART_COMMANDS: readonly Command[] = [
  partCommand("platform", "run a platform", platform),
  partCommand("supervisor", "run a supervisor", supervisor),
  partCommand("gateway", "run a gateway", gateway),
  partCommand("warmstart", "run a warm-start broker", warmstart),
  partCommand("node", "run a node: gateway, warm-start broker and supervisor in one process", node),
];

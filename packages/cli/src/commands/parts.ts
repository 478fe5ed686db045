import { Scope, systemClock, systemRandom, type Closable } from "@torpor/kernel";
import { createLog, createMetrics, type LogLevel } from "@torpor/observe";
import { hostname } from "node:os";
import type { Command, CommandContext } from "../command.ts";
import { CommandFailure, EXIT } from "../exitCodes.ts";
import { untilAborted } from "./up.ts";

// Parts are imported when they are started: `./torpor runs list` need not load a database driver.

interface RunningPart extends Closable {
  /** Rejects when the part finds, after its start, that it can never work: a wrong token, say. */
  readonly ready?: Promise<unknown>;
}

type StartPart = (env: NodeJS.ProcessEnv) => Promise<RunningPart>;

/** What every part is given. */
function dependencies(part: string, env: NodeJS.ProcessEnv) {
  const level = (env["TORPOR_LOG_LEVEL"] ?? "info") as LogLevel;
  return { clock: systemClock, random: systemRandom, log: createLog({ level, part }), metrics: createMetrics({ withProcess: true }) };
}

/** What a part's settings lack is the operator's to mend: no fault of Torpor. */
function configured<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new CommandFailure(EXIT.usage, (error as Error).message, "docs/operating.md lists the settings");
  }
}

const platform: StartPart = async (env) => {
  const { readConfig, startPlatform } = await import("@torpor/platform");
  return await startPlatform(
    configured(() => readConfig(env)),
    dependencies("platform", env),
  );
};

const gateway: StartPart = async (env) => {
  const { readGatewayConfig, startGateway } = await import("@torpor/gateway");
  const config = configured(() => readGatewayConfig(env));
  const running = await startGateway(config, dependencies("gateway", env));
  return { close: () => running.close({ destroy: config.onExit === "destroy" }) };
};

const supervisor: StartPart = async (env) => {
  const { readConfig, startSupervisor } = await import("@torpor/supervisor");
  return await startSupervisor(
    configured(() => readConfig(env, { instanceName: hostname })),
    dependencies("supervisor", env),
  );
};

const warmstart: StartPart = async (env) => {
  const { readConfig, startWarmStart } = await import("@torpor/warmstart");
  return await startWarmStart(
    configured(() => readConfig(env)),
    dependencies("warmstart", env),
  );
};

/** The gateway first and last: the supervisor needs it to start and to drain. */
const node: StartPart = async (env) => {
  const scope = new Scope();
  try {
    const parts: RunningPart[] = [];
    for (const start of [gateway, warmstart, supervisor]) parts.push(scope.use(await start(env)));
    return { ready: Promise.all(parts.map(({ ready }) => ready)), close: () => scope.close() };
  } catch (error) {
    await scope.close();
    throw error;
  }
};

/** Never resolves; rejects with what keeps the part from working. */
async function neverReady(part: RunningPart): Promise<never> {
  await part.ready;
  return await new Promise<never>(() => {});
}

function partCommand(name: string, summary: string, start: StartPart): Command {
  return {
    name,
    summary: `${summary}, configured by environment`,
    async run(context: CommandContext) {
      const part = await start(context.env);
      try {
        await Promise.race([untilAborted(context.signal), neverReady(part)]);
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

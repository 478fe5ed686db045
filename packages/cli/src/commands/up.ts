import type { Command, CommandContext, CommandInput } from "../command.ts";
import { textOption } from "../command.ts";
import { CommandFailure, EXIT } from "../exitCodes.ts";
import { DATA_DIR_OPTION, dataDirOf, ensureDataDir } from "../plane/dataDir.ts";
import { startPlane, type Plane } from "../plane/plane.ts";
import { isAlive, readPlaneFile } from "../plane/planeFile.ts";
import { prepareMachine, type PreparedMachine } from "../setup/prepareMachine.ts";
import { partEnvironment } from "./partEnvironment.ts";

/** Starts a plane in the foreground and keeps it running until it is asked to stop. */
export const up: Command = {
  name: "up",
  summary: "start a plane here: PostgreSQL, the platform and a node. Ctrl-C drains and stops it",
  options: [
    DATA_DIR_OPTION,
    { flags: "--port <port>", description: "port of the API (default: 3030, or the next free one)" },
    { flags: "--driver <driver>", description: "gvisor, or process for plain processes that cannot sleep (default: gvisor where it runs)" },
    { flags: "--no-install", description: "do not install system packages and do not build runsc" },
  ],
  async run(context, input) {
    const dataDir = dataDirOf(context, input);
    refuseSecondPlane(dataDir);
    const machine = await prepareMachine(context, { mayInstall: input.options["install"] !== false });
    const driver = chooseDriver(machine, textOption(input, "driver"));
    const plane = await startHere(context, input, { dataDir, driver, machine });
    try {
      announce(context, plane, driver, machine);
      await untilAborted(context.signal);
      context.terminal.progress("draining; runs that sleep stay on disk and wake at the next start");
    } finally {
      await plane.close();
    }
    context.terminal.progress("stopped");
    return EXIT.ok;
  },
};

function refuseSecondPlane(dataDir: string): void {
  ensureDataDir(dataDir);
  const running = readPlaneFile(dataDir);
  if (running !== undefined && isAlive(running.pid))
    throw new CommandFailure(
      EXIT.refused,
      `Cannot start: process ${running.pid} already runs a plane on ${dataDir}`,
      "use another --data-dir, or stop that one",
    );
}

/** The driver to use: the one asked for if it can run, else the best that can. */
export function chooseDriver(machine: PreparedMachine, wanted: string | undefined): "gvisor" | "process" {
  if (wanted === undefined) return machine.driver;
  if (wanted !== "gvisor" && wanted !== "process")
    throw new CommandFailure(EXIT.usage, `Cannot use driver ${wanted}`, "it is gvisor or process");
  const [first] = machine.missing;
  if (wanted === "gvisor" && first !== undefined) throw new CommandFailure(EXIT.missing, `Cannot use gVisor: ${first.message}`, first.hint);
  return wanted;
}

async function startHere(
  context: CommandContext,
  input: CommandInput,
  { dataDir, driver, machine }: { dataDir: string; driver: "gvisor" | "process"; machine: PreparedMachine },
): Promise<Plane> {
  const port = textOption(input, "port");
  const databaseUrl = context.env["DATABASE_URL"];
  return await startPlane({
    dataDir,
    driver,
    repoDir: context.repoDir,
    stateDir: context.stateDir,
    env: { ...partEnvironment(context.env), ...machine.env },
    ...(databaseUrl === undefined ? {} : { databaseUrl }),
    ...(port === undefined ? {} : { apiPort: { port: Number(port), mustBeThis: true } }),
    onProgress: (text) => context.terminal.progress(text),
    onUnexpectedExit: (part, how) =>
      context.terminal.error(`${part} ended (${how}) and is started again`, `see ${dataDir}/logs/${part}.log`),
  });
}

function announce({ terminal }: CommandContext, { file, dataDir }: Plane, driver: string, machine: PreparedMachine): void {
  const [missing] = machine.missing;
  if (driver === "process") {
    const why = missing === undefined ? "as asked" : missing.message;
    terminal.progress(
      `tasks run as plain processes, without isolation, and their waits stay in memory (${why}${missing === undefined ? "" : `; ${missing.hint}`})`,
    );
  }
  terminal.value({ apiUrl: file.apiUrl, dataDir, driver, pid: file.pid });
  terminal.line(`${terminal.paint("green", "up")}  API ${terminal.paint("bold", file.apiUrl)}   data ${dataDir}   driver ${driver}`);
  terminal.line("    deploy a project   ./torpor deploy examples/nap");
  terminal.line("    run a task         ./torpor trigger nap --wait");
  terminal.line("    keys for the SDK   ./torpor status --keys");
  terminal.line("    stop               Ctrl-C");
}

/** Resolves when the signal fires. */
export function untilAborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}

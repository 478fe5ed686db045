// The gateway as a process of its own: the one file that reads the environment and hears signals.
import process from "node:process";
import { readGatewayConfig } from "./config.ts";
import { startGateway } from "./gateway.ts";

try {
  const config = readGatewayConfig(process.env);
  const gateway = await startGateway(config);
  const stop = (): void => {
    gateway.close({ destroy: config.onExit === "destroy" }).then(
      () => process.exit(0),
      (error: unknown) => fail(error),
    );
  };
  process.once("SIGTERM", stop);
  process.once("SIGINT", stop);
} catch (error) {
  fail(error);
}

function fail(error: unknown): never {
  process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  process.exit(1);
}

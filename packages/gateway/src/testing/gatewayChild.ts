// A gateway as a process that tests can kill: like `main.ts`, with the test's image in place of a store.
import { readGatewayConfig } from "../config.ts";
import type { SandboxImage } from "../drivers/driver.ts";
import { startGateway } from "../gateway.ts";
import { withProgram } from "./realHost.ts";

const config = readGatewayConfig(process.env);
const image = JSON.parse(process.env["TEST_IMAGE"] ?? "null") as SandboxImage;
const gateway = await startGateway(config, { images: { find: async (reference) => withProgram(image, reference) } });
process.once("SIGTERM", () => void gateway.close({ destroy: config.onExit === "destroy" }).then(() => process.exit(0)));
process.stdout.write(`listening ${gateway.url}\n`);

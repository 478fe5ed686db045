import { resolve } from "node:path";
import { deployments } from "@torpor/contracts";
import { RouteClient } from "@torpor/http";
import type { StoredImage } from "@torpor/image";
import type { Command, CommandContext } from "../command.ts";
import { textOption } from "../command.ts";
import { DATA_DIR_OPTION, dataDirOf, writeLastProject } from "../plane/dataDir.ts";
import { environmentKey, requirePlane, unwrap } from "../connection.ts";
import { CommandFailure, EXIT } from "../exitCodes.ts";

/** Builds a project into an image and makes it the current version of its environment. The project's own errors change nothing. */
export const deploy: Command = {
  name: "deploy",
  summary: "build a project and make it the current version",
  args: [{ name: "<dir>", description: "folder with trigger.config.ts" }],
  options: [DATA_DIR_OPTION, { flags: "--env <slug>", description: "environment", default: "prod" }],
  async run(context, input) {
    const plane = requirePlane(context, input);
    const stored = await buildProject(context, resolve(context.cwd, input.args[0] ?? "."));
    const apiKey = await environmentKey(plane, stored.image.projectRef, textOption(input, "env") ?? "prod");
    const deployment = await registerImage({ apiUrl: plane.apiUrl, apiKey, stored });
    writeLastProject(dataDirOf(context, input), stored.image.projectRef);
    const tasks = stored.image.workerManifest.tasks.map(({ id }) => id);
    context.terminal.line(`${stored.image.projectRef} ${deployment.version} is deployed: ${tasks.join(", ")}`);
    context.terminal.value({ ...deployment, projectRef: stored.image.projectRef, tasks });
    return EXIT.ok;
  },
};

/** Builds the image of a project, or fails with the project's own error. */
export async function buildProject(context: CommandContext, projectDir: string): Promise<StoredImage> {
  const { buildImage, formatProjectError } = await import("@torpor/image");
  const { stateDir, terminal, signal } = context;
  const outcome = await buildImage({ projectDir, stateDir, progress: (line) => terminal.progress(line), signal });
  if (outcome.kind === "built") return outcome.stored;
  throw new CommandFailure(EXIT.failed, formatProjectError(outcome.error), "nothing was deployed");
}

/** Tells the platform of an image and makes it the current version. */
export async function registerImage({
  apiUrl,
  apiKey,
  stored,
}: {
  readonly apiUrl: string;
  readonly apiKey: string;
  readonly stored: StoredImage;
}) {
  const { imageReference } = await import("@torpor/image");
  const client = new RouteClient({ baseUrl: apiUrl, timeoutMs: 30_000, headers: () => ({ authorization: `Bearer ${apiKey}` }) });
  try {
    const { image } = stored;
    const body = {
      imageReference: imageReference(image),
      contentHash: image.contentHash,
      runtime: "node",
      sdkVersion: image.sdkVersion,
      cliVersion: image.cliVersion,
      manifest: image.workerManifest,
    };
    return unwrap(await client.call(deployments.create, { body }));
  } finally {
    await client.close();
  }
}

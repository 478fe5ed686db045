import { admin } from "@torpor/contracts";
import { RouteClient, type CallOutcome } from "@torpor/http";
import type { Command, CommandContext, CommandInput } from "./command.ts";
import { textOption } from "./command.ts";
import { CommandFailure, EXIT } from "./exitCodes.ts";
import { DATA_DIR_OPTION, dataDirOf, readLastProject } from "./plane/dataDir.ts";
import { isAlive, readPlaneFile, type PlaneFile } from "./plane/planeFile.ts";

const CALL_TIMEOUT_MS = 30_000;

/** Options of every command that speaks to an environment. */
export const CONNECTION_OPTIONS: NonNullable<Command["options"]> = [
  DATA_DIR_OPTION,
  { flags: "--project <ref>", description: "project (default: the one deployed last)" },
  { flags: "--env <slug>", description: "environment of the project", default: "prod" },
  { flags: "--api-url <url>", description: "a platform elsewhere (default: TRIGGER_API_URL, or the plane of the data directory)" },
];

/** One environment of one platform. */
export interface EnvironmentConnection {
  readonly apiUrl: string;
  readonly apiKey: string;
  readonly client: RouteClient;
}

/** The plane of the data directory, or a failure that says how to start one. */
export function requirePlane(context: CommandContext, input: CommandInput): PlaneFile {
  const dataDir = dataDirOf(context, input);
  const plane = readPlaneFile(dataDir);
  if (plane !== undefined && isAlive(plane.pid)) return plane;
  throw new CommandFailure(EXIT.unreachable, `Cannot find a running plane in ${dataDir}`, "start one with: ./torpor up");
}

/** A client with the operator's rights. */
export function adminClient(plane: PlaneFile): RouteClient {
  return new RouteClient({
    baseUrl: plane.apiUrl,
    timeoutMs: CALL_TIMEOUT_MS,
    headers: () => ({ authorization: `Bearer ${plane.adminToken}` }),
  });
}

/** A client with the rights of an environment's key. `TRIGGER_SECRET_KEY` wins over the plane of the data directory. */
export async function connect(context: CommandContext, input: CommandInput): Promise<EnvironmentConnection> {
  const given = context.env["TRIGGER_SECRET_KEY"];
  const givenUrl = textOption(input, "apiUrl") ?? context.env["TRIGGER_API_URL"];
  if (given !== undefined && givenUrl !== undefined) return connection(givenUrl, given);
  const plane = requirePlane(context, input);
  const projectRef = textOption(input, "project") ?? readLastProject(dataDirOf(context, input));
  if (projectRef === undefined)
    throw new CommandFailure(
      EXIT.usage,
      "Cannot tell which project is meant: nothing was deployed to this plane yet",
      "./torpor deploy <dir>, or name it with --project",
    );
  return connection(plane.apiUrl, await environmentKey(plane, projectRef, textOption(input, "env") ?? "prod"));
}

/** The API key of an environment; the project is made when it is not there. */
export async function environmentKey(plane: PlaneFile, projectRef: string, slug: string): Promise<string> {
  const client = adminClient(plane);
  try {
    const { environments } = unwrap(await client.call(admin.ensureProject, { body: { ref: projectRef } }));
    const found = environments.find((environment) => environment.slug === slug);
    if (found !== undefined) return found.apiKey;
    const known = environments.map((environment) => environment.slug).join(", ");
    throw new CommandFailure(EXIT.notFound, `Cannot find environment ${slug} of project ${projectRef}`, `it has: ${known}`);
  } finally {
    await client.close();
  }
}

function connection(apiUrl: string, apiKey: string): EnvironmentConnection {
  const headers = { authorization: `Bearer ${apiKey}`, "x-trigger-api-version": "2025-07-16" };
  return { apiUrl, apiKey, client: new RouteClient({ baseUrl: apiUrl, timeoutMs: CALL_TIMEOUT_MS, headers: () => headers }) };
}

/** Runs `work` with a connection and closes it. */
export async function withConnection<T>(
  context: CommandContext,
  input: CommandInput,
  work: (connection: EnvironmentConnection) => Promise<T>,
): Promise<T> {
  const connected = await connect(context, input);
  try {
    return await work(connected);
  } finally {
    await connected.client.close();
  }
}

/** The answer of a call, or a failure with the exit code that fits. */
export function unwrap<T>(outcome: CallOutcome<T>): T {
  if (outcome.kind === "ok") return outcome.body;
  if (outcome.kind === "unreachable")
    throw new CommandFailure(EXIT.unreachable, `Cannot reach the platform: ${outcome.message}`, "is the plane up? ./torpor status");
  throw new CommandFailure(outcome.status === 404 ? EXIT.notFound : EXIT.refused, outcome.message);
}

import { createHmac } from "node:crypto";
import { equalInConstantTime } from "@torpor/kernel";

// Proof of the environment that a sandbox belongs to (L14). It only allows to send spans and logs, and is the same for all
// runs of an environment, because a process that is kept warm reads it once.

export function telemetryToken(environmentId: string, apiKey: string): string {
  return `${environmentId}.${createHmac("sha256", apiKey).update("torpor-telemetry-v1").digest("base64url")}`;
}

/** The environment's id in a token that is real, or undefined. `apiKeyOf` yields undefined for an environment that is not there. */
export async function environmentOfToken(
  token: string,
  apiKeyOf: (environmentId: string) => Promise<string | undefined>,
): Promise<string | undefined> {
  const environmentId = token.slice(0, token.indexOf("."));
  if (!/^[\w-]{1,128}$/.test(environmentId)) return undefined;
  const apiKey = await apiKeyOf(environmentId);
  return apiKey !== undefined && equalInConstantTime(telemetryToken(environmentId, apiKey), token) ? environmentId : undefined;
}

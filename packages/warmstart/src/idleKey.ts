import type { DequeuedMessage } from "@torpor/contracts";

/** What a run and an idle runner must have in common. */
export interface IdleKey {
  readonly deploymentId: string;
  readonly version: string;
  readonly cpu: number;
  readonly memory: number;
}

export function keyText(key: IdleKey): string {
  return JSON.stringify([key.deploymentId, key.version, key.cpu, key.memory]);
}

/** What a run asks of the runner that takes it. Undefined: it names no deployment, so no idle runner can be known to fit. */
export function keyOfRun(message: DequeuedMessage): IdleKey | undefined {
  const deploymentId = message.deployment.friendlyId ?? message.deployment.id;
  if (deploymentId === undefined) return undefined;
  const { cpu, memory } = message.run.machine;
  return { deploymentId, version: message.backgroundWorker.version, cpu, memory };
}

/**
 * The deployment that a runner shows: its plain id, or a token that says it in its claims. The token is read, not verified:
 * the supervisor verifies it when the runner begins the run.
 */
export function deploymentIdShown(text: string): string {
  const [, payload, signature] = text.split(".");
  if (payload === undefined || signature === undefined) return text;
  try {
    const claims: unknown = JSON.parse(Buffer.from(payload, "base64url").toString("utf8"));
    const deployment = typeof claims === "object" && claims !== null && "deployment" in claims ? claims.deployment : undefined;
    return typeof deployment === "string" ? deployment : text;
  } catch {
    return text; // three parts, but no token: an id of somebody else's making
  }
}

import { TorporError, WORKLOAD_HEADERS } from "@torpor/contracts";
import type { AuthRequest } from "@torpor/http";
import type { Log } from "@torpor/observe";
import type { SupervisorConfig } from "../config.ts";
import type { Runner } from "../runners/runner.ts";
import type { Runners } from "../runners/runners.ts";
import { readDeploymentToken } from "./deploymentToken.ts";
import type { SocketCaller } from "./sockets.ts";

/** Who makes a workload call. */
export interface WorkloadCaller {
  /** Null for a runner so old that it does not say who it is. */
  readonly runner: Runner | null;
  /** From a verified deployment token: what the platform may look at for this call. */
  readonly environmentId: string | undefined;
}

/** Whom the platform is told a call is for. */
export function by(caller: WorkloadCaller): { runnerId: string | undefined; environmentId: string | undefined } {
  return { runnerId: caller.runner?.name, environmentId: caller.environmentId };
}

const MAX_NAME_LENGTH = 200;

/** Tells runners apart: by address where it is known, by what they say where it is not (L14). */
export class Identity {
  readonly #runners: Runners;
  readonly #token: SupervisorConfig["workload"]["token"];
  readonly #log: Log;

  constructor(deps: { readonly runners: Runners; readonly token: SupervisorConfig["workload"]["token"]; readonly log: Log }) {
    this.#runners = deps.runners;
    this.#token = deps.token;
    this.#log = deps.log;
  }

  /** The caller of a request. Throws `unauthenticated` or `forbidden`. */
  async ofRequest(request: AuthRequest): Promise<WorkloadCaller> {
    const claim = header(request, WORKLOAD_HEADERS.runnerId);
    const environmentId = await this.#environmentOf(header(request, WORKLOAD_HEADERS.deploymentId));
    return { runner: claim === undefined ? null : this.#named(claim, request.remoteAddress), environmentId };
  }

  /** The runner of a socket. Throws `unauthenticated` or `forbidden`. */
  async ofSocket(caller: SocketCaller): Promise<Runner> {
    await this.#environmentOf(caller.deploymentId);
    if (caller.claim === undefined || caller.deploymentId === undefined)
      throw new TorporError("unauthenticated", "Cannot take the socket: its handshake names no runner or no deployment");
    return this.#named(caller.claim, caller.remoteAddress);
  }

  /** The same without consequences, to count open requests. */
  peek(claim: string | undefined, remoteAddress: string): Runner | undefined {
    if (claim === undefined) return undefined;
    try {
      return this.#runners.identify(claim, remoteAddress);
    } catch (error) {
      if (error instanceof TorporError) return undefined; // refused in earnest a moment later, by the route's authentication
      throw error;
    }
  }

  #named(claim: string, remoteAddress: string): Runner {
    if (claim.length > MAX_NAME_LENGTH)
      throw new TorporError("request_invalid", `Cannot use ${WORKLOAD_HEADERS.runnerId}: it is longer than ${MAX_NAME_LENGTH} characters`);
    return this.#runners.identifyOrAdd(claim, remoteAddress);
  }

  async #environmentOf(deploymentId: string | undefined): Promise<string | undefined> {
    if (this.#token.kind === "off" || deploymentId === undefined) return undefined;
    const verdict = await readDeploymentToken(deploymentId, this.#token.secret);
    if (verdict.kind === "valid") return this.#token.enforce ? verdict.claims.environment_id : undefined;
    if (verdict.kind === "bare_id") return undefined;
    if (this.#token.enforce) throw new TorporError("unauthenticated", `Cannot accept the deployment token: ${verdict.reason}`);
    this.#log.warn({ reason: verdict.reason }, "a deployment token does not verify; accepted, because WORKLOAD_TOKEN_ENFORCEMENT is log");
    return undefined;
  }
}

function header(request: AuthRequest, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

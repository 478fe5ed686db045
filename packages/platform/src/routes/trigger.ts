import type { IncomingHttpHeaders } from "node:http";
import { sdkRuns } from "@torpor/contracts";
import type { EngineForEnvironment, TriggerOptions } from "@torpor/engine";
import { Answer, type Mounted } from "@torpor/http";
import type { Clock, Random } from "@torpor/kernel";
import { mount, type SdkCaller } from "../auth/callers.ts";
import { requireScope } from "../auth/scopes.ts";
import type { OneTimeTokens } from "../auth/oneTimeTokens.ts";
import type { TokenHeaders } from "../auth/tokenHeaders.ts";
import { given } from "../given.ts";
import { accepted } from "../refusal.ts";
import { traceContextOf } from "../runs/traceContext.ts";
import { triggerOptions, type TriggerLimits } from "../runs/triggerOptions.ts";

export interface TriggerDeps {
  readonly engine: Pick<EngineForEnvironment, "trigger">;
  readonly clock: Clock;
  readonly random: Random;
  readonly limits: TriggerLimits;
  readonly oneTimeTokens: OneTimeTokens;
  readonly tokenHeaders: TokenHeaders;
}

export function triggerRoutes(deps: TriggerDeps): Mounted[] {
  return [
    mount(sdkRuns.trigger, async ({ params, body, caller, headers }) => {
      requireScope(caller, "trigger", { type: "tasks", id: params.taskId });
      const options = triggerOptions({ payload: body.payload, options: body.options, path: "options" }, deps.clock.nowMs(), deps.limits);
      await deps.oneTimeTokens.use(caller.token, requestKeyOf(headers));
      const run = accepted(await deps.engine.trigger(caller.env, params.taskId, { ...options, ...origin(headers, deps.random) }));
      return new Answer({ id: run.runId, isCached: run.isCached }, { headers: await readHeaders(deps.tokenHeaders, caller, run.runId) });
    }),
  ];
}

/** Where a call comes from: its trace, its request, and what triggered it. */
export function origin(headers: IncomingHttpHeaders, random: Random): Pick<TriggerOptions, "traceContext" | "annotations" | "requestKey"> {
  const source = headers["x-trigger-source"];
  return {
    traceContext: traceContextOf(headers, random),
    annotations: { triggerSource: typeof source === "string" ? source.slice(0, 64) : "api", triggerAction: "trigger" },
    ...given({ requestKey: requestKeyOf(headers) }),
  };
}

/** What all tries of one logical call have in common. */
export function requestKeyOf(headers: IncomingHttpHeaders): string | undefined {
  const key = headers["x-trigger-request-idempotency-key"];
  return typeof key === "string" && key !== "" ? key.slice(0, 256) : undefined;
}

function readHeaders(tokenHeaders: TokenHeaders, caller: SdkCaller, runId: string): Promise<Record<string, string>> {
  return tokenHeaders.for(caller, { scopes: [`read:runs:${runId}`], expirationTime: "1h" });
}

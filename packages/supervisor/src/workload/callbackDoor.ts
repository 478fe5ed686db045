// The door through which the gateway tells that a snapshot is over. It stands beside the runners' API, so everything that
// comes in is a stranger's until it is proven to be the gateway's (L15).
import { SnapshotCallback, TorporError } from "@torpor/contracts";
import type { Clock, Secret } from "@torpor/kernel";
import { z } from "zod";
import type { Callbacks, CallbackVerdict, SnapshotResult } from "../snapshot/callbacks.ts";
import { isSignedByGateway } from "../snapshot/signature.ts";

// A foreign gateway's image ids look as they like.
const [Completed, Failed] = SnapshotCallback.options;
const Callback = z.discriminatedUnion("status", [Completed.extend({ snapshot_id: z.string().min(1).max(1024) }), Failed]);

export interface CallbackDoorDeps {
  readonly callbacks: Callbacks;
  readonly clock: Clock;
  readonly gatewayToken: Secret | undefined;
  /** A gateway that speaks the shared contract alone signs nothing; then the token in the metadata is all there is. */
  readonly gatewayIsForeign: () => boolean;
}

/** Judges a callback and takes it in. Throws `request_invalid` for a body that is none. */
export function callbackDoor(deps: CallbackDoorDeps): (body: Buffer, signature: string | undefined) => CallbackVerdict {
  return (body, signature) => {
    const { gatewayToken } = deps;
    if (gatewayToken !== undefined && (signature !== undefined || !deps.gatewayIsForeign())) {
      if (signature === undefined || !isSignedByGateway(body, signature, { token: gatewayToken, nowMs: deps.clock.nowMs() }))
        return "forged";
    }
    return deps.callbacks.receive(parse(body));
  };
}

function parse(body: Buffer): SnapshotResult {
  let json: unknown;
  try {
    json = JSON.parse(body.toString("utf8"));
  } catch (error) {
    throw new TorporError("body_malformed", "Cannot read the callback as JSON", { cause: error });
  }
  const parsed = Callback.safeParse(json);
  if (!parsed.success) throw new TorporError("request_invalid", `Cannot use the callback: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

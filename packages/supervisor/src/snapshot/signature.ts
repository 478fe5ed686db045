import { createHmac } from "node:crypto";
import { CALLBACK_KEY_LABEL } from "@torpor/contracts";
import { equalInConstantTime, type Secret } from "@torpor/kernel";

/** Clocks of supervisor and gateway are the same machine's; the rest is for a callback that is repeated over an outage. */
const MAX_AGE_MS = 10 * 60_000;

/** Whether `t=<ms>,v1=<hex>` is the gateway's signature over exactly this body, and recent. */
export function isSignedByGateway(body: Buffer, signature: string, options: { readonly token: Secret; readonly nowMs: number }): boolean {
  const parts = /^t=(\d{1,16}),v1=([0-9a-f]{64})$/.exec(signature);
  if (parts === null) return false;
  const [, sentAt = "", digest = ""] = parts;
  if (Math.abs(options.nowMs - Number(sentAt)) > MAX_AGE_MS) return false;
  const key = createHmac("sha256", options.token.reveal()).update(CALLBACK_KEY_LABEL).digest();
  const expected = createHmac("sha256", key).update(`${sentAt}.`).update(body).digest("hex");
  return equalInConstantTime(expected, digest);
}

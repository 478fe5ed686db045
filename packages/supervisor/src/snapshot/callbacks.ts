// Answers of the gateway to snapshots that we asked for.
//
// C1  A callback counts when its token is ours for exactly this nonce, run and snapshot, and its nonce is still expected (L15).
// C2  A nonce counts once. A repeat is acknowledged, so that the gateway stops repeating it, and changes nothing.
// C3  A result for an intent that was cancelled meanwhile is handed to whoever cleans up, never reported to the platform.
import { createHmac } from "node:crypto";
import type { SnapshotCallback } from "@torpor/contracts";
import { equalInConstantTime, type Random, type Secret } from "@torpor/kernel";
import type { IntentKey } from "./intent.ts";

/** As the gateway tells it; ids of foreign gateways look as they like. */
export type SnapshotResult =
  | (Omit<Extract<SnapshotCallback, { status: "completed" }>, "snapshot_id"> & { readonly snapshot_id: string })
  | Extract<SnapshotCallback, { status: "failed" }>;

interface Expected {
  readonly key: IntentKey;
  readonly instanceIds: readonly string[] | null;
  readonly resolve: (result: SnapshotResult) => void;
}

export interface ExpectedCallback {
  readonly nonce: string;
  /** Goes into the request and comes back with the answer. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly result: Promise<SnapshotResult>;
}

export type CallbackVerdict = "taken" | "repeated" | "forged";

const NONCE_BYTES = 16;
/** Callbacks that were given up: kept a while, to clean up after them (C3). The oldest go first. */
const MAX_EXPECTED = 10_000;

/** The callbacks that are expected. */
export class Callbacks {
  readonly #key: Buffer;
  readonly #random: Random;
  readonly #expected = new Map<string, Expected>();

  constructor(options: { readonly workerToken: Secret; readonly random: Random }) {
    this.#key = createHmac("sha256", options.workerToken.reveal()).update("compute-snapshot-callback-v1").digest();
    this.#random = options.random;
  }

  /** Makes a nonce for one snapshot of one runner. `instanceIds`: what the gateway may call the sandbox, or null when that is not known. */
  expect(key: IntentKey, instanceIds: readonly string[] | null): ExpectedCallback {
    const nonce = Buffer.from(this.#random.bytes(NONCE_BYTES)).toString("hex");
    const { promise, resolve } = Promise.withResolvers<SnapshotResult>();
    this.#expected.set(nonce, { key, instanceIds, resolve });
    if (this.#expected.size > MAX_EXPECTED) this.#expected.delete(this.#expected.keys().next().value ?? "");
    const { runId, snapshotId } = key;
    const metadata = {
      runId,
      snapshotFriendlyId: snapshotId,
      snapshotCallbackNonce: nonce,
      snapshotCallbackToken: this.#token(nonce, runId, snapshotId),
    };
    return { nonce, metadata, result: promise };
  }

  /** No callback of this nonce counts any more. */
  forget(nonce: string): void {
    this.#expected.delete(nonce);
  }

  /** Takes a callback in (C1, C2). */
  receive(result: SnapshotResult): CallbackVerdict {
    const { runId = "", snapshotFriendlyId = "", snapshotCallbackNonce = "", snapshotCallbackToken = "" } = result.metadata ?? {};
    if (!equalInConstantTime(this.#token(snapshotCallbackNonce, runId, snapshotFriendlyId), snapshotCallbackToken)) return "forged";
    const expected = this.#expected.get(snapshotCallbackNonce);
    if (expected === undefined) return "repeated";
    if (expected.instanceIds !== null && !expected.instanceIds.includes(result.instance_id)) return "forged";
    this.#expected.delete(snapshotCallbackNonce);
    expected.resolve(result);
    return "taken";
  }

  #token(nonce: string, runId: string, snapshotId: string): string {
    return createHmac("sha256", this.#key).update([nonce, runId, snapshotId].join("\0")).digest("hex");
  }
}

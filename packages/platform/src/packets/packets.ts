import { createHmac } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { TorporError, sdkPackets } from "@torpor/contracts";
import type { EnvironmentRef } from "@torpor/engine";
import type { Mounted } from "@torpor/http";
import { equalInConstantTime, type Clock, type Secret } from "@torpor/kernel";
import type { FastifyInstance } from "fastify";
import { mount } from "../auth/callers.ts";
import type { PlatformDatabase } from "../database.ts";
import type { Origins } from "../origins.ts";
import { found } from "../refusal.ts";

// Payloads and outputs that are too large for a request (the SDK sends those above 128 KiB apart).
//
//   K1  An address to write or read one is signed, for one method, one environment, one key, and a time.
//   K2  It names the host that its caller used: whoever asked through it can also fetch through it.

const LIVES_MS = 3_600_000;

export interface PacketOptions {
  readonly database: PlatformDatabase;
  readonly clock: Clock;
  /** The signing key is derived from it. */
  readonly encryptionKey: Secret;
  readonly origins: Pick<Origins, "api">;
  readonly maxPacketBytes: number;
}

type Method = "GET" | "PUT";

export class Packets {
  readonly #options: PacketOptions;
  readonly #signingKey: Buffer;

  constructor(options: PacketOptions) {
    this.#options = options;
    this.#signingKey = createHmac("sha256", options.encryptionKey.reveal()).update("torpor-packets-v1").digest();
  }

  routes(): Mounted[] {
    return [
      mount(sdkPackets.presignUpload, async ({ params, caller, headers }) => ({
        presignedUrl: this.#url("PUT", caller.env, params["*"], headers),
        storagePath: params["*"],
      })),
      mount(sdkPackets.presignDownload, async ({ params, caller, headers }) => ({
        presignedUrl: this.#url("GET", caller.env, params["*"], headers),
      })),
    ];
  }

  downloadUrl(env: EnvironmentRef, key: string, headers: IncomingHttpHeaders): string {
    return this.#url("GET", env, key, headers);
  }

  /** The signed addresses. They carry bytes, not JSON, so they are no declared routes. */
  serve(app: FastifyInstance): void {
    void app.register(async (scope) => {
      scope.removeAllContentTypeParsers();
      scope.addContentTypeParser(
        "*",
        { parseAs: "buffer", bodyLimit: this.#options.maxPacketBytes },
        async (_request: unknown, body: Buffer) => body,
      );
      scope.put<PacketRequest>("/packets/:environmentId/*", async (request, reply) => {
        const data = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
        await this.#store(this.#checked("PUT", request), request.headers["content-type"] ?? "application/json", data);
        return reply.code(200).send();
      });
      scope.get<PacketRequest>("/packets/:environmentId/*", async (request, reply) => {
        const packet = await this.#load(this.#checked("GET", request));
        return reply.header("content-type", packet.contentType).header("x-content-type-options", "nosniff").send(packet.data);
      });
    });
  }

  #url(method: Method, env: EnvironmentRef, key: string, headers: IncomingHttpHeaders): string {
    const { origins, clock } = this.#options;
    const host = headers.host;
    const origin = host !== undefined && /^[\w.:[\]-]{1,255}$/.test(host) ? `${new URL(origins.api).protocol}//${host}` : origins.api;
    const expires = String(clock.nowMs() + LIVES_MS);
    const path = key.split("/").map(encodeURIComponent).join("/");
    return `${origin}/packets/${env.id}/${path}?expires=${expires}&signature=${this.#signature(method, { environmentId: env.id, key }, expires)}`;
  }

  #signature(method: Method, packet: PacketName, expires: string): string {
    return createHmac("sha256", this.#signingKey)
      .update([method, packet.environmentId, packet.key, expires].join("\n"))
      .digest("base64url");
  }

  #checked(method: Method, request: { params: PacketRequest["Params"]; query: unknown }): PacketName {
    const packet = { environmentId: request.params.environmentId, key: request.params["*"] };
    const { expires, signature } = request.query as Readonly<Record<string, unknown>>;
    const isSigned =
      typeof expires === "string" &&
      typeof signature === "string" &&
      equalInConstantTime(this.#signature(method, packet, expires), signature);
    if (!isSigned || Number(expires) < this.#options.clock.nowMs())
      throw new TorporError("forbidden", "Cannot use this address: it is not signed, or it has expired");
    return packet;
  }

  async #store({ environmentId, key }: PacketName, contentType: string, data: Buffer): Promise<void> {
    const text =
      "insert into platform_packets (environment_id, key, content_type, data, created_at) values ($1, $2, $3, $4, $5) " +
      "on conflict (environment_id, key) do update set content_type = excluded.content_type, data = excluded.data";
    await this.#options.database.query(text, [environmentId, key, contentType.slice(0, 128), data, new Date(this.#options.clock.nowMs())]);
  }

  async #load({ environmentId, key }: PacketName): Promise<{ contentType: string; data: Buffer }> {
    const text = "select content_type, data from platform_packets where environment_id = $1 and key = $2";
    const [row] = await this.#options.database.query<{ content_type: string; data: Buffer }>(text, [environmentId, key]);
    const packet = found(row, "stored value", key);
    return { contentType: packet.content_type, data: packet.data };
  }
}

interface PacketName {
  readonly environmentId: string;
  readonly key: string;
}

interface PacketRequest {
  Params: { environmentId: string; "*": string };
}

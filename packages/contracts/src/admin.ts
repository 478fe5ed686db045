import { z } from "zod";
import { route } from "./route.ts";

// What the operator asks of a platform, by admin token.

const EnvironmentWithKey = z.object({
  id: z.string(),
  slug: z.string(),
  type: z.enum(["PRODUCTION", "STAGING", "DEVELOPMENT", "PREVIEW"]),
  apiKey: z.string(),
});

export const ProjectRef = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$/, "must be 1-100 letters, digits, '-' or '_'");

export const admin = {
  /** Makes a project with its environments when it is not there; answers their keys either way. */
  ensureProject: route("POST", "/admin/api/v1/projects", {
    auth: "admin",
    body: z.object({ ref: ProjectRef, name: z.string().min(1).max(255).optional() }),
    reply: z.object({ ref: z.string(), environments: z.array(EnvironmentWithKey) }),
  }),
  /** Makes a worker group, or gives the one of that name another token. A token that is made here is answered in clear, once. */
  ensureWorkerGroup: route("POST", "/admin/api/v1/workers", {
    auth: "admin",
    body: z.looseObject({ name: z.string().min(1).max(100), token: z.string().min(20).max(256).optional() }),
    reply: z.object({ token: z.object({ plaintext: z.string() }).optional(), workerGroup: z.object({ id: z.string(), name: z.string() }) }),
  }),
  /** How many runs are in which state. */
  status: route("GET", "/admin/api/v1/status", {
    auth: "admin",
    reply: z.object({
      byStatus: z.record(z.string(), z.number()),
      executing: z.number(),
      suspended: z.number(),
      queued: z.number(),
      databaseReachable: z.boolean(),
    }),
  }),
} as const;

/** Whether the process is up, and whether it can do its work. */
export const health = {
  healthz: route("GET", "/healthz", { auth: "none", reply: z.object({ ok: z.literal(true) }) }),
  readyz: route("GET", "/readyz", { auth: "none", reply: z.object({ ok: z.boolean(), database: z.boolean() }) }),
} as const;

import { admin, health } from "@torpor/contracts";
import type { EngineForAdmin } from "@torpor/engine";
import { Answer, type Mounted } from "@torpor/http";
import { randomText, type Random } from "@torpor/kernel";
import { mount } from "../auth/callers.ts";
import { given } from "../given.ts";

export interface AdminDeps {
  readonly engine: EngineForAdmin;
  readonly random: Random;
}

export function adminRoutes({ engine, random }: AdminDeps): Mounted[] {
  return [
    mount(admin.ensureProject, async ({ body }) => {
      const { environments } = await engine.ensureProject({ ref: body.ref, ...given({ name: body.name }) });
      return { ref: body.ref, environments: environments.map(({ id, slug, type, apiKey }) => ({ id, slug, type, apiKey })) };
    }),
    mount(admin.ensureWorkerGroup, async ({ body }) => {
      const plaintext = body.token ?? `tr_wgt_${randomText(random, 40)}`;
      const { id } = await engine.ensureWorkerGroup({ name: body.name, token: plaintext });
      return { ...(body.token === undefined ? { token: { plaintext } } : {}), workerGroup: { id, name: body.name } };
    }),
    mount(admin.status, async () => {
      const [counts, databaseReachable] = await Promise.all([engine.counts(), engine.healthy()]);
      return {
        byStatus: { ...counts.byStatus } as Record<string, number>,
        executing: counts.executing,
        suspended: counts.suspended,
        queued: counts.queued,
        databaseReachable,
      };
    }),
  ];
}

export function healthRoutes({ engine }: Pick<AdminDeps, "engine">): Mounted[] {
  return [
    mount(health.healthz, async () => ({ ok: true as const })),
    mount(health.readyz, async () => {
      const database = await engine.healthy();
      return new Answer({ ok: database, database }, { status: database ? 200 : 503 });
    }),
  ];
}

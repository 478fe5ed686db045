import { join } from "node:path";
import { EmbeddedDatabase, ensureDataDir, ensureSecrets, freePorts, PartProcess, platformEnv, type PlaneConfig } from "@torpor/cli";
import { Scope, systemClock, systemRandom, type Closable } from "@torpor/kernel";

/** PostgreSQL and one platform, without a node. */
export interface BarePlatform extends Closable {
  readonly url: string;
  readonly databaseUrl: string;
  readonly adminToken: string;
  readonly workerToken: string;
  readonly managedSecret: string;
  readonly platformPid: number;
  readonly databasePid: number;
}

/** Starts PostgreSQL (fsync on) and a platform in `dataDir`, as `torpor up` would. */
export async function startBarePlatform(dataDir: string): Promise<BarePlatform> {
  ensureDataDir(dataDir);
  const scope = new Scope();
  const secrets = ensureSecrets(dataDir, systemRandom);
  const [api = 0, workload = 0, gateway = 0, warmStart = 0, database = 0] = await freePorts(5);
  const random = (): number => systemRandom.unit();
  const onUnexpectedExit = (name: string, how: string): void => console.error(`${name} ended: ${how}`);
  const postgres = scope.use(
    new EmbeddedDatabase({ dataDir, port: database, password: secrets.databasePassword, clock: systemClock, random, onUnexpectedExit }),
  );
  const databaseUrl = await postgres.start();
  const config: PlaneConfig = {
    planeId: "bench0",
    dataDir,
    stateDir: dataDir,
    driver: "process",
    ports: { api, workload, gateway, warmStart, database },
    secrets,
    databaseUrl,
    env: { PATH: process.env["PATH"] ?? "" },
  };
  const platform = new PartProcess(
    {
      name: "platform",
      program: process.execPath,
      args: [join(import.meta.dirname, "../../packages/cli/src/main.ts"), "platform"],
      env: { NODE_ENV: "production", ...config.env, ...platformEnv(config) },
      cwd: dataDir,
      logFile: join(dataDir, "logs", "platform.log"),
      isReady: async () => (await fetch(`http://127.0.0.1:${api}/readyz`)).ok,
    },
    { clock: systemClock, random, onUnexpectedExit },
  );
  scope.defer(() => platform.stop());
  await platform.start();
  return {
    url: `http://127.0.0.1:${api}`,
    databaseUrl,
    adminToken: secrets.adminToken.reveal(),
    workerToken: secrets.workerToken.reveal(),
    managedSecret: secrets.managedSecret.reveal(),
    platformPid: platform.pid ?? 0,
    databasePid: postgres.pid ?? 0,
    close: () => scope.close(),
  };
}

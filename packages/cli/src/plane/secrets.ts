import { chmodSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { randomText, Secret, type Random } from "@torpor/kernel";
import { z } from "zod";

const Stored = z.object({
  workerToken: z.string(),
  managedSecret: z.string(),
  gatewayToken: z.string(),
  adminToken: z.string(),
  /** 32 bytes, base64: API keys and variables of users are encrypted with it in the database. */
  encryptionKey: z.string(),
  databasePassword: z.string(),
});

/** One secret per purpose, made once per data directory. */
export type PlaneSecrets = { readonly [Name in keyof z.infer<typeof Stored>]: Secret };

/** Reads the plane's secrets, or makes them. The file can be read by its owner alone. */
export function ensureSecrets(dataDir: string, random: Random): PlaneSecrets {
  const file = join(dataDir, "secrets.json");
  const stored = readStored(file) ?? writeStored(file, random);
  return {
    workerToken: new Secret(stored.workerToken),
    managedSecret: new Secret(stored.managedSecret),
    gatewayToken: new Secret(stored.gatewayToken),
    adminToken: new Secret(stored.adminToken),
    encryptionKey: new Secret(stored.encryptionKey),
    databasePassword: new Secret(stored.databasePassword),
  };
}

function readStored(file: string): z.infer<typeof Stored> | undefined {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  return Stored.parse(JSON.parse(text));
}

function writeStored(file: string, random: Random): z.infer<typeof Stored> {
  const stored = {
    workerToken: `tr_wgt_${randomText(random, 40)}`,
    managedSecret: randomText(random, 40),
    gatewayToken: randomText(random, 40),
    adminToken: `tp_admin_${randomText(random, 40)}`,
    encryptionKey: Buffer.from(random.bytes(32)).toString("base64"),
    databasePassword: randomText(random, 40),
  };
  mkdirSync(join(file, ".."), { recursive: true });
  writeFileSync(`${file}.new`, JSON.stringify(stored, null, 2), { mode: 0o600 });
  chmodSync(`${file}.new`, 0o600);
  renameSync(`${file}.new`, file);
  return stored;
}

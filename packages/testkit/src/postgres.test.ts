import { existsSync } from "node:fs";
import { Client } from "pg";
import { describe, expect, it } from "vitest";
import { freshDatabase, startTestPostgres } from "./postgres.ts";

async function ask(connectionString: string, text: string): Promise<unknown[]> {
  const client = new Client({ connectionString });
  await client.connect();
  try {
    return (await client.query(text)).rows;
  } finally {
    await client.end();
  }
}

describe("a test's database", () => {
  it("is migrated, and shares nothing with another test's", async () => {
    const [one, two] = await Promise.all([freshDatabase(), freshDatabase()]);
    try {
      await ask(one.connectionString, "insert into organizations (id, slug, name) values ('a', 'a', 'a')");
      expect(await ask(two.connectionString, "select id from organizations")).toEqual([]);
    } finally {
      await Promise.all([one.close(), two.close()]);
    }
  });

  it("is gone after its close, even with a session open in it, and closing twice is harmless", async () => {
    const database = await freshDatabase();
    const client = new Client({ connectionString: database.connectionString });
    client.on("error", () => undefined);
    await client.connect();
    await database.close();
    await database.close();
    await expect(ask(database.connectionString, "select 1")).rejects.toThrow(/does not exist/);
  });
});

describe("a test's server", () => {
  it("leaves no process and no file behind", async () => {
    const postgres = await startTestPostgres({ fsync: false });
    const folder = new URL(postgres.connectionString).searchParams.get("host") ?? "";
    await postgres.close();
    expect(existsSync(folder)).toBe(false);
    expect(() => process.kill(postgres.server.pid, 0)).toThrow(/ESRCH/);
  });
});

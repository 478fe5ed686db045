import { silentLog } from "@torpor/observe";
import { freshDatabase, type FreshDatabase } from "@torpor/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Database, sql } from "./database.ts";
import { migrate } from "./migrate.ts";

const NOTE = sql("test_note", "insert into t (id, n) values ($1, $2)");
const READ = sql("test_read", "select id, n from t where id = $1");
const LOCK = sql("test_lock", "select id from t where id = $1 for update");
const COUNT = sql("test_count", "select count(*)::int as n from t where id like $1 || '%'");
const WRONG = sql("test_wrong", "insert into t (id, n) values ($1, ($2::text)::int)");

describe("a transaction", () => {
  let fresh: FreshDatabase;
  let db: Database;
  beforeAll(async () => {
    fresh = await freshDatabase();
    db = new Database({ connectionString: fresh.connectionString, poolSize: 4, log: silentLog });
    await db.query(sql("test_create", "create table t (id text primary key, n text)"), []);
  });
  afterAll(async () => {
    await db.close();
    await fresh.close();
  });

  it("that nobody waited for inside still fails as a whole, and tells nobody after the commit (Q2, Q4)", async () => {
    let told = false;
    const work = db.transaction(async (tx) => {
      tx.afterCommit(() => (told = true));
      tx.send(NOTE, ["a1", "x"]);
      tx.send(WRONG, ["a2", "no number"]);
    });
    await expect(work).rejects.toThrow(/invalid input syntax/);
    expect(await db.query(COUNT, ["a"])).toEqual([{ n: 0 }]);
    expect(told).toBe(false);
  });

  it("whose work throws leaves nothing, and its connection can be used again", async () => {
    for (let round = 0; round < 6; round++) {
      const work = db.transaction(async (tx) => {
        await tx.query(NOTE, ["b1", "x"]);
        throw new Error("changed my mind");
      });
      await expect(work).rejects.toThrow("changed my mind");
    }
    expect(await db.query(COUNT, ["b"])).toEqual([{ n: 0 }]);
  });

  it("that is undone by a deadlock is tried again and both get through (Q3)", async () => {
    await db.query(NOTE, ["c1", ""]);
    await db.query(NOTE, ["c2", ""]);
    let arrived = 0;
    const bothHoldOne = Promise.withResolvers<void>();
    const cross = (first: string, second: string, mark: string): Promise<void> =>
      db.transaction(async (tx) => {
        await tx.query(LOCK, [first]);
        if (++arrived >= 2) bothHoldOne.resolve();
        await bothHoldOne.promise;
        await tx.query(LOCK, [second]);
        await tx.query(NOTE, [mark, ""]);
      });
    await Promise.all([cross("c1", "c2", "c3"), cross("c2", "c1", "c4")]);
    expect(await db.query(COUNT, ["c"])).toEqual([{ n: 4 }]);
  });

  it("stores texts that PostgreSQL cannot hold as near as it can", async () => {
    await db.query(NOTE, ["d1", "a\0b"]);
    expect(await db.query(READ, ["d1"])).toEqual([{ id: "d1", n: "a\uFFFDb" }]);
  });
});

describe("migrations", () => {
  it("run once when several processes start at the same time", async () => {
    const fresh = await freshDatabase();
    const db = new Database({ connectionString: fresh.connectionString, poolSize: 2, log: silentLog });
    try {
      await db.query(sql("test_drop", "drop schema public cascade"), []);
      await db.query(sql("test_schema", "create schema public"), []);
      await Promise.all([1, 2, 3, 4].map(() => migrate(fresh.connectionString)));
      expect(await db.query(sql("test_applied", "select count(*)::int = count(distinct name)::int as once from migrations"), [])).toEqual([
        { once: true },
      ]);
    } finally {
      await db.close();
      await fresh.close();
    }
  });
});

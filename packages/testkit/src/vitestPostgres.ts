import { randomBytes } from "node:crypto";
import { createServer } from "node:net";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startTestPostgres, TEST_POSTGRES_SOCKET, type TestPostgres } from "./postgres.ts";

/** Global set-up of vitest: one server for the whole run, started when the first test asks for it. */
export default async function setUp(): Promise<() => Promise<void>> {
  let starting: Promise<TestPostgres> | undefined;
  const path = join(tmpdir(), `torpor-test-${randomBytes(6).toString("hex")}.sock`);
  const door = createServer((visitor) => {
    visitor.on("error", () => visitor.destroy());
    starting ??= startTestPostgres({ fsync: process.env["TORPOR_TEST_FSYNC"] === "on" });
    starting.then(
      (postgres) => visitor.end(postgres.connectionString),
      (error: unknown) => visitor.end(String(error)),
    );
  });
  await new Promise<void>((resolve) => door.listen(path, resolve));
  process.env[TEST_POSTGRES_SOCKET] = path;
  return async () => {
    delete process.env[TEST_POSTGRES_SOCKET];
    await new Promise<void>((resolve) => door.close(() => resolve()));
    await rm(path, { force: true });
    await (await starting)?.close();
  };
}

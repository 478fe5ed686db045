import { defineConfig } from "vitest/config";

/** Three kinds of tests: those of a package run side by side, those of a whole plane one after another, since they measure a machine; the simulation takes all of it, after them. */
export default defineConfig({
  test: {
    testTimeout: 60_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 20_000 } }, // what is waited for comes when it comes, on a busy machine too
    globalSetup: ["packages/testkit/src/vitestPostgres.ts"],
    projects: [
      {
        extends: true,
        test: {
          name: "packages",
          include: ["packages/*/src/**/*.test.ts", "packages/*/test/**/*.test.ts", "scripts/**/*.test.ts"],
          exclude: ["packages/sim/**", "**/node_modules/**"],
          maxWorkers: "100%", // many of them wait for a database
        },
      },
      {
        extends: true,
        test: {
          name: "simulation",
          include: ["packages/sim/src/**/*.test.ts"],
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          name: "e2e",
          include: ["e2e/**/*.test.ts"],
          globalSetup: ["e2e/harness/setUp.ts"],
          fileParallelism: false,
          testTimeout: 180_000,
          hookTimeout: 300_000,
        },
      },
    ],
  },
});

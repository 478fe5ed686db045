import { defineConfig } from "@trigger.dev/sdk";

export default defineConfig({
  project: "proj_nap",
  runtime: "node",
  dirs: ["./src/trigger"],
  maxDuration: 3600,
  retries: {
    enabledInDev: true,
    default: { maxAttempts: 1 },
  },
});

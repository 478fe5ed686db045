// Small projects of a user, written into temporary folders. They use the SDK and the CLI of this repository.
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

const NODE_MODULES = join(import.meta.dirname, "../../../../node_modules");

export const CONFIG = `import { defineConfig } from "@trigger.dev/sdk";
export default defineConfig({ project: "proj_fixture", dirs: ["./src/trigger"], maxDuration: 60 });
`;

export function taskFile(id: string): string {
  return `import { task } from "@trigger.dev/sdk";

export const greet = task({
  id: "${id}",
  run: async (payload: { name: string }) => ({ hello: payload.name }),
});
`;
}

/** A project that can be built; a test changes one thing. */
export function goodProject(): Record<string, string> {
  return {
    "package.json": JSON.stringify({ name: "fixture", type: "module", dependencies: { "@trigger.dev/sdk": "4.8.3" } }),
    "package-lock.json": "{}",
    "trigger.config.ts": CONFIG,
    "src/trigger/greet.ts": taskFile("greet"),
  };
}

export interface TemporaryProject {
  dir: string;
  remove(): Promise<void>;
}

/** `packages`: versions of SDK and CLI that only say their version; default: the real ones. */
export async function makeProject(files: Record<string, string>, packages?: Record<string, string>): Promise<TemporaryProject> {
  const dir = await mkdtemp(join(tmpdir(), "torpor-project-"));
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(dir, path)), { recursive: true });
    await writeFile(join(dir, path), content);
  }
  if (packages === undefined) await symlink(NODE_MODULES, join(dir, "node_modules"));
  for (const [name, version] of Object.entries(packages ?? {})) {
    await mkdir(join(dir, "node_modules", name), { recursive: true });
    await writeFile(join(dir, "node_modules", name, "package.json"), JSON.stringify({ name, version }));
  }
  return { dir, remove: () => rm(dir, { recursive: true, force: true }) };
}

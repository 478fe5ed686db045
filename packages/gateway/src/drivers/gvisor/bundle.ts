// The OCI bundle of a sandbox: what runsc is told about it. A memory image can only be restored with the same arguments,
// user, mounts and read-only flag as it was saved with; environment, host name, paths, limits and network may differ.
import type { SandboxSpec } from "../driver.ts";
import { resourceLimits, type Cgroups, type CpuLimit } from "./cgroups.ts";

export interface BundleOptions {
  readonly spec: SandboxSpec;
  readonly namespacePath: string;
  readonly cgroups: Cgroups;
  readonly cpuLimit: CpuLimit;
  /** File with the sandbox's resolvers. */
  readonly resolvConf: string;
}

/** Changes whenever `bundleConfig` would make a bundle that older memory images do not fit. */
export const BUNDLE_RECIPE = "1";

/** The content of `config.json`. */
export function bundleConfig(options: BundleOptions): Record<string, unknown> {
  const { spec, cgroups } = options;
  const env = { ...spec.image.env, ...spec.env };
  const none: string[] = [];
  return {
    ociVersion: "1.0.2",
    hostname: spec.id, // its own: programs make ids of it
    process: {
      terminal: false,
      user: spec.image.user,
      args: spec.image.args,
      env: Object.entries(env).map(([name, value]) => `${name}=${value}`),
      cwd: spec.image.workingDir,
      capabilities: { bounding: none, effective: none, inheritable: none, permitted: none, ambient: none },
      noNewPrivileges: true,
      rlimits: [{ type: "RLIMIT_NOFILE", hard: 65_536, soft: 65_536 }],
    },
    root: { path: spec.image.rootfs, readonly: false },
    mounts: mounts(options.resolvConf),
    linux: {
      namespaces: [...["pid", "mount", "ipc", "uts"].map((type) => ({ type })), { type: "network", path: options.namespacePath }],
      ...(cgroups.kind === "none" ? {} : { cgroupsPath: `/${cgroups.parent}/${spec.id}` }),
      resources:
        cgroups.kind === "none" ? {} : resourceLimits({ cpu: spec.cpu, memoryBytes: spec.memoryBytes, cpuLimit: options.cpuLimit }),
    },
  };
}

function mounts(resolvConf: string): object[] {
  const safe = ["nosuid", "noexec", "nodev"];
  return [
    { destination: "/proc", type: "proc", source: "proc", options: safe },
    { destination: "/sys", type: "sysfs", source: "sysfs", options: [...safe, "ro"] },
    { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "noexec", "mode=755", "size=1m"] },
    { destination: "/dev/shm", type: "tmpfs", source: "tmpfs", options: [...safe, "mode=1777", "size=64m"] },
    // runsc lays a tmpfs over an empty /tmp, which would take from the task's memory what it writes there. With this in
    // it, /tmp is not empty and stays on the overlay, like every other place a task may write to.
    { destination: "/tmp/.sandbox", type: "tmpfs", source: "tmpfs", options: [...safe, "ro", "size=4k"] },
    { destination: "/etc/resolv.conf", type: "bind", source: resolvConf, options: ["bind", "ro", ...safe] },
  ];
}

// Can this host run sandboxes? A value for the operator: what is missing, and the command that mends it.
import { access, constants } from "node:fs/promises";
import { dirname } from "node:path";
import { exec } from "./exec.ts";

export interface Missing {
  readonly what: string;
  /** What to do about it, as a command where there is one. */
  readonly mend: string;
}

export type Support =
  | { readonly kind: "supported"; readonly runscVersion: string }
  | { readonly kind: "unsupported"; readonly missing: readonly Missing[] };

/** Looks at the host and changes nothing. */
export async function gvisorSupport({ runscBinary, runDir }: { readonly runscBinary: string; readonly runDir: string }): Promise<Support> {
  if (process.platform !== "linux")
    return {
      kind: "unsupported",
      missing: [
        { what: `gVisor runs on Linux, and this is ${process.platform}`, mend: "run a node on a Linux machine, or use the process driver" },
      ],
    };
  const missing: Missing[] = [];
  if (process.getuid?.() !== 0)
    missing.push({ what: "sandboxes need root: network namespaces, nftables and cgroups are made for each", mend: "run it with sudo" });
  if (!(await works("ip", ["-V"]))) missing.push({ what: "the ip command (iproute2)", mend: "apt-get install -y iproute2" });
  if (!(await works("nft", ["--version"]))) missing.push({ what: "the nft command (nftables)", mend: "apt-get install -y nftables" });
  else if (process.getuid?.() === 0 && !(await nftCanReject()))
    missing.push({
      what: "nftables in the kernel with reject in prerouting (Linux 5.9 or newer)",
      mend: "use a newer kernel, or load the modules nf_tables and nft_reject_inet",
    });
  const version = await exec(runscBinary, ["--version"], { timeoutMs: 10_000 });
  if (version.code !== 0)
    missing.push({
      what: `a runsc that works (tried ${runscBinary}: ${version.stderr.trim().slice(0, 200) || version.end})`,
      mend: "install gVisor, or set TORPOR_RUNSC to a runsc binary",
    });
  if (!(await isWritable(runDir)) && !(await isWritable(dirname(runDir))))
    missing.push({
      what: `a folder for sockets and locks: ${runDir} cannot be written`,
      mend: "set TORPOR_GATEWAY_RUN_DIR to a short path on a local file system",
    });
  if (missing.length > 0) return { kind: "unsupported", missing };
  return { kind: "supported", runscVersion: /^runsc version (\S+)/.exec(version.stdout)?.[1] ?? "unknown" };
}

async function works(file: string, args: readonly string[]): Promise<boolean> {
  return (await exec(file, args, { timeoutMs: 5_000 })).code === 0;
}

/** `--check` asks the kernel without changing anything. */
async function nftCanReject(): Promise<boolean> {
  const script = `table inet torpor_check { chain c { type filter hook prerouting priority mangle; meta l4proto tcp reject with tcp reset; fib saddr . iif oif missing drop; }; }`;
  return (await exec("nft", ["--check", "-f", "-"], { timeoutMs: 5_000, input: `${script}\n` })).code === 0;
}

function isWritable(path: string): Promise<boolean> {
  return access(path, constants.W_OK).then(
    () => true,
    () => false,
  );
}

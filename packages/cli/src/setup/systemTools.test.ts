import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ensureSystemTools, installHint, SYSTEM_TOOLS, systemIds, type SystemToolsOutcome } from "./systemTools.ts";

const DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12"\nID=debian\n';
const MINT = 'NAME="Linux Mint"\nID=linuxmint\nID_LIKE="ubuntu debian"\n';
const FEDORA = "ID=fedora\n";

const nftables = SYSTEM_TOOLS.filter(({ program }) => program === "nft");

describe("what the system is", () => {
  it("is its own id and those that it is like", () => {
    expect(systemIds(MINT)).toEqual(["linuxmint", "ubuntu", "debian"]);
    expect(systemIds("")).toEqual([]);
  });

  it("decides which command is named for a missing tool", () => {
    expect(installHint(nftables, ["fedora"])).toBe("Run as root: dnf install nftables");
    expect(installHint(nftables, systemIds(MINT))).toBe("Run as root: apt-get install nftables");
    expect(installHint(nftables, ["plan9"])).toContain("on Debian: nftables");
  });
});

// PATH has no tool at all here, and nobody's sbin: a stub of apt-get "installs" into the folder that PATH names.
describe("ensureSystemTools", () => {
  let dir: string;
  let lines: string[];

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "torpor-tools-"));
    lines = [];
  });

  afterEach(() => rm(dir, { recursive: true, force: true }));

  async function stub(name: string, content: string): Promise<void> {
    await writeFile(join(dir, name), `#!/bin/sh\n${content}\n`);
    await chmod(join(dir, name), 0o755);
  }

  function ensure(options: { mayInstall?: boolean; isRoot?: boolean; osRelease?: string } = {}): Promise<SystemToolsOutcome> {
    const { mayInstall = true, isRoot = true, osRelease = DEBIAN } = options;
    const env = { PATH: `${dir}:/bin`, CALLS: join(dir, "calls") };
    return ensureSystemTools({ env, progress: (line) => lines.push(line), mayInstall, isRoot, osRelease, tools: [FAKE] });
  }

  /** No machine has it, so it is always missing until the stub makes it. */
  const FAKE = { program: "torpor-fake-tool", package: "fake-package", purpose: "is missing" };
  const makesTool = 'printf "#!/bin/sh\\n" > "${0%/*}/torpor-fake-tool" && /bin/chmod 755 "${0%/*}/torpor-fake-tool"';

  it("installs nothing when it may not, and names program, purpose and command", async () => {
    await stub("apt-get", 'echo "$*" >>"$CALLS"');
    const outcome = await ensure({ mayInstall: false });
    expect(outcome).toMatchObject({ kind: "missing", reason: "refused", hint: "Run as root: apt-get install fake-package" });
    expect(outcome).toMatchObject({ message: "Missing on this machine: torpor-fake-tool (is missing)" });
    await expect(readFile(join(dir, "calls"))).rejects.toThrow("ENOENT");
  });

  it("installs nothing when it is not root, or on a system that it does not know", async () => {
    expect(await ensure({ isRoot: false })).toMatchObject({ kind: "missing", reason: "not_root" });
    expect(await ensure({ osRelease: FEDORA })).toMatchObject({
      kind: "missing",
      reason: "unknown_system",
      hint: expect.stringContaining("dnf"),
    });
  });

  it("hands on what apt-get said when it cannot install", async () => {
    await stub("apt-get", 'echo "E: no such package" >&2; exit 100');
    const outcome = await ensure();
    expect(outcome).toMatchObject({ kind: "missing", reason: "failed", hint: expect.stringContaining("E: no such package") });
  });

  it("brings the package lists and tries again when the first try fails", async () => {
    await stub("apt-get", `echo "$1" >>"$CALLS"; [ "$1" = update ] && exit 0; grep -q update "$CALLS" || exit 100; ${makesTool}`);
    expect(await ensure()).toMatchObject({ kind: "ready", installed: [FAKE] });
    expect((await readFile(join(dir, "calls"), "utf8")).trim().split("\n")).toEqual(["install", "update", "install"]);
  });

  it("says what it installs before it does, and does nothing the second time", async () => {
    await stub("apt-get", `echo "$1" >>"$CALLS"; ${makesTool}`);
    expect(await ensure()).toMatchObject({ kind: "ready", installed: [FAKE] });
    expect(lines).toEqual(["Installing with apt-get: fake-package"]);
    expect(await ensure()).toEqual({ kind: "ready", installed: [] });
    expect((await readFile(join(dir, "calls"), "utf8")).trim()).toBe("install");
  });
});

import { execFileSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

const OWN_SCOPE = "@torpor";

/** A copy of the sources as they are now, committed or not, in which texts may be changed. Other people's packages are the repository's own. */
export class SourceCopy {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  static make(root: string): SourceCopy {
    const copy = new SourceCopy(mkdtempSync(join(tmpdir(), "torpor-guards-")));
    const listed = execFileSync("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], {
      cwd: root,
      maxBuffer: 64 * 1024 * 1024,
    });
    for (const file of new Set(listed.toString().split("\0"))) {
      if (file !== "" && existsSync(join(root, file))) cpSync(join(root, file), join(copy.folder, file));
    }
    copy.#linkPackages(join(root, "node_modules"));
    return copy;
  }

  /** Puts `text` into a file until the result is called, which puts back what was there. */
  change(file: string, change: (text: string) => string): () => void {
    const path = join(this.folder, file);
    const before = readFileSync(path, "utf8");
    writeFileSync(path, change(before));
    return () => writeFileSync(path, before);
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Our packages are links to their folders: in the copy they must lead into the copy, or nothing that is changed there would be seen. */
  #linkPackages(modules: string): void {
    const ours = join(this.folder, "node_modules", OWN_SCOPE);
    mkdirSync(ours, { recursive: true });
    for (const name of readdirSync(modules)) {
      if (name !== OWN_SCOPE && !name.startsWith(".vite")) symlinkSync(join(modules, name), join(this.folder, "node_modules", name));
    }
    for (const file of globSync("{packages/*,examples/*,e2e,bench}/package.json", { cwd: this.folder })) {
      const { name } = JSON.parse(readFileSync(join(this.folder, file), "utf8")) as { name?: string };
      if (name?.startsWith(`${OWN_SCOPE}/`) === true)
        symlinkSync(join(this.folder, dirname(file)), join(ours, name.slice(OWN_SCOPE.length + 1)));
    }
  }
}

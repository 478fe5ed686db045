// `node:fs/promises` for simulated processes: the same calls, on the disk of the machine that the path names.
import { errorOf, type Disk } from "./disk.ts";

/** Every simulated machine is a folder below this. */
const ROOT = "/sim/";
const disks = new Map<string, Disk>();

/** From now on paths below `root` are on this disk. */
export function mount(root: string, disk: Disk): void {
  disks.set(root, disk);
  byNumber.clear(); // nobody closes what a killed process had open, and a thread has one plane at a time
  disk.files.set(root, "folder");
}

function diskOf(path: string): Disk {
  const end = path.indexOf("/", ROOT.length);
  const disk = disks.get(end === -1 ? path : path.slice(0, end));
  if (disk === undefined) throw new Error(`Cannot use ${path}: no simulated machine has it`);
  return disk;
}

function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/"));
}

function isBelow(path: string, folder: string): boolean {
  return path.length > folder.length && path.startsWith(folder) && path[folder.length] === "/";
}

function missing(path: string): Error {
  return errorOf("ENOENT", `no such file or directory, ${path}`);
}

function fileAt(disk: Disk, path: string): Buffer {
  const found = disk.files.get(path);
  if (found === undefined) throw missing(path);
  if (found === "folder") throw errorOf("EISDIR", `illegal operation on a directory, ${path}`);
  return found;
}

function put(disk: Disk, path: string, content: string | Uint8Array): void {
  if (disk.files.get(parentOf(path)) !== "folder") throw missing(path);
  disk.files.set(path, Buffer.from(content as string));
}

export function mkdir(path: string, options: { readonly recursive?: boolean } = {}): Promise<undefined> {
  const disk = diskOf(path);
  if (options.recursive === true && disk.files.has(path)) return Promise.resolve(undefined);
  return disk.do(
    () => {
      if (options.recursive === true) {
        for (let at = path; !disk.files.has(at); at = parentOf(at)) disk.files.set(at, "folder");
        return undefined;
      }
      if (disk.files.has(path)) throw errorOf("EEXIST", `file already exists, ${path}`);
      if (disk.files.get(parentOf(path)) !== "folder") throw missing(path);
      disk.files.set(path, "folder");
      return undefined;
    },
    { grows: options.recursive !== true },
  );
}

export function readFile(path: string, encoding?: string): Promise<string | Buffer> {
  if (path === "/proc/meminfo") return Promise.resolve("MemAvailable: 16777216 kB\n");
  const disk = diskOf(path);
  return disk.do(() => {
    const content = fileAt(disk, path);
    return encoding === undefined ? Buffer.from(content) : content.toString("utf8");
  });
}

export function writeFile(path: string, content: string | Uint8Array): Promise<void> {
  const disk = diskOf(path);
  return disk.do(() => put(disk, path, content), { grows: true });
}

export function readdir(path: string): Promise<string[]> {
  const disk = diskOf(path);
  return disk.do(() => {
    if (disk.files.get(path) !== "folder") throw missing(path);
    const names: string[] = [];
    const start = path.length + 1;
    for (const one of disk.files.keys()) if (isBelow(one, path) && one.indexOf("/", start) === -1) names.push(one.slice(start));
    return names;
  });
}

export function rm(path: string, options: { readonly recursive?: boolean; readonly force?: boolean } = {}): Promise<void> {
  const disk = diskOf(path);
  return disk.do(() => {
    const found = disk.files.get(path);
    if (found === undefined && options.force !== true) throw missing(path);
    disk.files.delete(path);
    if (found === "folder") for (const one of disk.files.keys()) if (isBelow(one, path)) disk.files.delete(one);
  });
}

export function rename(from: string, to: string): Promise<void> {
  const disk = diskOf(from);
  return disk.do(() => {
    const found = disk.files.get(from);
    if (found === undefined) throw missing(from);
    if (disk.files.get(parentOf(to)) !== "folder") throw missing(to);
    disk.files.delete(from);
    disk.files.set(to, found);
    if (found !== "folder") return;
    for (const [path, content] of disk.files) {
      if (!isBelow(path, from)) continue;
      disk.files.delete(path);
      disk.files.set(to + path.slice(from.length), content);
    }
  });
}

interface Stat {
  readonly size: number;
  /** All simulated paths of a machine are on one device. */
  readonly dev: number;
  isDirectory(): boolean;
  isFile(): boolean;
}

function statOf(disk: Disk, path: string): Stat {
  const found = disk.files.get(path);
  if (found === undefined) throw missing(path);
  const size = found === "folder" ? 0 : found.length;
  return { size, dev: 1, isDirectory: () => found === "folder", isFile: () => found !== "folder" };
}

/** A second name for the same content; nobody here writes to a file that has two. */
export function link(from: string, to: string): Promise<void> {
  const disk = diskOf(from);
  return disk.do(() => {
    if (disk.files.has(to)) throw errorOf("EEXIST", `file already exists, ${to}`);
    put(disk, to, fileAt(disk, from));
  });
}

export function stat(path: string): Promise<Stat> {
  const disk = diskOf(path);
  return disk.do(() => statOf(disk, path));
}

export function access(path: string): Promise<void> {
  return stat(path).then(() => undefined);
}

export function truncate(path: string, size = 0): Promise<void> {
  const disk = diskOf(path);
  return disk.do(() => put(disk, path, fileAt(disk, path).subarray(0, size)));
}

export function statfs(path: string): Promise<{ bavail: number; blocks: number; bsize: number; type: number }> {
  return Promise.resolve({ bavail: diskOf(path).freeBytes / 4096, blocks: 2 ** 28, bsize: 4096, type: 0 });
}

export function open(path: string, flags = "r"): Promise<FileHandle> {
  const disk = diskOf(path);
  if (flags === "r" || flags === "r+")
    return disk.files.has(path) ? Promise.resolve(new FileHandle(disk, path)) : Promise.reject(missing(path));
  return disk.do(
    () => {
      if (flags === "wx" && disk.files.has(path)) throw errorOf("EEXIST", `file already exists, ${path}`);
      put(disk, path, "");
      return new FileHandle(disk, path);
    },
    { grows: true },
  );
}

const byNumber = new Map<number, FileHandle>();
let lastNumber = 0;

/** The open file of that number. */
export function openFile(fd: number): FileHandle {
  const handle = byNumber.get(fd);
  if (handle === undefined) throw errorOf("EBADF", "bad file descriptor");
  return handle;
}

/** What the gateway uses of an open file. */
export class FileHandle {
  readonly fd: number;
  readonly #disk: Disk;
  readonly #path: string;

  constructor(disk: Disk, path: string) {
    this.fd = ++lastNumber;
    byNumber.set(this.fd, this);
    this.#disk = disk;
    this.#path = path;
  }

  stat(): Promise<Stat> {
    return this.#disk.do(() => statOf(this.#disk, this.#path));
  }

  /** Copies a piece of another file to a place in this one. */
  copyFrom(other: FileHandle, piece: { readonly from: number; readonly length: number; readonly to: number }): Promise<void> {
    const copy = (): void => {
      const bytes = fileAt(other.#disk, other.#path).subarray(piece.from, piece.from + piece.length);
      const old = fileAt(this.#disk, this.#path);
      const grown = Buffer.alloc(Math.max(old.length, piece.to + bytes.length));
      old.copy(grown);
      bytes.copy(grown, piece.to);
      this.#disk.files.set(this.#path, grown);
    };
    return this.#disk.do(copy, { grows: true });
  }

  writeFile(content: string | Uint8Array): Promise<void> {
    return this.#disk.do(() => put(this.#disk, this.#path, content), { grows: true });
  }

  write(bytes: Uint8Array, offset: number, length: number, position: number): Promise<{ bytesWritten: number }> {
    return this.#disk.do(() => {
      const content = Buffer.from(fileAt(this.#disk, this.#path));
      content.set(bytes.subarray(offset, offset + length).subarray(0, Math.max(0, content.length - position)), position);
      this.#disk.files.set(this.#path, content);
      return { bytesWritten: length };
    });
  }

  /** What was written is there: this disk forgets nothing when a process is killed. */
  sync(): Promise<void> {
    return Promise.resolve();
  }

  datasync(): Promise<void> {
    return this.sync();
  }

  close(): Promise<void> {
    byNumber.delete(this.fd);
    return Promise.resolve();
  }
}

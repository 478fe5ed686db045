import { open, readFile, stat, unlink, type FileHandle } from "node:fs/promises";

/** A file that was written before the wait and whose descriptor stays open across it. */
export interface OpenFile {
  path: string;
  handle: FileHandle;
  content: string;
}

export async function writeAndKeepOpen(path: string, content: string): Promise<OpenFile> {
  const handle = await open(path, "w+");
  await handle.writeFile(content);
  return { path, handle, content };
}

/** The path still has the content that was written to it. */
export async function contentSurvived(file: OpenFile): Promise<boolean> {
  return (await readFile(file.path, "utf8")) === file.content;
}

/** The old descriptor is still that file: it reads the content, and what is written to it is seen through the path.
 *  Closes the descriptor and removes the file. */
export async function descriptorSurvived(file: OpenFile): Promise<boolean> {
  const expected = Buffer.from(file.content);
  const read = Buffer.alloc(expected.length);
  await file.handle.read(read, 0, read.length, 0);
  const [byHandle, byPath] = [await file.handle.stat(), await stat(file.path)];
  await file.handle.write("!", expected.length);
  const after = await readFile(file.path, "utf8");
  await file.handle.close();
  await unlink(file.path);
  return read.equals(expected) && byHandle.ino === byPath.ino && after === `${file.content}!`;
}

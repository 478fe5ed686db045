import { describe, expect, it } from "vitest";
import { librariesOf, parseLdd } from "./libraries.ts";

const OUTPUT = `	linux-vdso.so.1 (0x00007fa022cd5000)
	libdl.so.2 => /lib/x86_64-linux-gnu/libdl.so.2 (0x00007fa022cbf000)
	libnode.so.115 => not found
	/lib64/ld-linux-x86-64.so.2 (0x00007fa022cd7000)
`;

describe("the libraries of an executable", () => {
  it("are those with a path, the loader among them, and not what the kernel brings", () => {
    expect(parseLdd(OUTPUT)).toEqual({
      kind: "dynamic",
      paths: ["/lib/x86_64-linux-gnu/libdl.so.2", "/lib64/ld-linux-x86-64.so.2"],
      missing: ["libnode.so.115"],
    });
  });

  it("are none for a static executable", () => {
    expect(parseLdd("\tnot a dynamic executable\n")).toEqual({ kind: "static" });
    expect(parseLdd("\tstatically linked\n")).toEqual({ kind: "static" });
  });

  it("of this Node are found, with the C library and its loader", async () => {
    const libraries = await librariesOf(process.execPath);
    expect(libraries).toContainEqual(expect.stringMatching(/\/libc\.so\.6$/));
    expect(libraries).toContainEqual(expect.stringMatching(/\/ld-linux[^/]*$/));
  });
});

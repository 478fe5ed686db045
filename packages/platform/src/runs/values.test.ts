import { describe, expect, it } from "vitest";
import { decodeMetadata, decodeValue, encodeValue } from "./values.ts";

describe("values with a content type", () => {
  it("shows the JSON part of super+json, dates as ISO text", () => {
    const data = '{"json":{"at":"2026-01-01T00:00:00.000Z"},"meta":{"values":{"at":["Date"]}}}';
    expect(decodeValue(data, "application/super+json")).toEqual({ at: "2026-01-01T00:00:00.000Z" });
  });

  it("shows what cannot be read as the text that it is", () => {
    expect(decodeValue("{broken", "application/json")).toBe("{broken");
    expect(decodeValue("[]", "application/super+json")).toBe("[]");
    expect(decodeValue("{broken", "application/super+json")).toBe("{broken");
  });

  it("keeps a null apart from nothing", () => {
    expect(decodeValue("null", "application/json")).toBeNull();
    expect(decodeValue('{"json":null}', "application/super+json")).toBeNull();
    expect(decodeValue(null, "application/json")).toBeUndefined();
  });

  it.each([[undefined], ["text"], [1], [null], [false], [[1, { a: "b" }]], [{}]])("encodes %j so that it can be decoded", (value) => {
    const packet = encodeValue(value);
    expect(decodeValue(packet.data ?? null, packet.dataType)).toEqual(value);
  });

  it("takes metadata only when it is an object", () => {
    expect(decodeMetadata('{"a":1}', "application/json")).toEqual({ a: 1 });
    expect(decodeMetadata("[1]", "application/json")).toBeUndefined();
    expect(decodeMetadata(null, "application/json")).toBeUndefined();
  });
});

import { TorporError, type TriggerOptionsBody } from "@torpor/contracts";
import { describe, expect, it } from "vitest";
import { checkedTags, triggerOptions } from "./triggerOptions.ts";

const NOW = Date.UTC(2026, 0, 1);
const limits = { maxPayloadBytes: 100 };

function options(body: TriggerOptionsBody | undefined, payload: unknown = "{}") {
  return triggerOptions({ payload, options: body, path: "options" }, NOW, limits);
}

function refusalOf(work: () => unknown): TorporError {
  try {
    work();
  } catch (error) {
    if (error instanceof TorporError) return error;
    throw error;
  }
  throw new Error("it was not refused");
}

describe("options of a trigger", () => {
  it.each(["debounce", "gates", "concurrency"])("refuses %s rather than ignore it", (field) => {
    expect(refusalOf(() => options({ [field]: {} }))).toMatchObject({ code: "request_unprocessable", param: `options.${field}` });
  });

  it("refuses a payload over the limit, counted in bytes and not in characters", () => {
    expect(refusalOf(() => options({ payloadType: "text/plain" }, "ü".repeat(51)))).toMatchObject({
      code: "body_too_large",
      param: "payload",
    });
    expect(options({ payloadType: "text/plain" }, "ü".repeat(50)).payload).toHaveLength(50);
  });

  it("refuses metadata over the limit and names it", () => {
    expect(refusalOf(() => options({ metadata: { text: "x".repeat(100) } }))).toMatchObject({
      code: "body_too_large",
      param: "options.metadata",
    });
  });

  it("refuses an eleventh tag, and a tag of more than 128 characters by its place", () => {
    expect(
      refusalOf(() =>
        checkedTags(
          Array.from({ length: 11 }, (_, at) => `tag${at}`),
          "tags",
        ),
      ),
    ).toMatchObject({ param: "tags" });
    expect(refusalOf(() => checkedTags(["a", "b".repeat(129)], "options.tags"))).toMatchObject({ param: "options.tags[1]" });
  });

  it("takes one tag as a list of one, and equal tags once", () => {
    expect(checkedTags("a", "tags")).toEqual(["a"]);
    expect(checkedTags(["a", "a", " b "], "tags")).toEqual(["a", "b"]);
  });

  it("encodes plain JSON of a raw caller, and passes on what an SDK has encoded", () => {
    expect(triggerOptions({ payload: { a: 1 }, options: undefined, path: "options" }, NOW, limits)).toMatchObject({
      payload: '{"a":1}',
      payloadType: "application/json",
    });
    expect(options({ payloadType: "application/super+json" }, '{"json":1}')).toMatchObject({
      payload: '{"json":1}',
      payloadType: "application/super+json",
    });
    expect(triggerOptions({ payload: undefined, options: undefined, path: "options" }, NOW, limits)).toEqual({
      payloadType: "application/json",
    });
  });

  it("keeps an idempotency key for 30 days unless told otherwise", () => {
    expect(options({ idempotencyKey: "k" }).idempotencyKeyExpiresAt?.getTime()).toBe(NOW + 30 * 86_400_000);
    expect(options({ idempotencyKey: "k", idempotencyKeyTTL: "1h" }).idempotencyKeyExpiresAt?.getTime()).toBe(NOW + 3_600_000);
  });

  it("raises a maximal duration that could not be kept to five seconds", () => {
    expect(options({ maxDuration: 1 }).maxDurationSeconds).toBe(5);
    expect(options({ maxDuration: 60 }).maxDurationSeconds).toBe(60);
  });

  it("leaves out what was not given", () => {
    expect(options({})).toEqual({ payload: '"{}"', payloadType: "application/json" });
  });
});

import { ERRORS, TorporError, type ErrorCode } from "@torpor/contracts";
import { z } from "zod";
import { HTTP_STATUS } from "./status.ts";

/** An error as it leaves: the shape that the Trigger.dev SDK reads, and headers that tell clients not to try again. */
export interface ErrorAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: { readonly error: string; readonly code: ErrorCode; readonly param?: string };
  /** False for errors that nobody foresaw: they belong into the log. */
  readonly expected: boolean;
}

/** Turns whatever was thrown into an answer. Texts of unforeseen errors stay inside. `bodyLimitBytes` is the limit of the route. */
export function errorAnswer(thrown: unknown, bodyLimitBytes?: number): ErrorAnswer {
  if (thrown instanceof TorporError) return answerFor(thrown.code, thrown.message, thrown.param);
  const fastifyCode = codeOf(thrown);
  if (fastifyCode === "FST_ERR_CTP_BODY_TOO_LARGE") {
    const limit = bodyLimitBytes === undefined ? "this route takes" : `the ${bodyLimitBytes} bytes that this route takes`;
    return answerFor("body_too_large", `Cannot read the body: it has more than ${limit}`, "body");
  }
  if (fastifyCode === "FST_ERR_CTP_INVALID_CONTENT_LENGTH") return answerFor("body_malformed", messageOf(thrown));
  return { ...answerFor("internal", "Cannot answer: something unforeseen went wrong on the server"), expected: false };
}

function answerFor(code: ErrorCode, message: string, param?: string): ErrorAnswer {
  const status = HTTP_STATUS[code];
  return {
    status,
    headers: ERRORS[code].retry === "never" ? { "x-should-retry": "false" } : {},
    body: { error: message, code, ...(param === undefined ? {} : { param }) },
    expected: status < 500 || code !== "internal",
  };
}

/** Validates a part of a request, or throws an error that names the field, what is wrong with it, and what was there. */
export function validated<T>(schema: z.ZodType<T>, value: unknown, where: "params" | "query" | "body"): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const param = issue === undefined || issue.path.length === 0 ? where : z.core.toDotPath(issue.path);
  throw new TorporError("request_invalid", `Cannot use ${where}: ${param}: ${issue?.message ?? "is not valid"}`, { param });
}

function codeOf(thrown: unknown): string | undefined {
  return thrown instanceof Error && "code" in thrown && typeof thrown.code === "string" ? thrown.code : undefined;
}

function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

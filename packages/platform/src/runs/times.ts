import { TorporError } from "@torpor/contracts";

// Times as users write them. Durations are made of weeks, days, hours, minutes and seconds in any order: "1h", "2d12h", "30s".

const DURATION = /^(?:\d{1,9}(?:w|d|hr|h|m|s))+$/;
const PART = /(\d+)(w|d|hr|h|m|s)/g;
const UNIT_MS: Readonly<Record<string, number>> = { w: 604_800_000, d: 86_400_000, hr: 3_600_000, h: 3_600_000, m: 60_000, s: 1000 };
/** ISO 8601, from a year and month to fractions of a second with a zone. Anything looser would take "5" for a year. */
const ISO_DATE = /^[+-]?\d{4,6}-\d{2}(?:-\d{2})?(?:T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[+-]\d{2}:?\d{2})?)?$/;
/** The last moment that PostgreSQL and JavaScript both know, with room for sums. */
const LATEST_MS = Date.UTC(9999, 0);

/** Milliseconds of a duration, or undefined when the text is none. */
export function durationMs(text: string): number | undefined {
  if (text.length > 100 || !DURATION.test(text)) return undefined;
  let totalMs = 0;
  for (const [, count, unit] of text.matchAll(PART)) totalMs += Number(count) * (UNIT_MS[unit ?? ""] ?? 0);
  return totalMs;
}

/** A moment written as a duration from now, as an ISO date, or as milliseconds since the epoch; undefined when it is none of them. */
export function momentOf(text: string, nowMs: number): Date | undefined {
  const fromNowMs = durationMs(text);
  const atMs =
    fromNowMs !== undefined
      ? nowMs + fromNowMs
      : /^\d{12,14}$/.test(text)
        ? Number(text)
        : ISO_DATE.test(text)
          ? Date.parse(text)
          : Number.NaN;
  return Number.isNaN(atMs) || atMs > LATEST_MS ? undefined : new Date(atMs);
}

/** When a delayed run is due. What has passed already delays nothing. */
export function delayOf(text: string, nowMs: number, param: string): Date | undefined {
  const at = momentOf(text, nowMs) ?? refuse(text, param, 'a duration such as "1h30m" or an ISO date');
  return at.getTime() > nowMs ? at : undefined;
}

/** A moment that must be given; it may have passed. */
export function momentOrRefuse(text: string, nowMs: number, param: string): Date {
  return momentOf(text, nowMs) ?? refuse(text, param, 'a duration such as "1h30m" or an ISO date');
}

/** Seconds of a time to live: a number of seconds, or a duration. */
export function ttlSecondsOf(ttl: string | number, param: string): number {
  if (typeof ttl === "number") return ttl;
  const ms = durationMs(ttl);
  if (ms !== undefined) return Math.floor(ms / 1000);
  return refuse(ttl, param, 'a number of seconds or a duration such as "10m"');
}

/** Seconds as the SDK shows a time to live: `3690` is "1h1m30s". Nothing for 0 and less. */
export function durationText(totalSeconds: number): string | undefined {
  if (totalSeconds <= 0) return undefined;
  let rest = Math.floor(totalSeconds);
  let text = "";
  for (const [unit, seconds] of [
    ["w", 604_800],
    ["d", 86_400],
    ["h", 3600],
    ["m", 60],
    ["s", 1],
  ] as const) {
    const count = Math.floor(rest / seconds);
    rest -= count * seconds;
    if (count > 0) text += `${count}${unit}`;
  }
  return text;
}

function refuse(text: string, param: string, wanted: string): never {
  throw new TorporError("request_unprocessable", `Cannot use ${param}: ${JSON.stringify(text.slice(0, 100))} is not ${wanted}`, { param });
}

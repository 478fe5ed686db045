import { stripVTControlCharacters } from "node:util";

/** Lays rows out in columns; numbers are set right. Colour codes do not count. */
export function table(headers: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const all = [headers, ...rows];
  const widths = headers.map((_header, column) => Math.max(...all.map((row) => plainLength(row[column] ?? ""))));
  const numeric = headers.map(
    (_header, column) =>
      rows.length > 0 && rows.every((row) => /^(–|[\d.,]+( ?(ms|s|MB|KB|MiB|B))?)$/.test(stripVTControlCharacters(row[column] ?? ""))),
  );
  return all.map((row) =>
    row
      .map((cell, column) => pad(cell, widths[column] ?? 0, numeric[column] === true))
      .join("  ")
      .trimEnd(),
  );
}

function pad(cell: string, width: number, right: boolean): string {
  const space = " ".repeat(Math.max(0, width - plainLength(cell)));
  return right ? space + cell : cell + space;
}

function plainLength(text: string): number {
  return stripVTControlCharacters(text).length;
}

/** Bytes as people read them: `26.4 MB`. */
export function showBytes(sizeBytes: number): string {
  if (sizeBytes < 1000) return `${sizeBytes} B`;
  if (sizeBytes < 1e6) return `${(sizeBytes / 1e3).toFixed(1)} KB`;
  if (sizeBytes < 1e9) return `${(sizeBytes / 1e6).toFixed(1)} MB`;
  return `${(sizeBytes / 1e9).toFixed(2)} GB`;
}

/** Milliseconds as people read them: `131 ms`, `20.1 s`. */
export function showMs(durationMs: number): string {
  return durationMs < 1000 ? `${Math.round(durationMs)} ms` : `${(durationMs / 1000).toFixed(1)} s`;
}

/** The value below which a share of the sorted values lies (nearest rank). */
export function percentile(values: readonly number[], share: number): number {
  if (values.length === 0) return Number.NaN;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}

export interface Figures {
  readonly count: number;
  readonly median: number;
  readonly p95: number;
  readonly max: number;
}

/** Median, p95 and maximum of some measurements. */
export function figures(values: readonly number[]): Figures {
  return { count: values.length, median: percentile(values, 0.5), p95: percentile(values, 0.95), max: Math.max(...values) };
}

/** `131 / 168` in one unit, for a table. */
export function medianAndP95(values: readonly number[], digits = 0): string {
  const { median, p95 } = figures(values);
  return `${median.toFixed(digits)} / ${p95.toFixed(digits)}`;
}

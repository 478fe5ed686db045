import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from "prom-client";

type Labels = Readonly<Record<string, string>>;

/** Counters, gauges and histograms of one process, in Prometheus' text form. Names are made on first use and keep their labels. */
export interface Metrics {
  /** Adds to a counter; its name ends in `_total`. */
  count(name: string, labels?: Labels, by?: number): void;
  /** Sets a gauge. */
  gauge(name: string, value: number, labels?: Labels): void;
  /** Adds a duration in milliseconds to a histogram of seconds; its name ends in `_seconds`. */
  observeMs(name: string, durationMs: number, labels?: Labels): void;
  /** Adds a size to a histogram; its name ends in `_bytes`. */
  observeBytes(name: string, sizeBytes: number, labels?: Labels): void;
  /** The whole, as text. */
  render(): Promise<string>;
}

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const BYTES = [1e4, 1e5, 1e6, 5e6, 1e7, 2.5e7, 5e7, 1e8, 2e8, 5e8, 1e9, 4e9];

/** Metrics in a registry of their own; `withProcess` adds memory, CPU and event loop of this process. */
export function createMetrics(options: { readonly withProcess: boolean }): Metrics {
  const registry = new Registry();
  if (options.withProcess) collectDefaultMetrics({ register: registry });
  const counters = new Map<string, Counter>();
  const gauges = new Map<string, Gauge>();
  const histograms = new Map<string, Histogram>();
  const histogram = (name: string, labels: Labels, buckets: number[]): Histogram =>
    made(histograms, name, () => new Histogram({ name, help: name, labelNames: Object.keys(labels), buckets, registers: [registry] }));
  return {
    count: (name, labels = {}, by = 1) =>
      made(counters, name, () => new Counter({ name, help: name, labelNames: Object.keys(labels), registers: [registry] })).inc(
        { ...labels },
        by,
      ),
    gauge: (name, value, labels = {}) =>
      made(gauges, name, () => new Gauge({ name, help: name, labelNames: Object.keys(labels), registers: [registry] })).set(
        { ...labels },
        value,
      ),
    observeMs: (name, durationMs, labels = {}) => histogram(name, labels, SECONDS).observe({ ...labels }, durationMs / 1000),
    observeBytes: (name, sizeBytes, labels = {}) => histogram(name, labels, BYTES).observe({ ...labels }, sizeBytes),
    render: () => registry.metrics(),
  };
}

function made<T>(known: Map<string, T>, name: string, make: () => T): T {
  const found = known.get(name);
  if (found !== undefined) return found;
  const fresh = make();
  known.set(name, fresh);
  return fresh;
}

import type { TraceSpan } from "@torpor/contracts";
import type { RunView } from "@torpor/engine";
import { statusFlags } from "../runs/status.ts";
import type { StoredSpan } from "./store.ts";

/** The spans of a run as a tree. Its root is the run itself; below it stand the spans whose parent is not of this run. */
export function traceOf(run: RunView, spans: readonly StoredSpan[], now: Date): { traceId: string; rootSpan: TraceSpan } {
  const nodes = new Map(spans.map((span) => [span.span_id, node(run, span)]));
  const root = rootSpan(run, now);
  for (const span of spans) {
    const child = nodes.get(span.span_id);
    const parent = span.parent_id === null || span.parent_id === span.span_id ? undefined : nodes.get(span.parent_id);
    if (child !== undefined) (parent ?? root).children.push(child);
  }
  // Spans that name each other as parents hang below nothing: they are shown below the root, once.
  const reached = reachable(root);
  for (const [id, lost] of nodes) if (!reached.has(id)) root.children.push({ ...lost, children: [] });
  return { traceId: spans[0]?.trace_id ?? "0".repeat(32), rootSpan: root };
}

function rootSpan(run: RunView, now: Date): TraceSpan {
  const flags = statusFlags(run.status);
  const started = run.startedAt ?? run.createdAt;
  return {
    id: run.id,
    runId: run.id,
    data: {
      message: run.taskIdentifier,
      taskSlug: run.taskIdentifier,
      startTime: started,
      duration: Math.max(0, (run.completedAt ?? now).getTime() - started.getTime()),
      isError: flags.isFailed,
      isPartial: !flags.isCompleted,
      isCancelled: flags.isCancelled,
      level: "TRACE",
      queueName: run.queueName,
      machinePreset: run.machine,
    },
    children: [],
  };
}

function node(run: RunView, span: StoredSpan): TraceSpan {
  return {
    id: span.span_id,
    ...(span.parent_id === null ? {} : { parentId: span.parent_id }),
    runId: run.id,
    data: {
      message: span.name,
      taskSlug: run.taskIdentifier,
      startTime: span.started_at,
      duration: span.duration_ms,
      isError: span.is_error,
      isPartial: span.is_partial,
      isCancelled: false,
      level: "TRACE",
      properties: span.properties,
      events: span.events,
    },
    children: [],
  };
}

function reachable(root: TraceSpan): Set<string> {
  const reached = new Set<string>();
  for (const pending = [root]; pending.length > 0;) {
    const span = pending.pop();
    if (span === undefined || reached.has(span.id)) continue;
    reached.add(span.id);
    pending.push(...span.children);
  }
  return reached;
}

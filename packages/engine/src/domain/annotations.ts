export type Annotations = Readonly<Record<string, unknown>>;

/** What a run says about where it came from. The root's source goes down to every descendant. */
export function annotationsOf(own: Annotations, parent: Annotations | undefined): Annotations {
  const source = typeof own["triggerSource"] === "string" ? own["triggerSource"] : "api";
  const action = typeof own["triggerAction"] === "string" ? own["triggerAction"] : "trigger";
  const root = parent ?? own;
  const rootSource = typeof root["rootTriggerSource"] === "string" ? root["rootTriggerSource"] : source;
  const schedule = root["rootScheduleId"];
  return {
    ...own,
    triggerSource: source,
    triggerAction: action,
    rootTriggerSource: rootSource,
    ...(schedule === undefined ? {} : { rootScheduleId: schedule }),
  };
}

import type { RouteClient } from "@torpor/http";

/** Whatever calls declared routes of another part: the HTTP client, or a fake in a test. */
export type RouteCaller = Pick<RouteClient, "call">;

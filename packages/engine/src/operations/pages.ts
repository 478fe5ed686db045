import type { Page, PageRequest } from "../api.ts";

/**
 * Cuts a page out of rows that were read one further than its size. `after` walks on from a cursor in the order of the
 * list, `before` walks back; rows read backwards come in that order and are turned.
 */
export function pageOf<T>(rows: readonly T[], page: PageRequest, cursorOf: (item: T) => string): Page<T> {
  const hasMore = rows.length > page.size;
  const backwards = page.before !== undefined;
  const cut = rows.slice(0, page.size);
  const items = backwards ? cut.toReversed() : cut;
  const first = items[0];
  const last = items.at(-1);
  const hasNext = backwards ? last !== undefined : hasMore;
  const hasPrevious = backwards ? hasMore : page.after !== undefined && first !== undefined;
  return {
    items,
    next: hasNext && last !== undefined ? cursorOf(last) : null,
    previous: hasPrevious && first !== undefined ? cursorOf(first) : null,
  };
}

/** `20261124`: the day of a version, in UTC. */
export function dayOf(at: Date): string {
  return at.toISOString().slice(0, 10).replaceAll("-", "");
}

/** The next version of a day: `20261124.1`, then `.2`. */
export function nextVersion(day: string, taken: readonly string[]): string {
  const numbers = taken.map((version) => Number(version.slice(day.length + 1))).filter((number) => Number.isInteger(number));
  return `${day}.${Math.max(0, ...numbers) + 1}`;
}

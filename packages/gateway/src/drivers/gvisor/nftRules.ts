// What a sandbox may reach, as one nftables table per plane. Pure: from settings to the text that `nft -f` loads.
//
//   N1  A sandbox reaches the services of `GUEST_HOST` that the settings name, and nothing else of the host (L13).
//   N2  It never reaches another sandbox, a private range, or the host under any of its addresses, also with egress (L13).
//   N3  It cannot send from an address that is not its own (L14): services on this host see its own address.
//   N4  What is refused is refused at once, by a reset, so that a mistake in a task shows as an error and not as a hang.
//   N5  The rules match interface names that begin with the plane's prefix: they hold before an interface exists.
import { formatBlock, parseBlock, type Block } from "./addressBlock.ts";

/** The one address of the host that a sandbox sees. Nothing on the host owns it: clouds serve their own metadata there. */
export const GUEST_HOST = "169.254.169.254";

export interface Service {
  readonly guestPort: number;
  /** IPv4 address and port of whoever serves it. */
  readonly address: string;
  readonly port: number;
}

export interface NetworkPolicy {
  /** Beginning of the names of this plane's interfaces. */
  readonly interfacePrefix: string;
  readonly table: string;
  readonly block: Block;
  readonly services: readonly Service[];
  readonly egress: "none" | "internet";
  /** The host's resolver; reachable with egress only, since names can carry data out. */
  readonly resolver: string | null;
}

/** Not the internet: this host, private, shared, link-local, documentation, benchmark, multicast and reserved blocks. */
const NOT_PUBLIC = [
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.168.0.0/16",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "224.0.0.0/3",
];

/** A script that replaces the plane's table in one step, whatever it held. */
export function nftScript(policy: NetworkPolicy): string {
  const { table, interfacePrefix, block, services } = policy;
  const guests = `"${interfacePrefix}*"`;
  const pairs = services.map((service) => `${service.guestPort} : ${service.address} . ${service.port}`).join(", ");
  return `add table inet ${table}
delete table inet ${table}
table inet ${table} {
  chain guard {
    type filter hook prerouting priority mangle; policy accept;
    iifname != ${guests} accept
    meta nfproto ipv6 drop
    ip saddr != ${formatBlock(block)} drop
    fib saddr . iif oif missing drop
${allowed(policy)
  .map((rule) => `    ${rule}`)
  .join("\n")}
    meta l4proto tcp reject with tcp reset
    meta l4proto udp reject with icmp port-unreachable
    drop
  }
  chain to_services {
    type nat hook prerouting priority dstnat; policy accept;
${translations(policy, guests, pairs)
  .map((rule) => `    ${rule}`)
  .join("\n")}
  }
  chain arriving {
    type filter hook input priority filter; policy accept;
    iifname ${guests} ct status dnat accept
    iifname ${guests} ct state established,related accept
    iifname ${guests} drop
  }
  chain passing {
    type filter hook forward priority filter; policy accept;
    iifname ${guests} oifname ${guests} drop
    iifname ${guests} ct status dnat accept
    iifname ${guests} ${policy.egress === "internet" ? "accept" : "drop"}
    oifname ${guests} ct state established,related accept
    oifname ${guests} drop
  }
  chain leaving {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr ${formatBlock(block)} oifname != ${guests} masquerade
  }
}
`;
}

function allowed({ services, egress, resolver }: NetworkPolicy): string[] {
  const ports = services.map((service) => service.guestPort).join(", ");
  const rules = services.length === 0 ? [] : [`ip daddr ${GUEST_HOST} tcp dport { ${ports} } accept`];
  if (egress === "none") return [...rules, "ct state established,related accept"];
  if (resolver !== null) rules.push(`ip daddr ${GUEST_HOST} meta l4proto { tcp, udp } th dport 53 accept`);
  return [...rules, "ct state established,related accept", `ip daddr != { ${NOT_PUBLIC.join(", ")} } fib daddr type != local accept`];
}

function translations({ services, egress, resolver }: NetworkPolicy, guests: string, pairs: string): string[] {
  const rules = services.length === 0 ? [] : [`iifname ${guests} ip daddr ${GUEST_HOST} dnat ip to tcp dport map { ${pairs} }`];
  if (egress === "internet" && resolver !== null)
    rules.push(`iifname ${guests} ip daddr ${GUEST_HOST} meta l4proto { tcp, udp } th dport 53 dnat ip to ${resolver}:53`);
  return rules;
}

/** Whether packets of sandboxes leave this machine, so that the host must forward. */
export function needsForwarding({ services, egress }: Pick<NetworkPolicy, "services" | "egress">): boolean {
  const loopback = parseBlock("127.0.0.0/8");
  const isLoopback = (address: string): boolean => parseBlock(`${address}/8`).firstAddress === loopback.firstAddress;
  return egress === "internet" || services.some((service) => !isLoopback(service.address));
}

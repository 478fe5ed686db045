// The few files of /etc that Node, glibc and libraries of tasks ask for. Nothing in them depends on the host.

/** Tasks run as this user and group: never as root. */
export const TASK_USER = { name: "task", uid: 1000, gid: 1000, home: "/home/task" } as const;

/** Folders that exist in every base image; those that the sandbox mounts over are empty. Modes as `chmod` takes them. */
export const BASE_DIRECTORIES: Readonly<Record<string, number>> = {
  app: 0o755,
  bin: 0o755,
  dev: 0o755,
  etc: 0o755,
  "etc/ssl": 0o755,
  "etc/ssl/certs": 0o755,
  home: 0o755,
  "home/task": 0o755,
  proc: 0o755,
  root: 0o700,
  run: 0o755,
  sys: 0o755,
  tmp: 0o1777,
  usr: 0o755,
  "usr/bin": 0o755,
  "usr/local": 0o755,
  "usr/local/bin": 0o755,
  var: 0o755,
  "var/tmp": 0o1777,
};

/** Path below the root to content. `resolv.conf` is empty: the sandbox mounts its own over it. */
export function etcFiles(certificatesPem: string): Readonly<Record<string, string>> {
  const { name, uid, gid, home } = TASK_USER;
  return {
    "etc/passwd": `root:x:0:0:root:/root:/sbin/nologin\n${name}:x:${uid}:${gid}:${name}:${home}:/sbin/nologin\n`,
    "etc/group": `root:x:0:\n${name}:x:${gid}:\n`,
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n",
    "etc/hostname": "torpor\n",
    "etc/resolv.conf": "",
    "etc/os-release": 'ID=torpor\nNAME="Torpor task image"\n',
    "etc/ssl/certs/ca-certificates.crt": certificatesPem,
  };
}

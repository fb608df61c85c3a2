// A small internet of network namespaces, one for each machine, and a record of every flow that passes a machine's
// network. It takes root, as internal/lab does.
import { execFileSync } from 'node:child_process';
import { chmodSync, writeFileSync } from 'node:fs';
import path from 'node:path';

/** Whether namespaces can be made here, and why not. */
export function possible() {
  if (process.getuid?.() !== 0) return 'only root can make network namespaces';
  const name = `trunkline-${process.pid}-try`;
  try {
    execFileSync('ip', ['netns', 'add', name], { stdio: 'pipe' });
    execFileSync('ip', ['netns', 'del', name], { stdio: 'pipe' });
    return '';
  } catch (error) {
    return `only root can make network namespaces, and this root may not: ${error.message}`;
  }
}

export class Internet {
  /** Addresses are private ones, for which a node's own authority vouches. */
  constructor(dir, ...machines) {
    this.dir = dir;
    this.spaces = new Map();
    const hub = this.space('hub');
    ip('-n', hub, 'link', 'add', 'hub', 'type', 'bridge');
    ip('-n', hub, 'link', 'set', 'hub', 'up');
    machines.forEach((name, n) => {
      const space = this.space(name);
      const end = `to${n}`;
      ip('-n', hub, 'link', 'add', end, 'type', 'veth', 'peer', 'name', 'net', 'netns', space);
      ip('-n', hub, 'link', 'set', end, 'master', 'hub', 'up');
      ip('-n', space, 'addr', 'add', `${this.address(name, n)}/24`, 'dev', 'net');
      // One family, so that one record has everything.
      execFileSync('ip', ['netns', 'exec', space, 'sysctl', '-qw', 'net.ipv6.conf.all.disable_ipv6=1']);
      ip('-n', space, 'link', 'set', 'net', 'up');
      ip('-n', space, 'route', 'add', 'default', 'dev', 'net');
    });
  }

  space(name) {
    const space = `trunkline-${process.pid}-${name}`;
    ip('netns', 'add', space);
    this.spaces.set(name, space);
    ip('-n', space, 'link', 'set', 'lo', 'up');
    return space;
  }

  address(name, n = [...this.spaces.keys()].indexOf(name) - 1) {
    return `10.64.0.${n + 2}`;
  }

  /** What a command begins with to run on a machine. */
  on(name) {
    return ['ip', 'netns', 'exec', this.spaces.get(name)];
  }

  /** A program that runs another one on a machine. */
  wrapper(name, program) {
    const file = path.join(this.dir, `on-${name}`);
    writeFileSync(file, `#!/bin/sh\nexec ${this.on(name).join(' ')} ${program} "$@"\n`);
    chmodSync(file, 0o755);
    return file;
  }

  nft(name, ...args) {
    const [command, ...rest] = this.on(name);
    return execFileSync(command, [...rest, 'nft', ...args], { encoding: 'utf8' });
  }

  /** Begins to record anew: each packet in and out of a machine is in the flow of its addresses, protocol and ports. */
  record(name) {
    const hook = (chain, on) => `
  chain ${chain} {
    type filter hook ${on} priority -400
    ip version 4 meta l4proto { tcp, udp } update @flows { ip saddr . ip daddr . meta l4proto . th sport . th dport counter }
    ip version 4 meta l4proto != { tcp, udp } update @others { ip saddr . ip daddr . meta l4proto counter }
  }`;
    const file = path.join(this.dir, 'record.nft');
    writeFileSync(
      file,
      `table ip record {}
delete table ip record
table ip record {
  set flows {
    type ipv4_addr . ipv4_addr . inet_proto . inet_service . inet_service
    size 65535
    flags dynamic
  }
  set others {
    type ipv4_addr . ipv4_addr . inet_proto
    size 65535
    flags dynamic
  }${hook('arrives', 'prerouting')}${hook('leaves', 'output')}
}
`,
    );
    this.nft(name, '-f', file);
  }

  /** The flows since then: {from, to, protocol, packets}. */
  flows(name) {
    const out = [];
    for (const set of ['flows', 'others']) {
      const { nftables } = JSON.parse(this.nft(name, '-j', 'list', 'set', 'ip', 'record', set));
      for (const { elem } of nftables.find((x) => x.set).set.elem ?? []) {
        const [from, to, protocol, source, destination] = elem.val.concat;
        out.push({ from, to, protocol, source, destination, packets: elem.counter.packets });
      }
    }
    return out;
  }

  stop() {
    for (const space of this.spaces.values()) ip('netns', 'del', space);
  }
}

function ip(...args) {
  execFileSync('ip', args, { stdio: 'pipe' });
}

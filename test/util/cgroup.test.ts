// The limits of control groups, in trees as Linux, Docker and Kubernetes show them.
import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir, totalmem } from 'node:os';
import path from 'node:path';
import test from 'ava';
import { cgroupLimits, usableMemory, usableProcessors, type CgroupLimits } from '../../lib/util/cgroup';

const unified = '31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate';
const version1 = [
  '32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct',
  '35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory',
];

interface Tree {
  mounts: string[];
  groups: string[];
  /** Contents of files under /sys/fs/cgroup. */
  files?: Record<string, string>;
  limits: CgroupLimits;
}
const gigabyte = 2 ** 30;

const trees: Record<string, Tree> = {
  'no control groups': { mounts: ['21 1 0:5 / / rw - ext4 /dev/sda rw'], groups: [], limits: {} },
  'version 2 without limits': {
    mounts: [unified],
    groups: ['0::/user.slice'],
    files: { 'user.slice/cpu.max': 'max 100000', 'user.slice/memory.max': 'max', 'user.slice/memory.high': 'max' },
    limits: {},
  },
  'version 2 in a container, which sees its own group as the root': {
    mounts: [unified],
    groups: ['0::/'],
    files: { 'cpu.max': '150000 100000\n', 'memory.max': `${2 * gigabyte}\n` },
    limits: { processors: 1.5, memory: 2 * gigabyte },
  },
  'version 2 with a limit of a group above, and memory.high': {
    mounts: [unified],
    groups: ['0::/kubepods/pod7/own'],
    files: {
      'kubepods/pod7/cpu.max': '200000 50000',
      'kubepods/pod7/own/cpu.max': '800000 100000',
      'kubepods/pod7/own/memory.max': `${3 * gigabyte}`,
      'kubepods/pod7/memory.high': `${gigabyte}`,
    },
    limits: { processors: 4, memory: gigabyte },
  },
  'version 1': {
    mounts: version1,
    groups: ['4:memory:/job', '1:cpuacct,cpu:/job', '0::/'],
    files: {
      'cpu,cpuacct/job/cpu.cfs_quota_us': '50000',
      'cpu,cpuacct/job/cpu.cfs_period_us': '100000',
      'cpu,cpuacct/cpu.cfs_quota_us': '-1',
      'memory/job/memory.limit_in_bytes': `${gigabyte}`,
      'memory/memory.limit_in_bytes': '9223372036854771712',
    },
    limits: { processors: 0.5, memory: gigabyte },
  },
  'version 1 in a container whose path is that of the host': {
    mounts: [
      '32 31 0:29 /docker/4f /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu',
      '35 31 0:32 /docker/4f /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory',
    ],
    groups: ['4:memory:/docker/4f', '1:cpu:/docker/4f'],
    files: {
      'cpu/cpu.cfs_quota_us': '300000',
      'cpu/cpu.cfs_period_us': '100000',
      'memory/memory.limit_in_bytes': `${gigabyte / 2}`,
    },
    limits: { processors: 3, memory: gigabyte / 2 },
  },
};
for (const [what, { mounts, groups, files = {}, limits }] of Object.entries(trees)) {
  test(what, (t) => {
    const root = mkdtempSync(path.join(tmpdir(), 'fkinv-cgroup-'));
    t.teardown(() => rmSync(root, { recursive: true }));
    const write = (file: string, content: string): void => {
      mkdirSync(path.dirname(path.join(root, file)), { recursive: true });
      writeFileSync(path.join(root, file), content);
    };
    write('proc/self/mountinfo', mounts.join('\n'));
    write('proc/self/cgroup', groups.join('\n'));
    for (const [file, content] of Object.entries(files)) write(path.join('sys/fs/cgroup', file), content);
    t.deepEqual(cgroupLimits(root), limits);
  });
}

test('processors are whole ones, at least one, and no more than there are', (t) => {
  t.is(usableProcessors({}), availableParallelism());
  t.is(usableProcessors({ processors: 0.4 }), 1);
  t.is(usableProcessors({ processors: 1.9 }), 1);
  t.is(usableProcessors({ processors: 10_000 }), availableParallelism());
});

test('memory is the least of the machine’s and the groups’', (t) => {
  t.is(usableMemory({}), totalmem());
  t.is(usableMemory({ memory: gigabyte / 4 }), gigabyte / 4);
  t.is(usableMemory({ memory: 2 ** 62 }), totalmem());
});

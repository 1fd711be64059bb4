// npm run test:long: minutes rather than seconds, and what it measures is printed. Two files run at a time, for two cores,
// and those that take longest come first: what is measured (memory, moments) is measured in processes of its own.
import path from 'node:path';

const longestFirst = [
  'package',
  'valgrind',
  'facts',
  'memory',
  'exporters-more',
  'exporters',
  'sanitizers',
  'batch',
  'clip',
  'packing',
  'kernels',
  'soak',
  'recipes',
];
const rankOf = (file) => {
  const rank = longestFirst.indexOf(path.basename(file, '.long.ts'));
  return rank === -1 ? longestFirst.length : rank;
};

export default {
  files: ['test/long/*.long.ts'],
  extensions: { ts: 'commonjs' },
  nodeArguments: ['--require=tsx/cjs'],
  timeout: '30m',
  serial: true,
  concurrency: 2,
  sortTestFiles: (a, b) => rankOf(a) - rankOf(b),
};

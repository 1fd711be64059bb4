// npm run test:long: minutes rather than seconds, and what it measures is printed.
export default {
  files: ['test/long/*.long.ts'],
  extensions: { ts: 'commonjs' },
  nodeArguments: ['--require=tsx/cjs'],
  timeout: '20m',
  serial: true,
  concurrency: 1, // memory and moments are measured
};

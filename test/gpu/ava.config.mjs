// npm run test:gpu: what only a GPU can show (docs/gpu.md).
export default {
  files: ['test/gpu/gpu.ts'],
  extensions: { ts: 'commonjs' },
  nodeArguments: ['--import=tsx'],
  timeout: '20m',
  serial: true,
};

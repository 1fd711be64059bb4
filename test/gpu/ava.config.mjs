// npm run test:gpu: what only a GPU can show (docs/gpu.md).
export default {
  files: ['test/gpu/gpu.ts'],
  extensions: { ts: 'commonjs' },
  nodeArguments: ['--require=tsx/cjs'],
  timeout: '20m',
  serial: true,
};

// npm run test:cuda: the CUDA kernels on the CPU, in about ten minutes on two cores.
export default {
  files: ['test/cuda/check.ts', 'test/cuda/planted.ts'],
  extensions: { ts: 'commonjs' },
  nodeArguments: ['--require=tsx/cjs'],
  timeout: '20m',
};

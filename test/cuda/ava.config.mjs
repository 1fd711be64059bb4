// npm run test:cuda: the CUDA kernels on the CPU, in about ten minutes on two cores.
export default {
  files: ['test/cuda/check.ts'],
  extensions: { ts: 'commonjs' },
  nodeArguments: ['--import=tsx'],
  timeout: '20m',
};

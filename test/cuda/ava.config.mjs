// npm run test:cuda: the CUDA kernels on the CPU, and as nvcc compiles them, in about five minutes on two cores.
export default {
  files: ['test/cuda/check.ts', 'test/cuda/planted.ts', 'test/cuda/registers.ts'],
  extensions: { ts: 'commonjs' },
  nodeArguments: ['--require=tsx/cjs'],
  timeout: '20m',
  concurrency: 1, // each builds with every core
};

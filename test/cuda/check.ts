// The CUDA kernels, compiled for the CPU as for sm_75 and as for sm_80, run by the emulator (test/cuda).
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import path from 'node:path';
import { findOnnxRuntime } from '../../lib/native/onnxruntime';
import { cudaHeaders } from './toolkit';
import { goldenNumbers } from './golden';
import { needs } from '../helpers/needs';
import { root, run } from '../helpers/child';

needs(cudaHeaders !== undefined, 'the headers of the CUDA toolkit')(
  'the CUDA kernels compute what the CPU kernels do, whatever the order of their threads',
  async (t) => {
    const at = mkdtempSync(path.join(tmpdir(), 'fkinv-cuda-'));
    t.teardown(() => rmSync(at, { recursive: true, force: true }));
    const targets = ['cuda_check_750', 'cuda_check_800'];
    const flags = [
      '-DFKINV_CHECK=ON',
      '-DCMAKE_BUILD_TYPE=RelWithDebInfo',
      `-DFKINV_CUDA_INCLUDE=${cudaHeaders ?? ''}`,
    ];
    const builds = ['fkinv_engine', ...targets, 'cuda_device_check'].map((target) => [
      ...['--build', at, '--parallel', String(availableParallelism()), '--target', target],
    ]);
    const begin = performance.now();
    for (const args of [['-S', root, '-B', at, ...flags], ...builds]) {
      const { code, stderr } = await run('cmake', args);
      t.is(code, 0, stderr);
    }
    t.log(`built: ${((performance.now() - begin) / 1000).toFixed(0)} s`);
    const file = path.join(at, 'golden');
    writeFileSync(file, goldenNumbers());
    // The pass alone is of an architecture.
    const checks: [section: string, of750: string, of800: string][] = [
      ['golden', file, file],
      ['particles', 'few', 'whole'],
      ['draws', 'few', 'whole'],
      ['similarity', 'whole', 'whole'],
    ];
    for (const [section, ...given] of checks) {
      const start = performance.now();
      const ended = await Promise.all(
        targets.map((target, i) => run(path.join(at, target), [section, given[i] ?? ''])),
      );
      t.log(`${section}: ${((performance.now() - start) / 1000).toFixed(0)} s`);
      ended.forEach(({ code, stdout, stderr }, i) => {
        for (const line of stdout.trim().split('\n')) if (line !== '') t.log(`${targets[i] ?? ''}: ${line}`);
        t.is(code, 0, stderr);
      });
    }
    // A device over these kernels, and the demo models on ONNX Runtime on the CPU.
    const whole = await run(path.join(at, 'cuda_device_check'), [findOnnxRuntime(), path.join(root, 'models')], {
      ORT_DISABLE_TELEMETRY: '1',
    });
    t.log(`inversions: ${whole.stdout.trim()}`);
    t.is(whole.code, 0, whole.stderr);
  },
);

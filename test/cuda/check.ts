// The CUDA kernels, compiled for the CPU as for sm_75 and as for sm_80, run by the emulator (test/cuda).
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { findOnnxRuntime } from '../../lib/native/onnxruntime';
import { cudaHeaders } from './toolkit';
import { goldenNumbers } from './golden';
import { build } from '../helpers/build';
import { passes, root, run } from '../helpers/child';
import { needs } from '../helpers/needs';

needs(cudaHeaders !== undefined, 'the headers of the CUDA toolkit')(
  'the CUDA kernels compute what the CPU kernels do, whatever the order of their threads',
  async (t) => {
    const targets = ['cuda_check_750', 'cuda_check_800'];
    const at = await build(t, [...targets, 'cuda_device_check']);
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
    const given = [findOnnxRuntime(), path.join(root, 'models')];
    await passes(t, path.join(at, 'cuda_device_check'), given, { ORT_DISABLE_TELEMETRY: '1' });
  },
);

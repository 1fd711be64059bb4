#!/usr/bin/env node
import { run } from './cli/run';

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(0); // the reader has enough, as `head` does
});

void run(process.argv.slice(2)).then((code) => (process.exitCode = code));

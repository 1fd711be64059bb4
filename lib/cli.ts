#!/usr/bin/env node
import { exitCodes, reportError } from './cli/report';
import { run } from './cli/run';

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(exitCodes.done); // the reader has enough, as `head` does
  reportError(error, false, 'stdout'); // a full disk
  process.exit(exitCodes.failed);
});

void run(process.argv.slice(2)).then((code) => (process.exitCode = code));

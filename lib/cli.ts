#!/usr/bin/env node
import { exitCodes, reportError } from './cli/report';
import { run } from './cli/run';

// Whoever reads the progress on stderr may go away; the work goes on all the same.
process.stderr.on('error', () => undefined);
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(exitCodes.done); // the reader has enough, as `head` does
  reportError(error, false, 'stdout'); // a full disk
  process.exit(exitCodes.failed);
});

void run(process.argv.slice(2)).then((code) => (process.exitCode = code));

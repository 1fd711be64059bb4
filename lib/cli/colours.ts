import pc from 'picocolors';

/** Colours for what goes to `stream`. picocolors itself asks stdout for both streams, and says yes in any CI. */
export function coloursOf(stream: NodeJS.WriteStream): ReturnType<typeof pc.createColors> {
  return pc.createColors(stream.isTTY ? pc.isColorSupported : false);
}

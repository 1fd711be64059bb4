/** Bytes as people read them: `1.5 GB`, `254 MB`, `2.1 kB`. */
export function inUnits(bytes: number): string {
  if (bytes < 1e3) return `${bytes} bytes`;
  const power = Math.min(4, Math.floor(Math.log10(bytes) / 3));
  const value = bytes / 1000 ** power;
  return `${value.toFixed(value < 10 ? 1 : 0)} ${['', 'kB', 'MB', 'GB', 'TB'][power] ?? ''}`;
}

import { homedir } from 'node:os';
import path from 'node:path';

/**
 * The folder for what can be made again: `fkinv` in `XDG_CACHE_HOME` where that is set, else where the system has its caches
 * (~/.cache, ~/Library/Caches, %LOCALAPPDATA%).
 */
export function cacheFolder(): string {
  const { XDG_CACHE_HOME: xdg, LOCALAPPDATA: local } = process.env;
  if (xdg !== undefined && path.isAbsolute(xdg)) return path.join(xdg, 'fkinv'); // a relative one is invalid, by its specification
  const home = homedir();
  if (process.platform === 'darwin') return path.join(home, 'Library', 'Caches', 'fkinv');
  if (process.platform === 'win32') return path.join(local ?? path.join(home, 'AppData', 'Local'), 'fkinv', 'Cache');
  return path.join(home, '.cache', 'fkinv');
}
